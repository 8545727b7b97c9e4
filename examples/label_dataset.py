"""Label a data set: one request for each row of a CSV file, one label for each row of another.

    python examples/label_dataset.py reviews.csv labels.csv

The service is the one that BATCH_GATEWAY_URL names, or the one on this machine. Stop it and start
it again: it continues where it was.
"""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

from batch_gateway.client import BatchClient, Request, chat

MODEL = "sim-large"
SYSTEM = "Answer with one word: is the review positive, negative or neutral?"


def requests(path: Path) -> Iterator[Request]:
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            yield chat(MODEL, row["text"], system=SYSTEM, custom_id=row["id"], max_tokens=4)


def main(source: str, target: str) -> None:
    failed = 0
    with BatchClient() as batches, Path(target).open("w", newline="") as file:
        labels = csv.writer(file)
        labels.writerow(["id", "label"])
        for result in batches.run(requests(Path(source)), deduplicate=True):
            failed += not result.ok
            labels.writerow([result.custom_id, result.text.strip() if result.ok else ""])
    print(f"labels in {target}; {failed} rows have none")


if __name__ == "__main__":
    main(*sys.argv[1:3])
