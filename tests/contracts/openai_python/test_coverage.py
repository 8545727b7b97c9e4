"""The checks that this suite was written from, and that none is forgotten.

A test that makes a check has its number in its name: ``check_12``, ``checks_27_28``.
"""

import re
from pathlib import Path

CHECKS = {
    1: "a batch file is processed at once and expires after 30 days",
    2: "a file's lifetime is 3600 to 2592000 seconds",
    3: "a lifetime without an anchor is refused",
    4: "a lifetime comes as bracketed fields of the form",
    5: "the file may come before its purpose",
    6: "an unknown purpose is refused",
    7: "a form without a file is refused",
    8: "a batch file must be named .jsonl",
    9: "an empty batch file is accepted, and fails its batch",
    10: "a batch file whose only line is malformed is accepted, and fails its batch",
    11: "only the first line is looked at when a file comes",
    12: "a file that is too large is refused with 400",
    13: "an unknown file is 404 with its id",
    14: "a deleted file is gone",
    15: "deleting an unknown file is 404",
    16: "a batch whose input is deleted before it is planned fails",
    17: "a batch whose input is deleted later continues",
    18: "content comes back byte for byte, whatever is accepted",
    19: "content of user_data is not handed out",
    20: "files are listed newest first, by purpose if asked",
    21: "a page of files has 10000 at most",
    22: "a page of files has one at least",
    23: "an unknown order is refused",
    24: "paging over files visits each once",
    25: "an empty list has no first and no last id",
    26: "a page of no batches is empty and true about the rest",
    27: "a page of less than no batches is refused",
    28: "a page of more than 100 batches is refused",
    29: "a page has 20 batches, the newest first",
    30: "paging after an unknown batch is refused",
    31: "a new batch is validating, with all its keys",
    32: "an unknown endpoint is refused",
    33: "another window than 24h is refused",
    34: "metadata that are no strings are refused",
    35: "metadata have bounds, and may be null",
    36: "an unknown input file fails the batch later",
    37: "an input file of another purpose is an error",
    38: "a line without one of its parts fails the batch",
    39: "a malformed line fails the batch",
    40: "a line for another endpoint fails the batch",
    41: "an unknown model fails the batch",
    42: "a line without model or messages fails the batch",
    43: "a line that streams fails the batch",
    44: "a second model fails the batch",
    45: "a custom_id that occurs twice fails the batch",
    46: "more than 50000 lines fail the batch",
    47: "more than 50000 embedding inputs fail the batch",
    48: "a failed batch has errors, and neither files nor counts",
    49: "a request that fails goes to the error file with its answer",
    50: "a batch of failures only is completed, without an output file",
    51: "a result line has exactly its four keys",
    52: "every line has one result",
    53: "a batch expires 24 hours after its creation",
    54: "an expired batch keeps what is done",
    55: "lines that never ran are not counted as failed",
    56: "a cancelled batch keeps what is done",
    57: "cancelling again is no error",
    58: "a batch that has ended cannot be cancelled, and nobody retries",
    59: "an unknown batch is 404",
    60: "cancelling needs no body",
    61: "result files are batch_output and expire as asked",
    62: "a completed batch tells its usage",
    63: "parts of 64 MiB, their sum and their order",
    64: "an upload takes no parts after its end",
    65: "the MD5 of an upload is checked",
    66: "every answer has a request id",
    67: "a 429 tells when to come again",
    68: "no key and a wrong key are 401",
    69: "an unknown field is refused",
    70: "webhooks are verified by the client, also with two signatures during a rotation",
    71: "names of models may have slashes",
}
_NAMED = re.compile(r"checks?[_-](\d+(?:[_-]\d+)*)")


def test_every_check_is_made_by_some_test():
    made = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        for numbers in _NAMED.findall(path.read_text()):
            made |= {int(number) for number in re.split("[_-]", numbers)}

    assert [f"{n}: {CHECKS[n]}" for n in sorted(CHECKS.keys() - made)] == []
