"""Sealer by AES: secrets in the database are of no use without a key that is not there.

Fernet (https://github.com/fernet/spec) under keys that derive from those of the settings. The first
seals, all open, so a key can be rotated: what the old one sealed is sealed anew when it next
changes. Without a key secrets are kept as they are; each value says which of the two it is.
"""

import base64
import hashlib
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from batch_gateway.core.errors import Permanent

_SEALED, _PLAIN = "fernet:", "plain:"


class FernetSealer:
    def __init__(self, keys: Sequence[bytes]) -> None:
        """``keys`` may be of any length; none: nothing is sealed."""
        fernets = [Fernet(base64.urlsafe_b64encode(hashlib.sha256(key).digest())) for key in keys]
        self._fernet = MultiFernet(fernets) if fernets else None

    def seal(self, secret: str) -> str:
        if self._fernet is None:
            return _PLAIN + secret
        return _SEALED + self._fernet.encrypt(secret.encode()).decode()

    def open(self, sealed: str) -> str:
        if sealed.startswith(_PLAIN):
            return sealed.removeprefix(_PLAIN)
        try:
            if self._fernet is None:
                raise InvalidToken
            return self._fernet.decrypt(sealed.removeprefix(_SEALED)).decode()
        except InvalidToken:
            raise Permanent(
                "a stored secret was sealed with a key that is not configured"
            ) from None
