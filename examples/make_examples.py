"""Writes the example batches next to this file; the same bytes every time.

- ``support-tickets.jsonl``: 1,200 chat requests to ``sim-large``. Six desks of a help line share a
  house style and each adds its own instructions, so prompts share prefixes of two depths; the
  lines are shuffled, as tickets come in.
- ``reviews.jsonl``: 60 embedding requests to ``sim-small``.
"""

import json
import random
from collections.abc import Iterable
from pathlib import Path

HOUSE_STYLE = """\
You answer customers of Fernwood Outfitters, a small shop for hiking and cycling gear. Write in \
plain words, never more than four sentences, and never promise a date that the order system has \
not confirmed. Greet the customer once, name the next step first and the reason after it. When \
something went wrong on our side, say so and apologise once. Never ask for a password or a full \
card number. If you cannot help, name the desk that can."""

DESKS = {
    "shipping": """\
You work at the shipping desk. Parcels leave the warehouse every weekday at four in the \
afternoon; what is ordered later leaves the next day. Standard delivery takes three to five days, \
express one. A parcel without a scan for seven days counts as lost: offer to send it again or to \
pay it back, whichever the customer likes better. Islands and mountain huts take two days more.""",
    "returns": """\
You work at the returns desk. Everything unused can come back within sixty days, in any box, with \
the label from the order page. Boots may have been worn indoors. The money is paid back within \
five days of arrival, by the way it came. Ropes, helmets and avalanche gear cannot come back once \
their seal is broken; explain kindly that this is about the safety of the next customer.""",
    "repairs": """\
You work at the repair desk. We mend tents, packs, jackets and stoves of every brand for a fixed \
price: zips eighteen, seams twelve, poles nine. Ask for a photograph before anything is sent in. \
A repair takes two weeks in winter and four in summer. What is under warranty costs nothing; the \
warranty is five years for packs and two for everything else, and an order number is proof.""",
    "bicycles": """\
You work at the bicycle desk. Bicycles are delivered nine tenths assembled; the customer fits \
pedals, front wheel and handlebar with the tools in the box. Ask for the height of the customer \
before you recommend a frame. Batteries travel by road only and take a day longer. A first \
inspection after three hundred kilometres is free at every partner workshop on our map.""",
    "billing": """\
You work at the billing desk. Invoices are sent when a parcel leaves, not when it is ordered. A \
reservation on a card is not a payment and goes away within eight days. Vouchers can be joined, \
three at most for one order. Companies can pay within thirty days once their first two orders \
were paid. Send every case in which money seems to be missing on to a colleague at once.""",
    "advice": """\
You work at the advice desk. Ask where, when and for how long the trip will be before you name a \
product, and name two at different prices. Say what the customer does not need. Warmth ratings of \
sleeping bags are for people who sleep warm: add five degrees for all others. Never call a jacket \
waterproof without the height of its water column, and never advise on medical questions.""",
}

PRODUCTS = (
    *("the Alder tent", "my Ridge 45 pack", "the Larch rain jacket", "a Kestrel helmet"),
    *("the Birch sleeping bag", "my pair of Tarn boots", "the Ember stove", "a Willow bicycle"),
    *("a pair of Sorrel trousers", "my pair of Heron poles", "the Moss mat", "a Finch head torch"),
)
SITUATIONS = (
    *("arrived with a torn seam", "has not come yet", "is the wrong size", "was charged twice"),
    *("makes a strange noise", "got wet on its first day", "is missing a part", "came in blue"),
    *("does not fit my brother", "was left with a neighbour who moved", "broke on the second day"),
)
WISHES = (
    *("What should I do now?", "Can you send another one?", "I leave on Friday.", "Please hurry."),
    *("I would rather have the money back.", "Is that normal?", "Who pays for the postage?"),
    *("I still have the box.", "I cannot find the invoice.", "It was a present."),
)
PRAISE = ("light", "warm", "tough", "easy to pack", "quiet", "well made", "worth its price")
BLAME = (
    "slow to dry",
    "too thin",
    "stiff at first",
    "noisy in the wind",
    "dear",
    "short in the arms",
)

TICKETS = 1200
REVIEWS = 60


def entries(chance: random.Random) -> Iterable[dict[str, object]]:
    desks = [desk for desk in DESKS for _ in range(TICKETS // len(DESKS))]
    chance.shuffle(desks)
    for number, desk in enumerate(desks, start=1):
        story = f"{chance.choice(PRODUCTS)} {chance.choice(SITUATIONS)}. {chance.choice(WISHES)}"
        yield {
            "custom_id": f"ticket-{number:04d}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {
                "model": "sim-large",
                "messages": [
                    {"role": "system", "content": f"{HOUSE_STYLE}\n\n{DESKS[desk]}"},
                    {"role": "user", "content": f"Order {40_000 + 7 * number}: {story}"},
                ],
                "max_tokens": chance.choice((16, 24, 32, 48, 64)),
            },
        }


def reviews(chance: random.Random) -> Iterable[dict[str, object]]:
    for number in range(1, REVIEWS + 1):
        product = chance.choice(PRODUCTS)
        text = f"{product} is {chance.choice(PRAISE)}, but {chance.choice(BLAME)} (no. {number})."
        yield {
            "custom_id": f"review-{number:02d}",
            "method": "POST",
            "url": "/v1/embeddings",
            "body": {"model": "sim-small", "input": text.capitalize()},
        }


def write(folder: Path) -> None:
    """Write both files into ``folder``."""
    for name, lines in (
        ("support-tickets.jsonl", entries(random.Random(1))),
        ("reviews.jsonl", reviews(random.Random(2))),
    ):
        text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(__file__).parent)
