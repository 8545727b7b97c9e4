"""Embed a corpus: all paragraphs of the text files in a folder, and the closest ones to a question.

python examples/embed_corpus.py docs "How do I back up?"
"""

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

from batch_gateway.client import BatchClient, Request, embedding

MODEL = "sim-small"
QUESTION = "question"


def paragraphs(folder: Path) -> Iterator[tuple[str, str]]:
    """Name and text of each paragraph."""
    for path in sorted(folder.glob("*.md")):
        for number, text in enumerate(path.read_text().split("\n\n")):
            if text.strip():
                yield f"{path.name}#{number}", text.strip()


def requests(folder: Path, question: str) -> Iterator[Request]:
    yield embedding(MODEL, question, custom_id=QUESTION)
    for name, text in paragraphs(folder):
        yield embedding(MODEL, text, custom_id=name)


def likeness(one: list[float], other: list[float]) -> float:
    """The cosine of the angle between two vectors."""
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return product / ((math.hypot(*one) * math.hypot(*other)) or 1.0)


def main(folder: str, question: str) -> None:
    vectors: dict[str, list[float]] = {}
    with BatchClient() as batches:
        for result in batches.run(requests(Path(folder), question)):
            vectors[result.custom_id] = result.embedding
    asked = vectors.pop(QUESTION)
    Path("embeddings.json").write_text(json.dumps(vectors))
    print(f"{len(vectors)} paragraphs in embeddings.json; the closest ones:")
    for name in sorted(vectors, key=lambda name: -likeness(asked, vectors[name]))[:3]:
        print(f"  {likeness(asked, vectors[name]):.3f}  {name}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
