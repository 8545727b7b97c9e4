"""Evaluate a model: questions with known answers, and another try for what has failed.

    python examples/evaluate.py [MODEL]

A failed request is no wrong answer: the batch is retried until all requests have an answer, at most
three times. Answers that are there already are taken over, not asked for again.
"""

import sys

from batch_gateway.client import BatchClient, Result, chat

QUESTIONS = {f"{a}-times-{b}": (a, b) for a in range(2, 10) for b in range(2, 10)}
MOST_RETRIES = 3


def right(result: Result) -> bool:
    a, b = QUESTIONS[result.custom_id]
    return str(a * b) in result.text


def main(model: str = "sim-large") -> None:
    asked = [
        chat(
            model, f"What is {a} times {b}? Answer with the number.", custom_id=name, temperature=0
        )
        for name, (a, b) in QUESTIONS.items()
    ]
    with BatchClient() as batches:
        (batch,) = batches.submit(asked, metadata={"job": "evaluation"})
        batch = batches.wait(batch.id)
        for _ in range(MOST_RETRIES):
            if batch.request_counts is None or not batch.request_counts.failed:
                break
            batch = batches.wait(batches.retry(batch.id).id)
        found = [result for result in batches.results(batch.id) if result.ok]
    score = sum(map(right, found))
    print(f"{len(found)} of {len(QUESTIONS)} questions were answered, {score} of them rightly")


if __name__ == "__main__":
    main(*sys.argv[1:2])
