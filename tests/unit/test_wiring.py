import pytest

from batch_gateway.settings import AuthSettings, EventSettings, Settings
from batch_gateway.wiring.function import refuse_strangers
from batch_gateway.wiring.stores import signing_keys

KEYS = EventSettings(signing_keys="new, old,")
GATEWAY = AuthSettings(kind="trusted-header", secret="s")


def test_the_first_signing_key_signs_and_all_are_known():
    assert signing_keys(Settings(events=KEYS)) == [b"new", b"old"]


def test_on_the_loopback_interface_anybody_is_trusted():
    refuse_strangers(Settings(), "127.0.0.1")


@pytest.mark.parametrize(
    "settings",
    [Settings(events=KEYS), Settings(auth=GATEWAY)],
    ids=["no authenticator", "no signing key"],
)
def test_nobody_is_trusted_beyond_it(settings):
    with pytest.raises(ValueError, match="not while listening on"):
        refuse_strangers(settings, "0.0.0.0")

    refuse_strangers(Settings(events=KEYS, auth=GATEWAY), "0.0.0.0")
