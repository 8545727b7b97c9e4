"""docs/notifications.md: a cluster accepts its manifests, and its program reports events."""

import asyncio
import base64
import email
import json
import re
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import httpx
import pytest
import yaml
from fixtures.metadata import a_batch
from manifests.admission import refusals

from batch_gateway.adapters.events_http import HttpEventSink
from batch_gateway.core.errors import Permanent, Temporary
from batch_gateway.core.events import EventType, internal_event
from batch_gateway.core.lifecycle import lifecycle_event, terminal_event
from batch_gateway.core.model import BatchError, BatchStatus, LineCounts
from batch_gateway.local.broker.filters import compiled

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/notifications.md").read_text()
MANIFESTS = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
FAILED = a_batch(
    status=BatchStatus.FAILED,
    failed_at=datetime.now(UTC),
    counts=LineCounts(total=3, completed=1, failed=1),
    errors=(BatchError(code="x", message="a < b & c"),),
)
TEXT = f"Batch {FAILED.id} failed: 1 of 3 requests succeeded, 1 failed (a < b & c)"


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda each: each["metadata"]["name"])
def test_a_cluster_admits_the_manifests(manifest):
    named = manifest["metadata"] | {"namespace": "batch-gateway"}  # `up` needs none

    assert refusals(manifest | {"metadata": named}) == []


def test_triggers_hear_the_end_of_batches_only():
    triggers = {
        each["metadata"]["name"]: each["spec"] for each in MANIFESTS if each["kind"] == "Trigger"
    }
    heard = {}
    for name, spec in triggers.items():
        holds = compiled(spec.get("filters") or [{"attributes": spec["filter"]["attributes"]}])
        heard[name] = {type_ for type_ in EventType if holds({"type": str(type_)})}

    ends = {
        EventType.BATCH_COMPLETED,
        EventType.BATCH_FAILED,
        EventType.BATCH_EXPIRED,
        EventType.BATCH_CANCELLED,
    }
    assert heard["notify-slack"] == ends
    assert set(heard) == {"notify-slack", "notify-teams", "notify-mail", "notify"}
    assert all(types and types <= ends for types in heard.values())


def test_the_service_runs_the_program():
    (service,) = [each for each in MANIFESTS if each["kind"] == "Service"]
    (container,) = service["spec"]["template"]["spec"]["containers"]

    assert container["command"] == ["python", "/app/notify.py"]
    assert "--from-file examples/notify.py" in PAGE


class MailServer:
    """SMTP as RFC 5321 has it, as far as the program speaks it, with AUTH PLAIN."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, list[str], EmailMessage]] = []
        self.logins: list[str] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sender, to = "", []
        writer.write(b"220 mail.test ESMTP\r\n")
        while line := (await reader.readline()).decode().strip():
            verb = line.split()[0].upper()
            if verb == "EHLO":
                writer.write(b"250-mail.test\r\n250 AUTH PLAIN\r\n")
            elif verb == "AUTH":
                self.logins.append(base64.b64decode(line.split()[2]).decode())
                writer.write(b"235 ok\r\n")
            elif verb == "MAIL":
                sender = line
                writer.write(b"250 ok\r\n")
            elif verb == "RCPT":
                to.append(line)
                writer.write(b"250 ok\r\n")
            elif verb == "DATA":
                writer.write(b"354 go on\r\n")
                content = await reader.readuntil(b"\r\n.\r\n")
                message = email.message_from_bytes(content[:-5], policy=default)
                self.mails.append((sender, to, message))
                writer.write(b"250 ok\r\n")
            elif verb == "QUIT":
                writer.write(b"221 bye\r\n")
                break
            else:
                writer.write(b"502 not known\r\n")
        writer.close()


@asynccontextmanager
async def notifying(**variables):
    """The URL of the program, which tells whom ``variables`` name."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(ROOT / "examples/notify.py")),
        env={"PORT": "0", **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        said = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
        yield said.split()[-1]
    finally:
        process.terminate()
        await process.wait()


async def sent(url, event):
    sink = HttpEventSink(url, keys=[b"key"], timeout=timedelta(seconds=30))
    try:
        await sink.send(event)
    finally:
        await sink.close()


async def test_slack_and_teams_and_mail_hear_of_a_batch_that_failed(start_receiver):
    slack, teams, mail = await start_receiver(), await start_receiver(), MailServer()
    async with (
        await asyncio.start_server(mail, "127.0.0.1", 0) as server,
        notifying(
            SLACK_URL=slack.url,
            TEAMS_URL=teams.url,
            SMTP_URL=f"smtp://me:a%40b@127.0.0.1:{server.sockets[0].getsockname()[1]}",
            MAIL_FROM="batches@example.com",
            MAIL_TO="team@example.com",
        ) as url,
    ):
        await sent(url, terminal_event(FAILED))

    ((headers, body),) = slack.heard
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body) == {"text": TEXT.replace("&", "&amp;").replace("<", "&lt;")}
    (attachment,) = json.loads(teams.heard[0][1])["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert attachment["content"]["body"][0]["text"] == TEXT
    ((_, to, message),) = mail.mails
    assert mail.logins == ["\0me\0a@b"]
    assert to == ["rcpt TO:<team@example.com>"]
    assert (message["From"], message["Subject"]) == (
        "batches@example.com",
        f"Batch {FAILED.id} failed",
    )
    assert message.get_content().strip() == TEXT
    assert message["Message-ID"] == f"<{FAILED.id}.failed@batch-gateway>"


async def test_what_is_not_told_is_delivered_again_and_what_is_no_news_is_not(start_receiver):
    slack = await start_receiver(statuses=[500, 200])
    async with notifying(SLACK_URL=slack.url) as url:
        with pytest.raises(Temporary):
            await sent(url, terminal_event(FAILED))
        await sent(url, terminal_event(FAILED))
        with pytest.raises(Permanent):
            await sent(url, internal_event(EventType.BATCH_EXECUTED, FAILED.id))
        async with httpx.AsyncClient() as http:
            assert (await http.get(url)).status_code == 204

    assert len(slack.heard) == 2


async def test_a_batch_that_completed_is_told_without_a_reason(start_receiver):
    slack = await start_receiver()
    done = a_batch(
        status=BatchStatus.COMPLETED,
        completed_at=datetime.now(UTC),
        counts=LineCounts(total=2, completed=2),
    )
    async with notifying(SLACK_URL=slack.url) as url:
        await sent(url, lifecycle_event(EventType.BATCH_COMPLETED, done))

    said = json.loads(slack.heard[0][1])["text"]
    assert said == f"Batch {done.id} completed: 2 of 2 requests succeeded, 0 failed"
