"""Random malformed responses: fault kind ``hostile``.

Each answer is bytes as they go over the wire, and what becomes of the connection afterwards. The
same random numbers give the same answer. Among them are status lines, lengths and chunks that lie,
headers of any bytes, bodies that are no JSON or odd JSON, token counts that make no sense,
compressed bodies that are none, answers that break off, and answers that never end.
"""

import gzip
from dataclasses import dataclass
from enum import Enum
from random import Random

DRIP_S = 0.05
"""Pause between two pieces of an answer that never ends."""


class ConnectionEnding(Enum):
    """What becomes of the connection once the bytes are out."""

    KEEP = "keep"  # it takes the next request
    CLOSE = "close"
    HOLD = "hold"  # it stays open and silent until the client leaves
    DRIP = "drip"  # ``HostileAnswer.drop`` is sent again and again until the client leaves


@dataclass(frozen=True, slots=True)
class HostileAnswer:
    wire: bytes
    then: ConnectionEnding
    drop: bytes = b""  # sent every DRIP_S while dripping


_STATUSES = (
    *(b"200 OK", b"200", b"200 \xff\x80", b"201 Created", b"204 No Content", b"206 Partial"),
    *(b"301 Moved", b"304 Not Modified", b"307 Temporary", b"400 Bad", b"401 No", b"403 No"),
    *(b"404 Not Found", b"408 Late", b"409 Conflict", b"413 Large", b"422 Odd", b"425 Early"),
    *(b"429 Full", b"500 Broken", b"501 Never", b"502 Bad", b"503 Away", b"504 Late", b"529 Full"),
    *(b"999 Odd", b"600 Odd", b"000 Odd"),
)
_NO_STATUS_LINES = (
    *(b"", b"\x00", b"\xff\xfe\xfd", b"ICY 200 OK", b"HTTP/9.9 200 OK", b"HTTP/1.1", b"HTTP/2 200"),
    *(b"HTTP/1.1 -1 Odd", b"HTTP/1.1 2000 OK", b"HTTP/1.1 two OK", b"<html>", b"{}", b"A" * 9000),
    *(b"HTTP/1.1 101 Switching", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints"),
)
_HEADERS = (
    *(b"x-request-id: \xff\xfe\x80", b"x-request-id: a\x0bb", b"x-request-id: " + b"r" * 5000),
    *(b"x-request-id:", b"no colon", b": no name", b" folded: a\r\n b", b"x-nul: a\x00b"),
    *(b"retry-after: 300000000000", b"retry-after: -5", b"retry-after: 1e400", b"retry-after: NaN"),
    *(b"retry-after: soon", b"retry-after: Wed, 99 Xyz 99999 99:99:99 GMT", b"retry-after: \xb2"),
    *(
        b"location: http://[",
        b"location: \xff",
        b"location: //u:p@h/?q",
        b"location: " + b"l" * 7000,
    ),
    *(b"content-type: text/html; charset=\xff", b"content-type: /", b"content-type: multipart/x"),
    *(b"set-cookie: a=b; expires=never", b"connection: upgrade", b"upgrade: websocket"),
    *(b"content-encoding: gzip", b"content-encoding: br", b"content-encoding: odd"),
    *(b"content-length: -1", b"content-length: 1e3", b"content-length: 99999999999999999999"),
    *(b"trailer: x", b"keep-alive: timeout=-1", b"x" * 9000 + b": long", b"\x80\x81: name"),
)
_COUNTS = (
    *(b"-1", b"-9223372036854775808", b"9223372036854775807", b"9223372036854775808"),
    *(b"1.0", b"0.5", b"1e400", b"1e308", b'"3"', b"null", b"true", b"[]", b"{}", b"NaN", b"-0"),
    b"9" * 5000,
)
_BODIES = (
    *(
        b"",
        b"{",
        b"{}",
        b"[]",
        b"null",
        b"1",
        b'"text"',
        b"\x00",
        b"\xff\xfe{}\x00",
        b"\xef\xbb\xbf",
    ),
    *(b"\xef\xbb\xbf{}", rb'{"text":"\ud800"}', rb'{"\udfff\ud800":1}', b'{"a":"\xff"}'),
    *(b'{"a":NaN}', b'{"a":-Infinity}', b'{"a":1,"a":2}', b'{"a":1}{"a":2}', b'{"a":1}\n\n'),
    *(b'{"a":"\r\n"}', b'{\r\n"a":\n1}', b'{"a":' * 300 + b"1" + b"}" * 300, b"[" * 100_000),
    *(
        b'{"id":1,"object":[],"choices":null}',
        b'{"a":' + b"9" * 9000 + b"}",
        b"<html>\x1b[31m</html>",
    ),
    *(b'{"error":"no"}', b'{"error":{"code":429}}', b'{"error":{"code":"429","type":[]}}'),
    *(b'{"error":{"message":{"a":[1]},"code":-5}}', b'{"error":[[]]}', b'{"object":"error"}'),
    *(b'{"error":{"code":401}}', b'{"error":{"code":503},"id":"x"}', b'{"detail":"Not Found"}'),
    b"data: {}\n\ndata: [DONE]\n\n",
)
_ENDS = (
    ConnectionEnding.KEEP,
    ConnectionEnding.KEEP,
    ConnectionEnding.KEEP,
    ConnectionEnding.CLOSE,
    ConnectionEnding.CLOSE,
    ConnectionEnding.HOLD,
)


def draw_hostile(random: Random) -> HostileAnswer:
    """The next hostile answer."""
    body = _body(random)
    head = [_status_line(random)]
    head += random.sample(_HEADERS, random.choice((0, 0, 1, 1, 2, 5)))
    framing, sent, then = _framed(random, body)
    head += framing
    wire = b"\r\n".join((*head, b"", sent))
    if random.random() < 0.1:  # cut anywhere
        return HostileAnswer(wire[: random.randint(0, len(wire))], ConnectionEnding.CLOSE)
    if random.random() < 0.05:
        endless = random.choice(
            (b"x-more: 1\r\n", b" ", b"1\r\n \r\n", b"HTTP/1.1 100 Wait\r\n\r\n")
        )
        return HostileAnswer(wire[: random.randint(0, len(wire))], ConnectionEnding.DRIP, endless)
    return HostileAnswer(wire, then)


def _status_line(random: Random) -> bytes:
    if random.random() < 0.15:
        return random.choice(_NO_STATUS_LINES)
    return b"HTTP/1.1 %b" % random.choice(_STATUSES)


def _body(random: Random) -> bytes:
    match random.randrange(4):
        case 0:
            return random.choice(_BODIES)
        case 1:
            return random.randbytes(random.choice((1, 40, 4000)))
        case _:
            names = (b"prompt_tokens", b"completion_tokens", b"input_tokens", b"output_tokens")
            counts = b",".join(b'"%b":%b' % (name, random.choice(_COUNTS)) for name in names)
            details = b'"prompt_tokens_details":{"cached_tokens":%b}' % random.choice(_COUNTS)
            usage = random.choice((b"{%b,%b}" % (counts, details), random.choice(_COUNTS)))
            return b'{"object":"chat.completion","choices":[],"usage":%b}' % usage


def _framed(random: Random, body: bytes) -> tuple[list[bytes], bytes, ConnectionEnding]:
    """Headers that say how long the body is, what is sent, and what follows."""
    length = b"content-length: %d"
    chunked = b"transfer-encoding: chunked"
    chunk = b"%x\r\n%b\r\n" % (len(body), body)
    match random.randrange(12):
        case 0:
            return [], body, ConnectionEnding.CLOSE  # as long as the connection lasts
        case 1:
            return (
                [length % (len(body) + random.choice((1, 1000, 2**40)))],
                body,
                ConnectionEnding.CLOSE,
            )
        case 2:
            return (
                [length % (len(body) // 2)],
                body,
                ConnectionEnding.KEEP,
            )  # more follows than was said
        case 3:
            return [length % len(body), length % (len(body) + 7)], body, ConnectionEnding.CLOSE
        case 4:
            size = random.choice((b"-1", b"zz", b"", b"f" * 40, b"7fffffffffffffff", b"0x1"))
            return [chunked], b"%b\r\n%b\r\n0\r\n\r\n" % (size, body), ConnectionEnding.CLOSE
        case 5:
            return (
                [chunked],
                chunk + b"0\r\nx-trailer: \xff\r\nno colon\r\n\r\n",
                ConnectionEnding.KEEP,
            )
        case 6:
            return (
                [chunked],
                chunk,
                random.choice((ConnectionEnding.CLOSE, ConnectionEnding.HOLD)),
            )  # the end is missing
        case 7:
            return (
                [chunked, length % 3],
                chunk + b"0\r\n\r\n",
                ConnectionEnding.CLOSE,
            )  # both, one lies
        case 8:
            sent = gzip.compress(body, mtime=0)
            sent = random.choice((sent, sent[: len(sent) // 2], body, sent + b"more"))
            return [b"content-encoding: gzip", length % len(sent)], sent, ConnectionEnding.KEEP
        case 9:
            return (
                [length % len(body)],
                body + b"HTTP/1.1 200 OK\r\n\r\n{}",
                ConnectionEnding.KEEP,
            )  # a second answer
        case _:
            return [length % len(body)], body, random.choice(_ENDS)
