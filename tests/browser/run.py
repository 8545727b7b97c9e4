"""Runs the browser suites: ``python tests/browser/run.py FOLDER [FILE...]``.

``FOLDER`` keeps their packages, with a Chromium among them. A suite drives the console of three
running services with one model simulator: without an authenticator, with API keys, and with an
identity provider.
``SHOTS=folder`` in the environment keeps a picture of each page that a suite visits.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import TypeVar

from typer.testing import CliRunner

T = TypeVar("T")

HERE = Path(__file__).parent
TEST_S, ALL_S = 100, 900  # how long one test, and all of them, may take
TENANTS = ("ada", "bob")

#: Texts that must stay text wherever a page shows them.
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    '"><script>alert(2)</script>',
    "javascript:alert(3)",
    '<svg/onload=alert(4)><a href="javascript:alert(5)">x</a>',
    "{{constructor.constructor('alert(6)')()}}",
    "\u202egnp.exe\u202c \u0000 </textarea><iframe srcdoc='<script>alert(7)</script>'>",
)

#: Short pauses, so that a suite sees what takes minutes elsewhere.
BRISK = {
    "EXECUTION__FLUSH_INTERVAL_S": "0.2",
    "EXECUTION__HEARTBEAT_S": "0.5",
    "RETRY__BACKOFF_S": "0.1",
    "PRICES__MODELS": json.dumps({"sim-*": {"input": 500, "output": 1500}}),  # of a million tokens
    "WEBHOOKS__ALLOW_HTTP": "true",
    "WEBHOOKS__ALLOW_PRIVATE": "true",
}


def made_key(data: Path, tenant: str, *words: str) -> str:
    """The secret of a new API key."""
    from batch_gateway.cli.main import app

    made = CliRunner().invoke(app, ["keys", "create", tenant, *words, "--data", str(data)])
    assert made.exit_code == 0, made.output
    return made.stdout.strip()


@contextmanager
def together(contexts: Sequence[AbstractContextManager[T]]) -> Iterator[list[T]]:
    """What ``contexts`` give, entered and left at the same time, each in a thread."""

    def entered(context: AbstractContextManager[T]) -> tuple[T, ExitStack]:
        stack = ExitStack()
        return stack.enter_context(context), stack

    with ThreadPoolExecutor(len(contexts)) as pool:
        starts = [pool.submit(entered, context) for context in contexts]
        wait(starts)
        try:
            yield [start.result()[0] for start in starts]
        finally:
            stacks = [start.result()[1] for start in starts if start.exception() is None]
            for end in [pool.submit(stack.close) for stack in stacks]:
                end.result()


def made_letters(data: Path) -> list[str]:
    """Ids of events that no subscriber took, with hostile texts in all of their parts."""
    from batch_gateway.cli.metadata_settings import on_store
    from batch_gateway.core.batch_request import ExternalEvent
    from batch_gateway.core.dead_letters import dead_letter
    from batch_gateway.ports.metadata import MetadataStore

    letters = [
        dead_letter(
            ExternalEvent(
                attributes={
                    "id": f"event-{n}",
                    "source": "/tests",
                    "type": "dev.example.unknown",
                    "subject": text,
                    "knativeerrorcode": "503",
                    "knativeerrordest": f"http://{text}/",
                    "knativeerrordata": text,
                },
                data=json.dumps({"said": HOSTILE[1]}).encode(),
            ),
            datetime.now(UTC) - timedelta(minutes=n),
        )
        for n, text in enumerate(HOSTILE[:5])
    ]

    async def put(metadata: MetadataStore) -> None:
        for letter in letters:
            await metadata.dead_letters.put(letter)

    on_store(data, put)
    return [letter.attributes["id"] for letter in letters]


class Echo(BaseHTTPRequestHandler):
    """A model that answers with its question, or refuses with it: what users wrote comes back.

    Below ``/locked`` it takes no key; ``/hook`` receives webhooks.
    """

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/hook":
            self.send_response(204)
            self.end_headers()
            return
        text = asked["messages"][-1]["content"]
        refused = text.startswith("refuse ")
        error = {"message": text, "type": "invalid_request_error", "code": text}
        choice = {"index": 0, "message": {"role": "assistant", "content": text}}
        answer = json.dumps({"error": error} if refused else {"choices": [choice]}).encode()
        locked = self.path.startswith("/locked/")
        self.send_response(401 if locked else 400 if refused else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is worth a line."""


