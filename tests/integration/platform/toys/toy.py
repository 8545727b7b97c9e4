"""A function for the platform's tests: it does what each request configures.

``python toy.py`` serves on ``PORT``. Every CloudEvent is written to the journal, one JSON line
each, before it is answered as its data says.
"""

import asyncio
import hashlib
import json
import os
import sys
from pathlib import Path
from urllib.parse import parse_qs

import uvicorn

#: Variables without which the toy does not start, separated by spaces.
REQUIRED = os.environ.get("TOY_REQUIRES", "").split()
JOURNAL = Path(os.environ.get("TOY_JOURNAL", os.devnull))


def journal(**entry):
    with JOURNAL.open("a") as file:
        file.write(json.dumps(entry | {"pid": os.getpid(), "service": os.environ["K_SERVICE"]}))
        file.write("\n")


async def body_of(receive):
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError
        yield message["body"]
        if not message.get("more_body"):
            return


async def stay(receive, seconds):
    """Sleep; raises ConnectionResetError when the client leaves meanwhile."""
    gone = asyncio.create_task(receive())
    done, _ = await asyncio.wait({gone}, timeout=seconds)
    gone.cancel()
    if done:
        raise ConnectionResetError


async def answer(send, status=200, body=b"", headers=()):
    length = (b"content-length", str(len(body)).encode())
    start = {"type": "http.response.start", "status": status, "headers": [length, *headers]}
    await send(start)
    await send({"type": "http.response.body", "body": body})


async def echo(query, scope, receive, send):
    """Stream the body back as it comes."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    async for chunk in body_of(receive):
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def digest(query, scope, receive, send):
    size, sha = 0, hashlib.sha256()
    async for chunk in body_of(receive):
        size += len(chunk)
        sha.update(chunk)
    await answer(send, body=json.dumps({"size": size, "sha256": sha.hexdigest()}).encode())


async def drain(query, scope, receive, send):
    async for _ in body_of(receive):
        pass
    await answer(send)


async def refuse(query, scope, receive, send):
    """Answer without reading the body."""
    await answer(send, 413, b"too large")


async def download(query, scope, receive, send):
    headers = [(b"content-length", query["size"].encode())] if "exact" in query else []
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    left = int(query["size"])
    while left:
        piece = b"x" * min(left, 65536)
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        left -= len(piece)
    await send({"type": "http.response.body", "body": b""})


async def sleep(query, scope, receive, send):
    """Answer after ``s`` seconds; the journal tells whether the client stayed so long."""
    journal(slept="begin")
    async for _ in body_of(receive):
        pass
    await stay(receive, float(query["s"]))
    journal(slept="end")
    await answer(send, body=str(os.getpid()).encode())


async def trickle(query, scope, receive, send):
    """Begin the answer at once, then never end it."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"begun", "more_body": True})
    async for _ in body_of(receive):
        pass
    await receive()


async def describe(query, scope, receive, send):
    told = {
        "method": scope["method"],
        "target": scope["raw_path"].decode() + "?" + scope["query_string"].decode(),
        "headers": [[n.decode("latin-1"), v.decode("latin-1")] for n, v in scope["headers"]],
        "env": dict(os.environ),
        "pid": os.getpid(),
    }
    await answer(send, body=json.dumps(told).encode())


async def event(query, scope, receive, send):
    """A CloudEvent: its data tells how to answer.

    ``fail``: list of statuses for the first deliveries, or of pairs of a status and a body;
    ``status``, ``reply``, ``body``: of the final one; ``sleep``: seconds before the answer.
    """
    raw = b"".join([chunk async for chunk in body_of(receive)])
    headers = {n.decode(): v.decode("latin-1") for n, v in scope["headers"]}
    attributes = {n.removeprefix("ce-"): v for n, v in headers.items() if n.startswith("ce-")}
    journal(
        path=scope["path"],
        prefer=headers.get("prefer"),
        attributes=attributes,
        content_type=headers.get("content-type"),
        body=raw.decode("latin-1"),
    )
    wish = json.loads(raw or b"{}")
    earlier = sum(
        json.loads(line).get("attributes", {}).get("id") == attributes["id"]
        for line in JOURNAL.read_text().splitlines()
    )
    if "sleep" in wish:
        await stay(receive, wish["sleep"])
    fail = wish.get("fail", [])
    if earlier <= len(fail):
        failure = fail[earlier - 1]
        status, said = failure if isinstance(failure, list) else (failure, "")
        await answer(send, status, said.encode())
    elif "reply" in wish:
        reply = {f"ce-{name}".encode(): value.encode() for name, value in wish["reply"].items()}
        json_type = (b"content-type", b"application/json")
        await answer(send, 200, b"{}", [*reply.items(), json_type])
    else:
        await answer(send, wish.get("status", 202), wish.get("body", "").encode())


ROUTES = {
    "/echo": echo,
    "/digest": digest,
    "/drain": drain,
    "/refuse": refuse,
    "/download": download,
    "/sleep": sleep,
    "/trickle": trickle,
}


async def app(scope, receive, send):
    path = scope["path"]
    if path in ("/healthz", "/readyz"):
        await answer(send)
        return
    query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
    is_event = any(name == b"ce-id" for name, _ in scope["headers"])
    handler = ROUTES.get(path, event if is_event else describe)
    try:
        await handler(query, scope, receive, send)
    except ConnectionResetError:
        journal(slept="client left")


if __name__ == "__main__":
    if os.environ.get("TOY_CRASHES"):
        sys.exit("the toy is broken on purpose")
    if missing := [name for name in REQUIRED if name not in os.environ]:
        sys.exit(f"the toy needs {missing}")
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        log_level="warning",
    )
