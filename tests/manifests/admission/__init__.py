"""What a cluster refuses of a manifest, as far as that can be told without one.

``refusals`` lists all that Knative's webhooks would find wrong with a resource, as ``path: why``.
Behind it stand

- ``schemas``: unknown fields, wrong types, missing fields, by the CRDs (condensed in ``schemas/``);
- ``names``: the spellings that Kubernetes and Knative demand: names, quantities, durations, cron;
- ``pods``: Serving's mask over the pod's fields and its rules for what is left
  (serving: pkg/apis/serving/fieldmask.go, k8s_validation.go);
- ``serving``: Services, their annotations, traffic and labels, DomainMappings
  (serving: pkg/apis/serving/v1/*_validation.go, pkg/apis/autoscaling/annotation_validation.go);
- ``eventing``: Brokers, Triggers, sources, event types and policies
  (eventing: pkg/apis/{eventing,sources,duck}/**/*_validation.go; eventing-rabbitmq: pkg/apis);
- ``changes``: what may not be changed once it is applied.

Defaults count as Knative ships them; ``features`` are the flags that are turned on.
"""

from collections.abc import Collection, Mapping
from typing import Any

from manifests.admission import eventing, names, schemas, serving

Document = Mapping[str, Any]

_RULES = {
    "serving.knative.dev/v1/Service": serving.service,
    "serving.knative.dev/v1beta1/DomainMapping": serving.domain_mapping,
    "eventing.knative.dev/v1/Broker": eventing.broker,
    "eventing.knative.dev/v1/Trigger": eventing.trigger,
    "eventing.knative.dev/v1beta3/EventType": eventing.event_type,
    "eventing.knative.dev/v1alpha1/EventPolicy": eventing.event_policy,
    "eventing.knative.dev/v1alpha1/RabbitmqBrokerConfig": eventing.rabbitmq_config,
    "sources.knative.dev/v1/PingSource": eventing.ping_source,
    "sources.knative.dev/v1/SinkBinding": eventing.sink_binding,
    "networking.internal.knative.dev/v1alpha1/ClusterDomainClaim": serving.domain_claim,
}


def is_knative(document: Document) -> bool:
    return "knative.dev/" in document["apiVersion"]


def refusals(document: Document, features: Collection[str] = ()) -> list[str]:
    """All that Knative would refuse of ``document``; empty: it is admitted."""
    kind = f"{document['apiVersion']}/{document['kind']}"
    if kind not in _RULES:
        return [f"kind: {kind} is not one that is known here"]
    wrong = [*schemas.violations(document), *names.metadata(document["metadata"])]
    if wrong:
        return wrong  # what follows relies on the shape
    return list(_RULES[kind](document, frozenset(features)))
