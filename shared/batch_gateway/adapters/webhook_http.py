"""WebhookClient over HTTP, for untrusted receivers.

A name is resolved once, each address is judged, and the connection goes to one of those very
addresses, with the name in Host and SNI: what the name resolves to a moment later is of no
interest. Redirects are failures, proxies are not asked, answers are read to a bound and not
unpacked.
"""

import asyncio
import errno
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from batch_gateway.core.errors import InvalidRequest
from batch_gateway.core.targets import checked_url, not_public, public
from batch_gateway.ports.webhooks import WebhookResponse

#: Gives a host's addresses. Raises OSError when it has none.
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

logger = logging.getLogger(__name__)

#: Why a request gets no answer; InvalidRequest: a URL that was allowed once and is no more.
_FORESEEN = (aiohttp.ClientError, OSError, TimeoutError, ValueError, InvalidRequest)
_READ = 64 * 1024  # bytes of an answer; its content is ignored
_SHOWN = 200


class PrivateAddressError(OSError):
    """A host that only has addresses of private networks."""


async def system_resolve(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class HttpWebhooks:
    def __init__(
        self,
        *,
        timeout: timedelta,
        allow_http: bool,
        allow_private: bool,
        resolve: Resolve = system_resolve,
    ) -> None:
        """``timeout`` of one request as a whole."""
        self._timeout = aiohttp.ClientTimeout(total=timeout.total_seconds())
        self._allow_http = allow_http
        self._allowed = _Allowed(resolve, allow_private)
        self._session: aiohttp.ClientSession | None = None

    async def check(self, url: str) -> None:
        """A name that does not resolve now may do so later: only what it resolves to can refuse."""
        host, port = checked_url(url, allow_http=self._allow_http)
        try:
            async with asyncio.timeout(self._timeout.total):
                await self._allowed.addresses(host, port)
        except PrivateAddressError:
            raise not_public() from None
        except (OSError, TimeoutError):
            return

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> WebhookResponse:
        try:
            self._check_literal(url)
            async with self._opened().post(
                url,
                data=body,
                headers={**headers, "User-Agent": "batch-gateway"},
                allow_redirects=False,
            ) as answer:
                said = await answer.content.read(_READ)
        except Exception as error:
            if not isinstance(error, _FORESEEN):
                logger.exception("A webhook could not be sent", extra={"action": "webhook"})
            reason = str(error) or type(error).__name__
            return WebhookResponse(status=None, error=reason[:_SHOWN])
        if 200 <= answer.status < 300:
            return WebhookResponse(status=answer.status, error=None)
        detail = said[:_SHOWN].decode(errors="replace").replace("\x00", "")
        return WebhookResponse(
            status=answer.status, error=f"HTTP {answer.status} {detail}".rstrip()
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _check_literal(self, url: str) -> None:
        """An address in the URL itself never gets to the resolver."""
        host, _ = checked_url(url, allow_http=self._allow_http)
        if _is_address(host):
            self._allowed.judge(host, [host])

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    resolver=self._allowed, use_dns_cache=False, force_close=True
                ),
                timeout=self._timeout,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


class _Allowed(AbstractResolver):
    """Resolves names to those of their addresses that may be connected to."""

    def __init__(self, resolve: Resolve, allow_private: bool) -> None:
        self._resolve = resolve
        self._allow_private = allow_private

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """Raises OSError when the host has none, PrivateAddressError when none is allowed."""
        found = [host] if _is_address(host) else await self._resolve(host, port)
        return self.judge(host, found)

    def judge(self, host: str, addresses: Sequence[str]) -> Sequence[str]:
        if self._allow_private:
            return addresses
        allowed = [address for address in addresses if public(address)]
        if not allowed:
            raise PrivateAddressError(errno.EACCES, f"{host} is in a private network")
        return allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in await self.addresses(host, port)
        ]
        return [one for one in found if family in (socket.AF_UNSPEC, one["family"])]

    async def close(self) -> None:
        """Nothing to close."""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
