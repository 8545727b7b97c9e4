"""Who waits for whom in the manifests: never in a circle, whatever the broker's class.

Each node is something that must come true, each edge a rule of Kubernetes, Knative Serving or
Eventing:

- a pod runs once the Secrets and ConfigMaps that it names are there;
- a function is ready once its stores answer and the migration has run; it needs no broker, which
  ``integration/platform/test_start_up.py`` shows for each of them;
- a Knative Service has an address once a revision of it was ready;
- a Broker has an address once its dead letter sink has one, except for RabbitMQ's class;
- a Trigger or PingSource is ready once its Broker, its subscriber and its sinks have addresses;
- a SinkBinding is ready once its Broker has an address.
"""

import graphlib
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from manifests.kustomize import ROOT, build

OVERLAYS = sorted(
    str(path.parent.relative_to(ROOT))
    for path in ROOT.glob("knative/overlays/*/kustomization.yaml")
)
CLASSES = ("MTChannelBasedBroker", "Kafka", "RabbitMQBroker")
CLASS = "eventing.knative.dev/broker.class"

Node = tuple[str, str, str]  # kind, name, what must come true
Document = dict[str, Any]


def api(document: Document) -> str:
    return str(document["apiVersion"]).partition("/")[0]


def node(document: Document, fact: str) -> Node:
    return document["kind"], document["metadata"]["name"], fact


def referred(reference: Document) -> Iterator[Node]:
    """The address of a destination; a URI waits for nothing."""
    if "ref" in reference:
        yield reference["ref"]["kind"], reference["ref"]["name"], "address"


def dead_letter_sink(spec: Document) -> Iterator[Node]:
    yield from referred((spec.get("delivery") or {}).get("deadLetterSink") or {})


def graph(
    documents: Sequence[Document], class_: str, *, sink_at_start: bool = False
) -> dict[Node, set[Node]]:
    """What each node waits for. ``sink_at_start``: functions refuse to start without K_SINK."""
    stores = {node(d, "ready") for d in documents if d["kind"] in ("StatefulSet", "Job")}
    bindings = {node(d, "ready") for d in documents if d["kind"] == "SinkBinding"}
    waits: dict[Node, set[Node]] = {}
    for document in documents:
        kind, spec = document["kind"], document.get("spec") or {}
        if api(document) == "serving.knative.dev" and kind == "Service":
            waits[node(document, "ready")] = stores | (bindings if sink_at_start else set())
            waits[node(document, "address")] = {node(document, "ready")}
        elif kind in ("StatefulSet", "Job"):
            waits[node(document, "ready")] = {
                store for store in stores if kind == "Job" and store[0] == "StatefulSet"
            }
        elif kind == "Broker":
            first = class_ != "RabbitMQBroker"
            waits[node(document, "address")] = set(dead_letter_sink(spec)) if first else set()
            waits[node(document, "ready")] = {
                node(document, "address"),
                *dead_letter_sink(spec),
            }
        elif kind == "Trigger":
            waits[node(document, "ready")] = {
                ("Broker", spec["broker"], "ready"),
                *referred(spec["subscriber"]),
                *dead_letter_sink(spec),
            }
        elif kind in ("PingSource", "SinkBinding"):
            waits[node(document, "ready")] = set(referred(spec["sink"]))
    return waits


def of_class(documents: Sequence[Document], class_: str) -> bool:
    """Whether the overlay can have a broker of this class: its own, or any if it names none."""
    (broker,) = (d for d in documents if d["kind"] == "Broker")
    named = (broker["metadata"].get("annotations") or {}).get(CLASS)
    return named in (None, class_)


every_installation = pytest.mark.parametrize(
    ("overlay", "class_"),
    [
        (overlay, class_)
        for overlay in OVERLAYS
        for class_ in CLASSES
        if of_class(build(ROOT / overlay), class_)
    ],
)


@every_installation
def test_nothing_waits_in_a_circle(overlay, class_):
    waits = graph(build(ROOT / overlay), class_)

    order = list(graphlib.TopologicalSorter(waits).static_order())

    assert order.index(("Broker", "batch-gateway", "address")) < order.index(
        ("SinkBinding", "batch-gateway", "ready")
    )


@every_installation
def test_everything_that_is_waited_for_exists(overlay, class_):
    waits = graph(build(ROOT / overlay), class_)

    assert {found for needed in waits.values() for found in needed} <= waits.keys()
    for kind in ("Broker", "SinkBinding", "Trigger", "PingSource", "Service"):
        assert any(name[0] == kind for name in waits), kind


@every_installation
def test_functions_that_needed_a_sink_to_start_would_be_a_circle(overlay, class_):
    """The model knows the circle that a real cluster has shown."""
    waits = graph(build(ROOT / overlay), class_, sink_at_start=True)
    sorter = graphlib.TopologicalSorter(waits)

    if class_ == "RabbitMQBroker":
        sorter.prepare()
    else:
        with pytest.raises(graphlib.CycleError):
            sorter.prepare()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_timer_does_not_wait_for_the_broker(overlay):
    waits = graph(build(ROOT / overlay), "MTChannelBasedBroker")
    needed: set[Node] = set()
    following = [name for name in waits if name[0] == "PingSource"]
    while following:
        found = following.pop()
        needed.add(found)
        following += waits[found] - needed

    assert not {name for name in needed if name[0] in ("Broker", "SinkBinding", "Trigger")}
