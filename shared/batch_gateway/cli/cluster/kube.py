"""A cluster, by the kubernetes client: reading, server-side apply, deleting.

Kinds are looked up as they are needed, so nothing is cached on disk that the cluster may have
changed since. The driver's errors become CommandErrors of one line: nowhere else.
"""

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from batch_gateway.cli.errors import REFUSED, UNREACHABLE, CommandError
from batch_gateway.extras import MissingExtra, require

try:
    require("cluster", "a command for clusters")
except MissingExtra as error:
    raise CommandError(str(error)) from error

import urllib3
from kubernetes import client
from kubernetes import config as _config
from kubernetes.dynamic import DynamicClient as _DynamicClient
from kubernetes.dynamic.exceptions import DynamicApiError

Object = dict[str, Any]

#: They have no annotations.
config: Any = _config
DynamicClient: Any = _DynamicClient

#: Who owns the fields that we apply.
MANAGER = "batch-gateway"
_TIMEOUT_S = 30.0
#: How the server refuses an object with a field that its kind does not have: with status 500.
_UNFIT = "failed to create typed patch object"
#: A webhook that is restarted does not answer for a moment: status 500, and nothing is stored.
_NO_WEBHOOK = "failed calling webhook"
#: Seconds between attempts of a request that the server could not judge.
ATTEMPTS_S = (0.5, 1.0, 2.0, 4.0, 8.0)
#: ``conflict with "kn" using serving.knative.dev/v1``
_MANAGER = re.compile(r'conflict with "([^"]*)"')


@dataclass(frozen=True, slots=True)
class FieldConflict:
    """A field that an apply would change and another manager owns."""

    manager: str
    field: str


class ClusterNotConfigured(CommandError):
    """No kubeconfig names a cluster, and we run in none."""


class ClusterApiError(CommandError):
    """The cluster refused a request, with an HTTP status; for an apply, also the managers
    of the fields in conflict."""

    def __init__(
        self, message: str, status: int, conflicts: tuple[FieldConflict, ...] = ()
    ) -> None:
        judged = status < 500 or _UNFIT in message
        super().__init__(message, REFUSED if judged else UNREACHABLE)
        self.status = status
        self.conflicts = conflicts
        self.passes = status in (429, 503) or (status == 500 and _NO_WEBHOOK in message)


@dataclass(frozen=True, slots=True)
class ResourceKind:
    """Where the objects of a kind are."""

    root: str
    plural: str
    namespaced: bool

    def path(self, namespace: str, name: str = "") -> str:
        middle = f"namespaces/{namespace}/" if self.namespaced else ""
        return f"{self.root}/{middle}{self.plural}" + (f"/{name}" if name else "")


