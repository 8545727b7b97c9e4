import pytest

from batch_gateway.core.errors import InvalidRequest
from batch_gateway.core.targets import checked_url, public


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "2606:4700::1111",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "100.63.255.255",
        "172.32.0.1",
    ],
)
def test_addresses_of_the_internet_are_public(address):
    assert public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.3.4",
        "192.168.1.1",
        "169.254.169.254",  # cloud metadata
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "64:ff9b::10.0.0.1",  # NAT64
        "2002:7f00:1::",  # 6to4 of 127.0.0.1
        "2002:808:808::",  # 6to4 of a public address: its relay may be any host
        "2001:0:a00:1::1",  # Teredo
        "2001::f5ff:fffe",  # Teredo of 10.0.0.1
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::8.8.8.8",  # NAT64 of a network of one's own
        "::ffff:0:10.0.0.1",  # IPv4-translated
        "::ffff:0:8.8.8.8",
        "::10.0.0.1",  # IPv4-compatible
        "::8.8.8.8",
        "fec0::1",  # site-local
        "2606:4700::5efe:10.0.0.1",  # ISATAP
        "2606:4700::200:5efe:10.0.0.1",
        "5f00::1",  # segment routing
        "3fff::1",
        "2001:db8::1",
        "100::1",  # discard
        "192.0.0.8",
        "192.0.0.170",
        "192.0.2.1",
        "192.88.99.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "100.127.255.255",
        "239.255.255.255",
        "240.0.0.1",
        "::ffff:100.64.0.1",
        "::ffff:224.0.0.1",
        "not an address",
    ],
)
def test_others_are_not(address):
    assert not public(address)


def test_a_url_tells_its_host_and_port():
    assert checked_url("https://example.com/hook?a=b", allow_http=False) == ("example.com", 443)
    assert checked_url("http://example.com:8080/", allow_http=True) == ("example.com", 8080)
    assert checked_url("https://[2606:4700::1111]/", allow_http=False)[0] == "2606:4700::1111"


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "ftp://example.com",
        "https://",
        "https:///path",
        "https://user:secret@example.com",
        "https://example.com:99999",
        "https://example.com/a b",
        "https://example.com\\@evil.example",
        "https://ex\u00e4mple.com",
        "https://example.com/" + "x" * 2048,
        "https://[::1",
        "//example.com",
        "example.com",
    ],
)
def test_what_requests_are_not_sent_to(url):
    with pytest.raises(InvalidRequest):
        checked_url(url, allow_http=False)
