"""Checks URLs that tenants choose: they must not point into the private network of the service.

A name is judged by what it resolves to, at the moment of connecting.

Which addresses are public stands here and not in Python's ``ipaddress``, whose ``is_global`` has
changed between releases and calls some addresses global that lead into private networks: NAT64,
6to4, Teredo and ISATAP addresses with a private IPv4 address inside, IPv4-compatible and site-local
ones. The lists are those of IANA's registries for special-purpose addresses (RFC 6890), and of
IPv6 only the range of global unicast addresses (2000::/3) is allowed at all.
"""

import ipaddress
from urllib.parse import urlsplit

from batch_gateway.core.errors import InvalidRequest

LONGEST_URL = 2048
#: IPv4 networks that are not of the open internet.
_NOT_PUBLIC_4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # shared, of carrier-grade NAT
            "127.0.0.0/8",  # loopback
            "169.254.0.0/16",  # link-local, metadata of clouds
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # relays of 6to4
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
        ),
    )
)
_UNICAST_6 = ipaddress.IPv6Network("2000::/3")
#: IPv6 networks within the unicast range that are not of the open internet.
_NOT_PUBLIC_6 = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # protocol assignments, with Teredo and ORCHID
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4
            "3fff::/20",  # documentation
        ),
    )
)
#: Carries an IPv4 address in its last 32 bits; the only way to IPv4 for hosts without it.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_ISATAP = (0x00005EFE, 0x02005EFE)  # the third group of 32 bits; the last one is an IPv4 address
_32_BITS = 0xFFFFFFFF


def public(address: str) -> bool:
    """Whether ``address`` belongs to the open internet."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv4Address):
        return _public_4(parsed)
    if parsed.ipv4_mapped is not None:
        return _public_4(parsed.ipv4_mapped)
    last = ipaddress.IPv4Address(int(parsed) & _32_BITS)
    if parsed in _NAT64:
        return _public_4(last)
    if parsed not in _UNICAST_6 or any(parsed in network for network in _NOT_PUBLIC_6):
        return False
    return (int(parsed) >> 32) & _32_BITS not in _ISATAP or _public_4(last)


def _public_4(address: ipaddress.IPv4Address) -> bool:
    return not any(address in network for network in _NOT_PUBLIC_4)


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
