"""The status of an object, from the conditions that its controller wrote."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from batch_gateway.local.process_output import error_line, one_line

Object = Mapping[str, Any]


class ObjectReadiness(Enum):
    READY = "ready"
    WAITING = "waiting"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ObjectStatus:
    state: ObjectReadiness
    reason: str = ""  # "" when ready
    final: bool = False  # a failure that does not pass


_CONDITIONED = ("serving.knative.dev", "eventing.knative.dev", "sources.knative.dev")
READY = ObjectStatus(ObjectReadiness.READY)
#: A Service's Ready repeats RoutesReady, which only reports that no revision is ready.
_TELLS_NO_CAUSE = ("Ready", "RoutesReady")
_GRADUAL = "RolloutInProgress"
#: What Knative writes around a revision's own message.
_WRAPPED = re.compile(r'Revision "[^"]*" failed with message: (.*?)\.?$', re.DOTALL)


def object_status(obj: Object) -> ObjectStatus:
    """Whether ``obj`` has reached its desired state; one without a controller always has."""
    group = obj["apiVersion"].partition("/")[0]
    kind = obj["kind"]
    status: Object = obj.get("status") or {}
    if group in _CONDITIONED and kind not in ("EventType", "RabbitmqBrokerConfig"):
        return _by_ready(obj, status)
    if kind == "Job":
        return _job(status)
    if kind in ("StatefulSet", "Deployment"):
        return _replicas(obj, status)
    return READY


def _by_ready(obj: Object, status: Object) -> ObjectStatus:
    """Knative's way: one condition contains it all, for one generation of the spec."""
    if status.get("observedGeneration", 0) < obj["metadata"].get("generation", 0):
        return ObjectStatus(ObjectReadiness.WAITING, "not looked at yet")
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    ready = conditions.get("Ready")
    if ready is None:
        return ObjectStatus(ObjectReadiness.WAITING, "no status yet")
    if ready["status"] == "True":
        return READY
    if ready["status"] == "Unknown" and ready.get("reason") == _GRADUAL:
        return READY  # the new revision serves; its share of the traffic grows by itself
    state = ObjectReadiness.FAILED if ready["status"] == "False" else ObjectReadiness.WAITING
    return ObjectStatus(state, _said(_deepest(ready, conditions)))


def _deepest(ready: Object, conditions: Mapping[str, Object]) -> Object:
    """The condition with the cause: one with the same status and a message of its own."""
    for kind, condition in conditions.items():
        if (
            kind not in _TELLS_NO_CAUSE
            and condition["status"] == ready["status"]
            and condition.get("message")
        ):
            return condition
    return ready


def _job(status: Object) -> ObjectStatus:
    for condition in status.get("conditions") or ():
        if condition["status"] == "True" and condition["type"] == "Complete":
            return READY
        if condition["status"] == "True" and condition["type"] == "Failed":
            return ObjectStatus(ObjectReadiness.FAILED, _said(condition), final=True)
    failed = status.get("failed", 0)
    return ObjectStatus(
        ObjectReadiness.WAITING, f"running, {failed} attempts failed" if failed else "running"
    )


def _replicas(obj: Object, status: Object) -> ObjectStatus:
    wanted = (obj.get("spec") or {}).get("replicas", 1)
    ready = status.get("readyReplicas", 0)
    seen = status.get("observedGeneration", 0) >= obj["metadata"].get("generation", 0)
    if seen and ready >= wanted:
        return READY
    return ObjectStatus(ObjectReadiness.WAITING, f"{ready} of {wanted} pods are ready")


def _said(condition: Object) -> str:
    reason, message = condition.get("reason", ""), condition.get("message", "")
    if wrapped := _WRAPPED.match(message):
        message = error_line(wrapped[1])
    parts = (one_line(part) for part in (reason, message) if part)
    return ": ".join(parts) or "no reason"


def troubles(pods: list[Any]) -> list[str]:
    """What keeps the containers of ``pods`` from running, each once."""
    return list(dict.fromkeys(f"{where}{what}" for where, what in _troubles(pods)))


def causes(pods: list[Any]) -> list[str]:
    """The same without the containers' names, so that equal causes are equal."""
    return list(dict.fromkeys(what for _, what in _troubles(pods)))


def _troubles(pods: list[Any]) -> Iterator[tuple[str, str]]:
    """Where, and what."""
    for pod in pods:
        status = pod.get("status") or {}
        for condition in status.get("conditions") or ():
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                yield "", f"not scheduled: {_said(condition)}"
        for container in status.get("containerStatuses") or ():
            where, state = f"{container['name']}: ", container.get("state") or {}
            last = (container.get("lastState") or {}).get("terminated")
            waiting = state.get("waiting") or {}
            ended = state.get("terminated") or last or {}
            crashed = f"ended with exit code {ended.get('exitCode')}"
            if said := error_line(ended.get("message") or ""):
                crashed += f": {said}"
            if waiting.get("reason") == "CrashLoopBackOff" and ended.get("exitCode"):
                yield where, f"CrashLoopBackOff: {crashed}"
            elif ended.get("exitCode"):
                yield where, crashed
            elif waiting and waiting.get("reason") not in ("ContainerCreating", "PodInitializing"):
                yield where, _said(waiting)
