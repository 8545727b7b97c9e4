"""EventSink over HTTP: each event is one POST to the broker, in CloudEvents' binary mode.

400, 413, 415 and 422 are Permanent: the broker can never accept this event. Every other status
that is not 2xx is Temporary, as its cause is not the event: the broker is unavailable (5xx, 408,
409, 429), is not there or is another server (404, 405, 410, redirects), or does not accept the
sender's token, which may have expired or may not be known yet (401, 403).

A connection is used again while events follow each other closely: no broker closes one so early.
If it breaks before there is an answer, the event is sent once more on a new connection.
Whether the first one arrived is not known, but an event may come twice: its id is the same.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from cloudevents.conversion import to_binary
from cloudevents.http import CloudEvent

from batch_gateway.core import tracing
from batch_gateway.core.batch_request import ExternalEvent
from batch_gateway.core.errors import Permanent, Temporary, Unavailable
from batch_gateway.core.events import SOURCE, Event, signature

if TYPE_CHECKING:
    from aiohttp import ClientSession

_UNACCEPTABLE = frozenset({400, 413, 415, 422})  # an event's own fault
#: Printable ASCII except space, quote and percent may stand as it is in a header.
_PLAIN = "".join(map(chr, range(0x21, 0x7F))).replace('"', "").replace("%", "")
_REUSED_S = 2.0  # idle time after which a connection is not used any more
_SHOWN = 200  # bytes of a refusal that go into the error's message


class HttpEventSink:
    def __init__(
        self,
        url: str,
        *,
        keys: Sequence[bytes],
        timeout: timedelta,
        token_file: Path | None = None,
    ) -> None:
        """``url`` takes events within ``timeout``. The first of ``keys`` signs; none: unsigned.

        What ``token_file`` holds, if it is there, shows the broker who we are; it is read for each
        event, because it is replaced before it expires.
        """
        self._token_file = token_file
        self._url = url
        self._key = keys[0] if keys else None
        self._timeout = timeout
        self._session: ClientSession | None = None

    async def send(self, event: Event) -> None:
        await self._post(*to_binary(self._cloud_event(event)))

    async def send_raw(self, event: ExternalEvent) -> None:
        headers = {
            f"ce-{name}": quote(value, safe=_PLAIN)
            for name, value in event.attributes.items()
            if name != "datacontenttype"
        }
        headers |= {"ce-specversion": "1.0"}
        if content_type := event.attributes.get("datacontenttype"):
            headers["content-type"] = content_type
        await self._post(headers, event.data)

    async def _post(self, headers: Mapping[str, str], body: bytes) -> None:
        import aiohttp  # slow to import, so only processes that send import it

        headers = {**headers, **self._identity()}
        try:
            try:
                status, refusal = await self._answer(headers, body)
            except (aiohttp.ServerDisconnectedError, ConnectionResetError):
                status, refusal = await self._answer(headers, body)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            reason = str(error) or type(error).__name__
            raise Unavailable(f"event sink {self._url}: {reason}") from error
        if 200 <= status < 300:
            return
        said = f"event sink {self._url} answers {status}: {refusal.decode(errors='replace')}"
        if status in _UNACCEPTABLE:
            raise Permanent(said)
        raise Temporary(said)

    async def _answer(self, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        """The status, and the beginning of the body of a refusal."""
        async with self._opened().post(
            self._url, data=body, headers=headers, allow_redirects=False
        ) as answer:
            return answer.status, b"" if answer.ok else await answer.content.read(_SHOWN)

    def _identity(self) -> Mapping[str, str]:
        if self._token_file is None:
            return {}
        try:
            return {"authorization": f"Bearer {self._token_file.read_text().strip()}"}
        except FileNotFoundError:
            return {}

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _cloud_event(self, event: Event) -> CloudEvent:
        """``event`` as the SDK's value, which adds the present time where there is none."""
        attributes = {
            "id": event.id,
            "source": SOURCE,
            "type": str(event.type),
            "subject": event.subject,
            "datacontenttype": "application/json",
        }
        if event.time is not None:
            attributes["time"] = event.time.isoformat().replace("+00:00", "Z")
        attributes |= tracing.fields(event.traceparent)
        if self._key is not None:
            attributes["gwsignature"] = signature(self._key, event)
        return CloudEvent(attributes, dict(event.data))

    def _opened(self) -> "ClientSession":
        """The session, which must be made inside the running loop."""
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(keepalive_timeout=_REUSED_S),
                timeout=aiohttp.ClientTimeout(total=self._timeout.total_seconds()),
            )
        return self._session
