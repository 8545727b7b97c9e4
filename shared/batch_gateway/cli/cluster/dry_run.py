"""Applies every object of a deployment as a server-side dry run, before the first real apply.

A server-side dry run goes through admission and detects conflicts. What it cannot do: judge objects
of a namespace that is not there, and Services whose service account is not there (Knative's webhook
dry-runs a Pod); the latter are judged with the namespace's default account.
"""

import copy
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from batch_gateway.cli.cluster.kube import ClusterApiError, ClusterClient
from batch_gateway.cli.cluster.object_status import ObjectReadiness, object_status
from batch_gateway.cli.cluster.ownership import ownership_conflicts

Object = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRunResult:
    obj: Object
    done: str = ""  # what applying it does: created, configured, unchanged, replaced, kept
    force: bool = False  # fields of others are taken over, and no decision is lost
    after: Object | None = None  # as it would be; None: refused, or a Job that stays
    refused: str = ""  # why it may not be applied
    exit_code: int = 0


class DryRun:
    """Judges objects one by one, by dry runs."""

    def __init__(
        self,
        cluster: ClusterClient,
        *,
        force: bool,
        last: Collection[Object] = (),
        said: Collection[str] = (),
    ) -> None:
        """``last``: the objects of the last deployment; ``said``: see ``at_stake``."""
        self._cluster = cluster
        self._force = force
        self._last = {_identity(obj): obj for obj in last}
        self._said = said

    def judge(self, obj: Object) -> DryRunResult:
        before = self._cluster.same(obj)
        try:
            if obj["kind"] == "Job" and before is not None:
                return self._judge_job(obj, before)
            after, force = self._dry_run(obj, before)
        except _AtStake as conflicts_found:
            return DryRunResult(obj=obj, refused=str(conflicts_found), exit_code=1)
        except ClusterApiError as refusal:
            return DryRunResult(obj=obj, refused=str(refusal), exit_code=refusal.exit_code)
        if before is None:
            done = "created"
        else:
            done = "unchanged" if _same(before, after) else "configured"
        return DryRunResult(obj=obj, done=done, force=force, after=after)

    def apply(self, result: DryRunResult) -> None:
        """Apply what was judged. Controllers may have taken fields meanwhile: see anew then."""
        try:
            self._cluster.apply(result.obj, force=result.force)
        except ClusterApiError as refusal:
            if refusal.status != 409:
                raise
            again = self.judge(result.obj)
            if again.refused:
                raise ClusterApiError(again.refused, refusal.status) from refusal
            self._cluster.apply(result.obj, force=again.force)

    def _dry_run(self, obj: Object, before: Object | None) -> tuple[Object, bool]:
        judged = self._with_account(obj)
        try:
            return self._cluster.apply(judged, force=self._force, dry_run=True), self._force
        except ClusterApiError as refusal:
            if refusal.status != 409 or before is None:
                raise
            conflicts = refusal.conflicts
        conflicts_found = ownership_conflicts(
            conflicts,
            before,
            ours=self._would_be(judged),
            last=lambda: self._was(obj),
            said=self._said,
        )
        if conflicts_found:
            raise _AtStake("; ".join(map(str, conflicts_found)))
        return self._would_be(judged)(), True

    def _would_be(self, obj: Object) -> Callable[[], Object]:
        return lambda: self._cluster.apply(obj, force=True, dry_run=True)

    def _was(self, obj: Object) -> Object | None:
        last = self._last.get(_identity(obj))
        return None if last is None else self._would_be(self._with_account(last))()

    def _with_account(self, obj: Object) -> Object:
        if obj["apiVersion"].partition("/")[0] != "serving.knative.dev":
            return obj
        account = ((obj["spec"].get("template") or {}).get("spec") or {}).get("serviceAccountName")
        if account is None or self._cluster.get("v1", "ServiceAccount", account) is not None:
            return obj
        judged = copy.deepcopy(obj)
        del judged["spec"]["template"]["spec"]["serviceAccountName"]
        return judged

    def _judge_job(self, obj: Object, before: Object) -> DryRunResult:
        """A Job cannot be changed: one that is over, or is another one, makes room."""
        over = any(
            c["status"] == "True" for c in (before.get("status") or {}).get("conditions") or ()
        )
        if not (
            over
            or object_status(before).state is ObjectReadiness.READY
            or _image(before) != _image(obj)
        ):
            return DryRunResult(obj=obj, done="kept")
        named = copy.deepcopy(obj)
        named["metadata"]["name"] += "-judged"
        return DryRunResult(
            obj=obj, done="replaced", after=self._cluster.create(named, dry_run=True)
        )


class _AtStake(Exception):
    """Decisions of people would be lost."""


def _identity(obj: Object) -> tuple[str, str, str]:
    return obj["apiVersion"], obj["kind"], obj["metadata"]["name"]


def _image(job: Object) -> Any:
    return job["spec"]["template"]["spec"]["containers"][0]["image"]


def _same(before: Object, after: Object) -> bool:
    """Whether only status and bookkeeping differ."""

    def content(obj: Object) -> Object:
        metadata = obj["metadata"]
        kept = {key: metadata.get(key) for key in ("labels", "annotations")}
        return {k: v for k, v in obj.items() if k not in ("metadata", "status")} | kept

    return content(before) == content(after)
