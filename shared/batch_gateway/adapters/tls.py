"""TLS contexts of endpoints: private CAs, client certificates, and their renewal.

Certificates are renewed by replacing files. A context is made anew when one of its files is another
one than before; connections that are open continue with the old one.
"""

import ssl
import time
from pathlib import Path
from typing import Literal

from batch_gateway.core.errors import Unavailable
from batch_gateway.core.routing import TlsOptions

LOOK_S = 1.0
_USUAL = TlsOptions()
_Marks = tuple[tuple[int, ...], ...]


class TlsContexts:
    def __init__(self) -> None:
        self._known: dict[TlsOptions, ssl.SSLContext] = {}
        self._marks: dict[TlsOptions, _Marks] = {}
        self._looked_at: dict[TlsOptions, float] = {}

    def to(self, url: str, tls: TlsOptions | None) -> ssl.SSLContext | Literal[True]:
        """How a connection to ``url`` is secured; True: as usual. Raises Unavailable as ``of``."""
        if tls is None or tls == _USUAL or not url.startswith("https:"):
            return True
        return self.of(tls)

    def of(self, tls: TlsOptions) -> ssl.SSLContext:
        """The present context. Raises Unavailable when there is none and files cannot be used."""
        now = time.monotonic()
        known = self._known.get(tls)
        if known is not None and now - self._looked_at[tls] < LOOK_S:
            return known
        try:
            marks = tuple(_mark(path) for path in (tls.ca, tls.certificate, tls.key) if path)
            if known is None or marks != self._marks[tls]:
                self._known[tls] = known = _context(tls)
                self._marks[tls] = marks
        except (OSError, ssl.SSLError) as error:
            if known is None:
                raise Unavailable(f"TLS: {error}") from error
        self._looked_at[tls] = now
        return known


def _mark(path: Path) -> tuple[int, ...]:
    stat = path.stat()
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


def _context(tls: TlsOptions) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.certificate is not None:
        context.load_cert_chain(tls.certificate, tls.key)
    return context
