"""History of deployments, for rollbacks.

The Secret ``batch-gateway-releases`` holds the last ten deployments: their objects, and the values
that each of them has replaced in Secrets. It also holds the key of the settings' digests.

A deployment is recorded before it changes anything, so that one which is interrupted can be rolled
back too.
"""

import base64
import gzip
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from batch_gateway.cli.cluster.build import MANAGED_BY
from batch_gateway.cli.cluster.kube import ClusterClient
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
    applied: bool = True  # all of it; False: the deployment runs, or was interrupted


class Releases:
    """The releases of a namespace, the newest last."""

    def __init__(self, cluster: ClusterClient) -> None:
        self._cluster = cluster
        found = cluster.get("v1", "Secret", NAME)
        data: dict[str, str] = dict((found or {}).get("data") or {})
        self._there = found is not None
        self.salt = base64.b64decode(data[_SALT]) if _SALT in data else secrets.token_bytes(32)
        self._numbers = sorted(int(name) for name in data if name.isdecimal())
        self._data = data

    def last(self) -> Release | None:
        """The last one, interrupted or not; None: nothing has been deployed by this command yet."""
        return self._read(self._numbers[-1]) if self._numbers else None

    def last_applied(self) -> Release | None:
        """The last one that was applied as a whole; None: there is none."""
        return next(self._applied(reversed(self._numbers)), None)

    def to_go_back_to(self, number: int | None) -> tuple[Release, list[Release]]:
        """That release, and those after it. Raises CommandError.

        None: the last but one. Interrupted ones are left out, unless the last one was interrupted:
        then it is the one before it.
        """
        if number is None:
            earlier = next(self._applied(reversed(self._numbers[:-1])), None)
            if earlier is None:
                raise CommandError("there is no earlier release to go back to")
            number = earlier.number
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
        *,
        applied: bool,
    ) -> int:
        """Record a deployment; returns its number."""
        release = Release(
            number=self._numbers[-1] + 1 if self._numbers else 1,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            what=what,
            objects=[obj for obj in objects if obj["kind"] != "Secret"],
            options=options,
            replaced=replaced,
            applied=applied,
        )
        gone = self._numbers[: 1 - _KEPT]
        self._write(release, dict.fromkeys(map(str, gone), None))
        self._numbers = [n for n in self._numbers if n not in gone] + [release.number]
        return release.number

    def complete(self, number: int) -> None:
        """Record that all of a deployment was applied."""
        self._write(replace(self._read(number), applied=True), {})

    def _write(self, release: Release, changes: Mapping[str, None]) -> None:
        packed = gzip.compress(json.dumps(asdict(release)).encode(), mtime=0)
        data = {
            str(release.number): base64.b64encode(packed).decode(),
            _SALT: base64.b64encode(self.salt).decode(),
        }
        metadata = {
            "name": NAME,
            "namespace": self._cluster.namespace,
            "labels": dict([MANAGED_BY]),
        }
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
        if self._there:
            self._cluster.merge(secret, {"data": {**data, **changes}})
        else:
            self._cluster.create(secret | {"type": "Opaque", "data": data})
        self._there = True
        self._data.update(data)

    def _applied(self, numbers: Iterable[int]) -> Iterator[Release]:
        return (release for release in map(self._read, numbers) if release.applied)

    def _read(self, number: int) -> Release:
        packed = base64.b64decode(self._data[str(number)])
        return Release(**json.loads(gzip.decompress(packed)))
