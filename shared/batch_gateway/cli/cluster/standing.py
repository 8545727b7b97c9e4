"""How an object stands, by the status that its controller has written."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

Object = Mapping[str, Any]


class State(Enum):
    READY = "ready"
    WAITING = "waiting"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Standing:
    state: State
    reason: str = ""  # "" when ready
    final: bool = False  # a failure that does not pass


_CONDITIONED = ("serving.knative.dev", "eventing.knative.dev", "sources.knative.dev")
READY = Standing(State.READY)


def standing(obj: Object) -> Standing:
    """Whether what ``obj`` asks for is there; objects without a controller always are."""
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


def _by_ready(obj: Object, status: Object) -> Standing:
    """Knative's way: one condition says it all, for one generation of the spec."""
    if status.get("observedGeneration", 0) < obj["metadata"].get("generation", 0):
        return Standing(State.WAITING, "not looked at yet")
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    ready = conditions.get("Ready")
    if ready is None:
        return Standing(State.WAITING, "no status yet")
    if ready["status"] == "True":
        return READY
    state = State.FAILED if ready["status"] == "False" else State.WAITING
    return Standing(state, _said(ready))


def _job(status: Object) -> Standing:
    for condition in status.get("conditions") or ():
        if condition["status"] == "True" and condition["type"] == "Complete":
            return READY
        if condition["status"] == "True" and condition["type"] == "Failed":
            return Standing(State.FAILED, _said(condition), final=True)
    failed = status.get("failed", 0)
    return Standing(State.WAITING, f"running, {failed} attempts failed" if failed else "running")


def _replicas(obj: Object, status: Object) -> Standing:
    wanted = (obj.get("spec") or {}).get("replicas", 1)
    ready = status.get("readyReplicas", 0)
    seen = status.get("observedGeneration", 0) >= obj["metadata"].get("generation", 0)
    if seen and ready >= wanted:
        return READY
    return Standing(State.WAITING, f"{ready} of {wanted} pods are ready")


def _said(condition: Object) -> str:
    reason, message = condition.get("reason", ""), condition.get("message", "")
    return ": ".join(" ".join(part.split()) for part in (reason, message) if part) or "no reason"


def troubles(pods: list[Any]) -> list[str]:
    """What keeps the containers of ``pods`` from running, each once."""
    found: dict[str, None] = {}
    for pod in pods:
        status = pod.get("status") or {}
        for condition in status.get("conditions") or ():
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                found[f"not scheduled: {_said(condition)}"] = None
        for container in status.get("containerStatuses") or ():
            state = container.get("state") or {}
            last = (container.get("lastState") or {}).get("terminated")
            if (waiting := state.get("waiting")) and waiting.get("reason") != "ContainerCreating":
                found[f"{container['name']}: {_said(waiting)}"] = None
            if (ended := state.get("terminated") or last) and ended.get("exitCode"):
                code = f"ended with exit code {ended['exitCode']}"
                said = " ".join((ended.get("message") or "").split())
                found[f"{container['name']}: {code}" + (f": {said}" if said else "")] = None
    return list(found)
