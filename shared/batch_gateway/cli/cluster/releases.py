"""History of deployments, for rollbacks.

The Secret ``batch-gateway-releases`` holds the last ten deployments: their objects, and the values
that each of them has replaced in Secrets. It also holds the key of the settings' digests.
"""

import base64
import gzip
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from batch_gateway.cli.cluster.build import MANAGED_BY
from batch_gateway.cli.cluster.kube import Cluster
from batch_gateway.cli.errors import CommandError

Object = dict[str, Any]

NAME = "batch-gateway-releases"
_KEPT = 10
_SALT = "salt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    number: int
    at: str
    what: str  # the overlay
    objects: list[Object]
    options: Mapping[str, Any] = field(default_factory=dict)  # of the command line
    #: Secret -> key -> the value before, in base64; None: there was none.
    replaced: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)


class Releases:
    """The releases of a namespace, the newest last."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        found = cluster.get("v1", "Secret", NAME)
        data: Mapping[str, str] = (found or {}).get("data") or {}
        self._there = found is not None
        self.salt = base64.b64decode(data[_SALT]) if _SALT in data else secrets.token_bytes(32)
        self._numbers = sorted(int(name) for name in data if name.isdecimal())
        self._data = data

    def last(self) -> Release | None:
        """None: nothing has been deployed by this command yet."""
        return self._read(self._numbers[-1]) if self._numbers else None

    def to_go_back_to(self, number: int | None) -> tuple[Release, list[Release]]:
        """That release (None: the last but one), and those after it. Raises CommandError."""
        if number is None:
            if len(self._numbers) < 2:
                raise CommandError("there is no earlier release to go back to")
            number = self._numbers[-2]
        if number not in self._numbers:
            known = ", ".join(map(str, self._numbers)) or "none"
            raise CommandError(f"there is no release {number}; known: {known}", 2)
        return self._read(number), [self._read(n) for n in self._numbers if n > number]

    def add(
        self,
        what: str,
        objects: Sequence[Object],
        options: Mapping[str, Any],
        replaced: Mapping[str, Mapping[str, str | None]],
    ) -> int:
        """Record a deployment; returns its number."""
        number = self._numbers[-1] + 1 if self._numbers else 1
        release = Release(
            number=number,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            what=what,
            objects=[obj for obj in objects if obj["kind"] != "Secret"],
            options=options,
            replaced=replaced,
        )
        packed = gzip.compress(json.dumps(asdict(release)).encode(), mtime=0)
        data: dict[str, str | None] = {
            str(number): base64.b64encode(packed).decode(),
            _SALT: base64.b64encode(self.salt).decode(),
        }
        metadata = {
            "name": NAME,
            "namespace": self._cluster.namespace,
            "labels": dict([MANAGED_BY]),
        }
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
        if self._there:
            data |= {str(old): None for old in self._numbers[: 1 - _KEPT]}
            self._cluster.merge(secret, {"data": data})
        else:
            self._cluster.create(secret | {"type": "Opaque", "data": data})
        return number

    def _read(self, number: int) -> Release:
        packed = base64.b64decode(self._data[str(number)])
        return Release(**json.loads(gzip.decompress(packed)))
