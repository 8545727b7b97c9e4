"""Passes the broker's address to functions, so that each of them starts once.

A SinkBinding injects the address into Services once the Broker has one: every function of a first
installation then starts twice. A deployment therefore reads the address from the Broker's status
and writes it into the settings (``events.sink``), and leaves the SinkBinding out. Where it cannot,
the SinkBinding does it: where functions need its token (an EventPolicy), where the Broker gets no
address in time, and without waiting. Where a SinkBinding is there already (by ``kubectl apply -k``)
it does it alone, as it follows a Broker that is deleted and created again.

The status of a SinkBinding may stay as it is when such a Broker gets its address (Knative Eventing
of June 2026: the webhook changes the copy that the controller compares with). So a SinkBinding is
annotated with the Broker's uid: the change has the controller look once more.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from batch_gateway.cli.cluster.build import SETTINGS
from batch_gateway.cli.cluster.digests import SINK
from batch_gateway.cli.cluster.kube import ClusterClient

Object = dict[str, Any]

BOUND_TO = "batchgateway.dev/broker-uid"


@dataclass(slots=True)
class BrokerAddressPlan:
    """What of the overlay's objects is applied, and whether an address is still missing."""

    objects: list[Object]
    bindings: list[Object] = field(default_factory=list)  # left out, for now
    broker: Object | None = None  # the functions wait for its address
    bound: bool = False  # a SinkBinding on the cluster injects the address
    lost: Object | None = None  # the Broker that a SinkBinding waits for
    found: bool = False  # the address in the settings is the Broker's, not the overlay's


def plan_sink(
    cluster: ClusterClient, objects: Sequence[Object], *, wait: bool
) -> BrokerAddressPlan:
    """See above. The address goes into the settings of ``objects`` if it is known already."""
    plan = BrokerAddressPlan(list(objects))
    plan.bound = bool(cluster.list("sources.knative.dev/v1", "SinkBinding"))
    bindings = [obj for obj in objects if obj["kind"] == "SinkBinding"]
    brokers = [obj for obj in objects if obj["kind"] == "Broker"]
    if len(bindings) != 1 or len(brokers) != 1 or _has_sink(objects):
        return plan
    url = address(cluster, brokers[0])
    by_binding = plan.bound or any(obj["kind"] == "EventPolicy" for obj in objects)
    if url is not None and (not by_binding or url == _sink_of(cluster, objects)):
        put_sink(objects, url)
        plan.found = True
    if by_binding:
        if not bind_to(cluster, bindings[0], brokers[0]) and wait:
            plan.lost = brokers[0]
        return plan
    if url is None and not wait:
        return plan
    plan.objects = [obj for obj in objects if obj["kind"] != "SinkBinding"]
    plan.bindings = bindings
    plan.broker = None if url else brokers[0]
    return plan


def address(cluster: ClusterClient, broker: Object) -> str | None:
    """None: the Broker has none yet."""
    status = (cluster.same(broker) or {}).get("status") or {}
    url: str | None = (status.get("address") or {}).get("url")
    return url


def bind_to(cluster: ClusterClient, binding: Object, broker: Object) -> bool:
    """Annotate a SinkBinding with the Broker that is there; False: there is none."""
    live = cluster.same(broker)
    if live is not None:
        binding["metadata"].setdefault("annotations", {})[BOUND_TO] = live["metadata"]["uid"]
    return live is not None


def put_sink(objects: Sequence[Object], url: str) -> None:
    for obj in objects:
        if is_settings(obj):
            obj.setdefault("data", {})[SINK] = url


def without_sink(objects: Sequence[Object]) -> list[Object]:
    return [
        {**obj, "data": {k: v for k, v in obj["data"].items() if k != SINK}}
        if is_settings(obj)
        else obj
        for obj in objects
    ]


def is_settings(obj: Object) -> bool:
    return bool(obj["kind"] == "ConfigMap" and obj["metadata"]["name"] == SETTINGS)


def _sink_of(cluster: ClusterClient, objects: Sequence[Object]) -> str | None:
    """What an earlier deployment wrote: the functions do not start anew for its removal."""
    for obj in filter(is_settings, objects):
        sink: str | None = ((cluster.same(obj) or {}).get("data") or {}).get(SINK)
        return sink
    return None


def _has_sink(objects: Sequence[Object]) -> bool:
    return any(SINK in (obj.get("data") or {}) for obj in objects if is_settings(obj))
