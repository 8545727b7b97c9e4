"""Inputs made of good ones by small changes, the same ones again from the same seed."""

import random
from collections.abc import Sequence

_NUMBERS = (b"0", b"-1", b"1e999", b"9" * 30, b"9" * 5000, b"0.1", b"-0", b"1e-999", b"NaN")
_TOKENS = (
    *(b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\", b"\n", b"\r\n", b"\x00", b" ", b";", b"="),
    *(b"null", b"true", b"{}", b"[]", b'""', b"\\u0000", b"\\ud800", b"\\uDBFF\\uDFFF"),
    *(b"\xff", b"\xc3\xa9", b"\xef\xbb\xbf", b"\xe2\x80\xae", b"%", b"%00", b"%ff", b"*", b"'"),
    *(
        b"=?utf-8?B?",
        b"?=",
        b"--frontier",
        b"--frontier--",
        b"\r\n\r\n",
        b"[" * 300,
        b'{"a":' * 300,
    ),
)
_LONGEST = 64 * 1024


class Mutations:
    """Changes inputs of ``seeds`` at random."""

    def __init__(self, seeds: Sequence[bytes], number: int) -> None:
        self._seeds = list(seeds)
        self._random = random.Random(number)

    def next(self) -> bytes:
        data = bytearray(self._random.choice(self._seeds))
        for _ in range(self._random.choice((0, 1, 1, 2, 3, 5, 9))):
            self._change(data)
        return bytes(data[:_LONGEST])

    def _change(self, data: bytearray) -> None:
        pick = self._random
        at = pick.randrange(len(data) + 1)
        end = min(len(data), at + pick.choice((1, 1, 2, 8, 64)))
        match pick.randrange(7):
            case 0:
                data[at:end] = b""
            case 1:
                data[at:at] = pick.choice(_TOKENS)
            case 2:
                data[at:end] = pick.choice(_TOKENS + _NUMBERS)
            case 3:
                data[at:at] = data[at:end] * pick.choice((1, 2, 50))
            case 4 if data:
                data[at % len(data)] = pick.randrange(256)
            case 5:
                other = pick.choice(self._seeds)
                start = pick.randrange(len(other) + 1)
                data[at:end] = other[start : start + pick.choice((1, 8, 64, 512))]
            case 6:
                del data[at:]
