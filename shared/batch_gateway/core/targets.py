"""Where the service may be told to send requests: not into its own network.

A name is judged by what it resolves to, at the moment of connecting; an address that carries
another inside (IPv4 in IPv6, NAT64, 6to4, Teredo) is judged by both.
"""

import ipaddress
from urllib.parse import urlsplit

from batch_gateway.core.errors import InvalidRequest

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

LONGEST_URL = 2048
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_LAST_32_BITS = 0xFFFFFFFF


def public(address: str) -> bool:
    """Whether ``address`` belongs to the open internet."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return all(one.is_global and not one.is_multicast for one in _carried(parsed))


def _carried(address: IpAddress) -> list[IpAddress]:
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    found: list[IpAddress] = [address]
    if address in _NAT64:
        found.append(ipaddress.IPv4Address(int(address) & _LAST_32_BITS))
    if address.sixtofour is not None:
        found.append(address.sixtofour)
    if address.teredo is not None:
        found.extend(address.teredo)
    return found


def checked_url(url: str, *, allow_http: bool) -> tuple[str, int]:
    """Host and port of a URL that requests may be sent to. Raises InvalidRequest."""
    schemes = ("https", "http") if allow_http else ("https",)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _refused("it is not a URL") from None
    if parts.scheme not in schemes:
        raise _refused(f"it must begin with {' or '.join(f'{s}://' for s in schemes)}")
    if not parts.hostname or not url.isascii() or any(c <= " " or c in '\\"<>' for c in url):
        raise _refused("it is not a URL")
    if parts.username is not None or parts.password is not None:
        raise _refused("it must not hold a user name or password")
    if len(url) > LONGEST_URL:
        raise _refused(f"it is longer than {LONGEST_URL} characters")
    return parts.hostname, port or (443 if parts.scheme == "https" else 80)


def not_public() -> InvalidRequest:
    return _refused("its host is in a private network")


def _refused(why: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid 'url': {why}.", param="url", code="invalid_value")