class ClusterClient:
    """The cluster of a kubeconfig, or the one that we run in; objects are plain mappings."""

    def __init__(
        self, namespace: str, *, kubeconfig: str | None = None, context: str | None = None
    ) -> None:
        """``namespace`` is where objects are that name none. Raises CommandError."""
        self.namespace = namespace
        #: Options, of kubectl as of ours, that choose the same cluster again.
        self.chosen = (
            *(("--kubeconfig", kubeconfig) if kubeconfig else ()),
            *(("--context", context) if context else ()),
        )
        configuration = client.Configuration()
        configuration.retries = False
        try:
            config.load_kube_config(
                kubeconfig or os.environ.get("KUBECONFIG"),  # the client reads it on import
                context,
                client_configuration=configuration,
            )
        except config.ConfigException as error:
            if kubeconfig or context:
                raise ClusterNotConfigured(f"no cluster: {error}", 2) from error
            _load_own_cluster(configuration)
        self.url = configuration.host
        self._client = DynamicClient(client.ApiClient(configuration), discoverer=_NoDiscovery)
        self._kinds: dict[str, dict[str, ResourceKind]] = {}

    # -- kinds --------------------------------------------------------------------------------

    def kind(self, api_version: str, kind: str) -> ResourceKind | None:
        """None: the cluster does not know it."""
        if api_version not in self._kinds:
            root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
            found = self._maybe("get", root) or {"resources": []}
            self._kinds[api_version] = {
                resource["kind"]: ResourceKind(root, resource["name"], resource["namespaced"])
                for resource in found["resources"]
                if "/" not in resource["name"]
            }
        return self._kinds[api_version].get(kind)

    # -- reading ------------------------------------------------------------------------------

    def version(self) -> str:
        return str(self._request("get", "/version")["gitVersion"])

    def get(
        self, api_version: str, kind: str, name: str, *, namespace: str | None = None
    ) -> Object | None:
        """None: there is no such object, or no such kind."""
        where = self.kind(api_version, kind)
        if where is None:
            return None
        return self._maybe("get", where.path(namespace or self.namespace, name))

    def same(self, obj: Mapping[str, Any]) -> Object | None:
        """The object of that kind and name as the cluster has it."""
        metadata = obj["metadata"]
        return self.get(
            obj["apiVersion"], obj["kind"], metadata["name"], namespace=metadata.get("namespace")
        )

    def list(
        self, api_version: str, kind: str, *, labels: str = "", namespace: str | None = None
    ) -> list[Object]:
        where = self.kind(api_version, kind)
        if where is None:
            return []
        path = where.path(namespace or self.namespace)
        found = self._maybe("get", path, label_selector=labels or None)
        items: list[Object] = (found or {}).get("items", [])
        return [{"apiVersion": api_version, "kind": kind} | item for item in items]

    def log(
        self,
        pod: Mapping[str, Any],
        *,
        container: str | None = None,
        since: str | None = None,
        timestamps: bool = False,
    ) -> str:
        """What a pod has written; ``container`` None: its only one.

        ``timestamps``: each line begins with its instant. ``since``: an instant of such a line,
        whose second, too, is given again.
        """
        given = {
            "container": container,
            "sinceTime": since,
            "timestamps": "true" if timestamps else None,
        }
        query = [(name, value) for name, value in given.items() if value is not None]
        with _translated():
            answer = self._client.request(
                "get", f"{self._path(pod)}/log", serialize=False, query_params=query
            )
        return str(answer.data if isinstance(answer.data, str) else answer.data.decode())

    def clock(self) -> float | None:
        """The server's clock in unix seconds; None: unknown."""
        with _translated():
            answer = self._client.request("get", "/version", serialize=False)
        told = answer.headers.get("date")
        return None if told is None else parsedate_to_datetime(told).timestamp()

    # -- writing ------------------------------------------------------------------------------

    def apply(self, obj: Object, *, force: bool = False, dry_run: bool = False) -> Object:
        """Server-side apply; ``force`` takes fields over from other managers."""
        return self._request(
            "patch",
            self._path(obj),
            body=obj,
            content_type="application/apply-patch+yaml",
            field_manager=MANAGER,
            force_conflicts=force or None,
            dry_run="All" if dry_run else None,
        )

    def create(self, obj: Object, *, dry_run: bool = False) -> Object:
        path = self._path(obj).rpartition("/")[0]
        return self._request("post", path, body=obj, dry_run="All" if dry_run else None)

    def merge(self, obj: Object, changes: Object, *, dry_run: bool = False) -> Object:
        """Change only what ``changes`` names."""
        return self._request(
            "patch",
            self._path(obj),
            body=changes,
            content_type="application/merge-patch+json",
            dry_run="All" if dry_run else None,
        )

    def delete(self, obj: Mapping[str, Any]) -> bool:
        """And what belongs to it. False: there was no such object."""
        path = self._path(obj)
        return self._maybe("delete", path, propagation_policy="Background") is not None

    def _path(self, obj: Mapping[str, Any]) -> str:
        kind = self.kind(obj["apiVersion"], obj["kind"])
        if kind is None:
            raise CommandError(f"the cluster does not know {obj['kind']} of {obj['apiVersion']}")
        metadata = obj["metadata"]
        return kind.path(metadata.get("namespace") or self.namespace, metadata["name"])

    def _maybe(self, method: str, path: str, **given: Any) -> Object | None:
        try:
            return self._request(method, path, **given)
        except ClusterApiError as refusal:
            if refusal.status == 404:
                return None
            raise

    def _request(self, method: str, path: str, **given: Any) -> Object:
        """Sent again while the server requests it or cannot reach a webhook, up to 15 s."""
        for pause_s in ATTEMPTS_S:
            try:
                return self._requested(method, path, **given)
            except ClusterApiError as refusal:
                if not refusal.passes:
                    raise
            time.sleep(pause_s)
        return self._requested(method, path, **given)

    def _requested(self, method: str, path: str, **given: Any) -> Object:
        with _translated():
            answer = self._client.request(
                method, path, serialize=False, _request_timeout=_TIMEOUT_S, **given
            )
            found: Object = json.loads(answer.data)
        return found


def _load_own_cluster(configuration: client.Configuration) -> None:
    """The cluster that we run in, if we do. Raises CommandError."""
    try:
        config.load_incluster_config(client_configuration=configuration)
    except config.ConfigException as error:
        hint = "there is no kubeconfig (KUBECONFIG or ~/.kube/config)"
        raise ClusterNotConfigured(f"no cluster: {hint}", 2) from error


class _NoDiscovery:
    """In place of the client's own discovery, which keeps a file in the temporary folder."""

    def __init__(self, _client: object, _cache_file: str | None) -> None: ...


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except DynamicApiError as error:
        status = _status(error)
        raise ClusterApiError(_message(error, status), error.status, _conflicts(status)) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise CommandError(f"the cluster does not answer: {error}", UNREACHABLE) from error


def _status(error: DynamicApiError) -> Object:
    """The Status object of a refusal; empty: the body is something else."""
    try:
        found = json.loads(error.body or "")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _message(error: DynamicApiError, status: Object) -> str:
    return " ".join(str(status.get("message", error.reason)).split())


def _conflicts(status: Object) -> tuple[FieldConflict, ...]:
    causes = (status.get("details") or {}).get("causes") or ()
    return tuple(
        FieldConflict(_MANAGER.findall(cause["message"])[0], cause["field"])
        for cause in causes
        if cause.get("reason") == "FieldManagerConflict"
    )