@contextmanager
def echoing() -> Iterator[str]:
    """Where an Echo listens."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:  # its thread would keep a run alive that has failed
            server.shutdown()
            thread.join()


def routes(folder: Path, engine: str, echo: str) -> str:
    """A routing file that sends the models ``echo`` and ``locked`` to an Echo, and all others to
    the simulator."""
    file = folder / "routes.json"
    models = {"sim-large": "engine", "sim-small": "engine", "echo": "echo", "locked": "locked"}
    locked = {"url": f"{echo}/locked", "breaker": {"failures": 1}}
    endpoints = {"engine": {"url": engine}, "echo": {"url": echo}, "locked": locked}
    file.write_text(json.dumps({"endpoints": endpoints, "models": models}))
    return str(file)


def provided(port: int) -> dict[str, str]:
    """Settings for the identity provider that a suite serves on ``port``."""
    url = f"http://127.0.0.1:{port}"
    return {
        "AUTH__KIND": "oidc",
        "AUTH__OIDC_JWKS_URL": f"{url}/keys",
        "AUTH__OIDC_ISSUER": url,
        "AUTH__OIDC_AUDIENCE": "batches",
        "AUTH__OIDC_CLIENT_ID": "console",
        "AUTH__OIDC_AUTHORIZATION_URL": f"{url}/authorize",
        "AUTH__OIDC_TOKEN_URL": f"{url}/token",
    }


def main(folder: Path, files: list[str]) -> int:
    sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]
    from filled import TENANT, fill
    from fixtures.command import up  # the tests' own fixtures are no package
    from fixtures.node import NODE, installed
    from fixtures.redis import free_port
    from fixtures.simulator import simulator_process

    modules = installed(HERE, folder)
    with ExitStack() as stack:
        shared = Path(stack.enter_context(TemporaryDirectory(prefix="batch-gateway-browser-")))
        engine = stack.enter_context(simulator_process(ttft_ms=20.0, tpot_ms=1.0))
        echo = stack.enter_context(echoing())
        settings = {**BRISK, "INFERENCE__ROUTES": routes(shared, engine, echo)}
        port = free_port()
        fill(shared / "keys")
        services = {"open": {}, "keys": {"AUTH__KIND": "api-key"}, "oidc": provided(port)}
        (_, open_url), (_, keys_url), (_, oidc_url) = stack.enter_context(
            together([up(shared / name, **settings, **own) for name, own in services.items()])
        )
        keys = {tenant: made_key(shared / "keys", tenant) for tenant in (*TENANTS, TENANT)}
        scopes = (word for scope in ("read", "submit", "operate") for word in ("--scope", scope))
        keys["operator"] = made_key(shared / "keys", "platform", *scopes)
        given = {"hostile": HOSTILE, "letters": made_letters(shared / "keys")}
        environment = {
            **os.environ,
            "MODULES": str(modules.resolve()),
            "OPEN_URL": open_url,
            "KEYS_URL": keys_url,
            "OIDC_URL": oidc_url,
            "PROVIDER": str(port),
            "KEYS": json.dumps(keys),
            "GIVEN": json.dumps(given),
            "ENGINE_URL": engine,
            "ECHO_URL": echo,
        }
        options = ["--test", "--test-reporter=spec", f"--test-timeout={TEST_S * 1000}"]
        suites = [HERE / name for name in files] or sorted(HERE.glob("*.test.mjs"))
        suite = [NODE, *options, "--test-concurrency=1", *suites]
        return subprocess.run(suite, env=environment, check=False, timeout=ALL_S).returncode


if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background: children inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)  # fixtures start them in threads
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
