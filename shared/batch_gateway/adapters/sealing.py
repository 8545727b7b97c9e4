"""Encryption by AES: secrets in the database are useless without a key that is stored elsewhere.

Fernet (https://github.com/fernet/spec) under keys that derive from those of the settings. The first
seals, all open, so a key can be rotated: what the old one sealed is sealed anew when it next
changes. Without a key secrets are kept as they are; each value states which of the two it is.
"""

import base64
import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from batch_gateway.core.errors import Permanent

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

_SEALED, _PLAIN = "fernet:", "plain:"


class FernetSealer:
    def __init__(self, keys: Sequence[bytes]) -> None:
        """``keys`` may be of any length; none: nothing is sealed."""
        self._keys = keys

    def seal(self, secret: str) -> str:
        if self._fernet is None:
            return _PLAIN + secret
        return _SEALED + self._fernet.encrypt(secret.encode()).decode()

    def open(self, sealed: str) -> str:
        if sealed.startswith(_PLAIN):
            return sealed.removeprefix(_PLAIN)
        from cryptography.fernet import InvalidToken

        try:
            if self._fernet is None:
                raise InvalidToken
            return self._fernet.decrypt(sealed.removeprefix(_SEALED)).decode()
        except InvalidToken:
            raise Permanent(
                "a stored secret was sealed with a key that is not configured"
            ) from None

    @cached_property
    def _fernet(self) -> "MultiFernet | None":
        """None: there are no keys. Made when it is needed: most starts never need it."""
        if not self._keys:
            return None
        from cryptography.fernet import Fernet, MultiFernet

        fernets = [
            Fernet(base64.urlsafe_b64encode(hashlib.sha256(key).digest())) for key in self._keys
        ]
        return MultiFernet(fernets)
