"""Tells people how batches have ended: in Slack, in Microsoft Teams, by e-mail.

It receives the events of the Batch Gateway as a Knative Trigger delivers them, one POST each, and
needs nothing but Python. docs/notifications.md has the manifests. Variables say where the news
goes:

    SLACK_URL   an incoming webhook of Slack
    TEAMS_URL   a workflow of Teams, "when a Teams webhook request is received"
    SMTP_URL    smtp://USER:PASSWORD@HOST:587 (STARTTLS) or smtps://USER:PASSWORD@HOST:465, with
                MAIL_FROM and MAIL_TO
    PORT        where it listens, 9000 unless it is set

An event may come twice. The answer is 204 when all targets have taken the news, else 502: the
broker then delivers the event again.
"""

import json
import os
import smtplib
import sys
import urllib.request
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TIMEOUT_S = 15
MOST_BYTES = 1024 * 1024


def news(data: dict) -> str:
    """One line about the end of a batch."""
    counts = data["request_counts"]
    said = (
        f"Batch {data['batch_id']} {data['status']}: "
        f"{counts['completed']} of {counts['total']} requests succeeded, {counts['failed']} failed"
    )
    if reason := data.get("reason"):
        said += f" ({reason['message']})"
    return said


def to_slack(url: str, text: str) -> None:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    post(url, {"text": escaped})


def to_teams(url: str, text: str) -> None:
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [{"type": "TextBlock", "text": text, "wrap": True}],
    }
    kind = "application/vnd.microsoft.card.adaptive"
    post(url, {"type": "message", "attachments": [{"contentType": kind, "content": card}]})


def by_mail(url: str, text: str, event_id: str) -> None:
    server = urlsplit(url)
    message = EmailMessage()
    message["From"], message["To"] = os.environ["MAIL_FROM"], os.environ["MAIL_TO"]
    message["Subject"] = text.partition(":")[0]
    message["Message-ID"] = (
        f"<{event_id.replace('/', '.')}@batch-gateway>"  # the same when repeated
    )
    message.set_content(text)
    secure = server.scheme == "smtps"
    client = smtplib.SMTP_SSL if secure else smtplib.SMTP
    with client(server.hostname or "", server.port or 0, timeout=TIMEOUT_S) as smtp:
        if not secure and smtp.has_extn("starttls"):
            smtp.starttls()
        if server.username:
            smtp.login(unquote(server.username), unquote(server.password or ""))
        smtp.send_message(message)


def post(url: str, content: dict) -> None:
    request = urllib.request.Request(
        url, json.dumps(content).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_S):
        pass


def tell(event_id: str, text: str) -> None:
    if url := os.environ.get("SLACK_URL"):
        to_slack(url, text)
    if url := os.environ.get("TEAMS_URL"):
        to_teams(url, text)
    if url := os.environ.get("SMTP_URL"):
        by_mail(url, text, event_id)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """For probes."""
        self.answer(204)

    def do_POST(self) -> None:
        try:
            size = min(int(self.headers["content-length"]), MOST_BYTES)
            data = json.loads(self.rfile.read(size))
            text = news(data)
        except (ValueError, KeyError, TypeError) as error:
            print(f"not an event of a batch that has ended: {error!r}", file=sys.stderr)
            self.answer(400)
            return
        try:
            tell(self.headers["ce-id"], text)
        except (OSError, smtplib.SMTPException) as error:
            print(f"not told yet: {error!r}", file=sys.stderr)
            self.answer(502)
            return
        self.answer(204)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()


def main() -> None:
    host = "" if "K_SERVICE" in os.environ else "127.0.0.1"  # all interfaces in a pod only
    with ThreadingHTTPServer((host, int(os.environ.get("PORT", "9000"))), Handler) as server:
        print(f"listening at http://127.0.0.1:{server.server_port}/", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
