import pytest

from batch_gateway.local.configuration import require_authenticator
from batch_gateway.local.errors import PlatformError
from batch_gateway.settings import AuthSettings, Settings


def test_beyond_the_loopback_interface_nobody_is_served_without_an_authenticator():
    with pytest.raises(PlatformError, match="without an authenticator"):
        require_authenticator(Settings(auth=AuthSettings(kind="none")), "0.0.0.0")


def test_with_keys_the_service_may_listen_anywhere():
    require_authenticator(Settings(auth=AuthSettings(kind="api-key")), "0.0.0.0")
