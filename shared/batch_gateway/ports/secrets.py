"""Encryption of stored secrets."""

from typing import Protocol


class SecretSealer(Protocol):
    def seal(self, secret: str) -> str:
        """``secret`` as it may be stored."""
        ...

    def open(self, sealed: str) -> str:
        """The secret. Raises Permanent when none of our keys has sealed it."""
        ...
