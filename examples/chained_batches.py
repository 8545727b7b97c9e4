"""Chained batches: a second one asks about each answer of the first, without a program between.

    python examples/chained_batches.py

``after`` makes the requests of the second batch from the first one's answers, by a template, when
the first one has completed.
"""

from openai import OpenAI

from batch_gateway.client import BatchClient, chat
from batch_gateway.client.base import sdk_options

MODEL = "sim-large"
TEMPLATE = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Is this polite? Answer yes or no. {{text}}"}],
    "max_tokens": 4,
}


def main() -> None:
    questions = [
        chat(MODEL, f"Answer complaint {n}.", custom_id=f"complaint-{n}", max_tokens=32)
        for n in range(12)
    ]
    with OpenAI(**sdk_options()) as client:
        batches = BatchClient(client)
        (answers,) = batches.submit(questions, resume=False)
        judged = client.batches.create(
            input_file_id="",
            endpoint="/v1/chat/completions",
            completion_window="24h",
            extra_body={"after": {"batch_id": answers.id, "template": TEMPLATE}},
        )
        for result in batches.results(judged.id, follow=True):
            print(f"{result.custom_id}: {result.text if result.ok else result.error}")


if __name__ == "__main__":
    main()
