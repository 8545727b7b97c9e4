"""Addresses of Services and Brokers on this machine, and the configuration of the broker."""

from batch_gateway.local.broker.config import (
    BrokerConfig,
    BrokerProcessConfig,
    DeliveryRetry,
    DeliveryTarget,
    TriggerConfig,
)
from batch_gateway.local.errors import PlatformError
from batch_gateway.local.resources import Destination, KnativeService, ParsedManifests, Trigger

#: How long a delivery without a timeout of its own may take: what Kafka's broker allows too.
_DELIVERY_TIMEOUT_S = 600.0


class PlatformAddresses:
    """``internal_port`` is the activator's, where the Host header names the Service."""

    def __init__(
        self, deployment: ParsedManifests, *, internal_port: int, broker_port: int
    ) -> None:
        self._deployment = deployment
        self._internal_port = internal_port
        self._broker_port = broker_port

    def endpoint(self, destination: Destination) -> DeliveryTarget:
        """Raises PlatformError for a Service or Broker that does not exist."""
        match destination.kind:
            case "URL":
                return DeliveryTarget(url=destination.uri)
            case "Service":
                service = self._service(destination)
                base = f"http://127.0.0.1:{self._internal_port}/"
                return DeliveryTarget(url=destination.resolve(base), host=service.host)
            case "Broker":
                self._require_broker(destination)
                return DeliveryTarget(url=destination.resolve(self.broker_url(destination)))
        raise PlatformError(f"events cannot go to a {destination.kind}")

    def broker_url(self, broker: Destination) -> str:
        return f"http://127.0.0.1:{self._broker_port}/{broker.namespace}/{broker.name}"

    def sink_of(self, service: KnativeService) -> str | None:
        """What SinkBindings give a Service as K_SINK; None: it has none."""
        for binding in self._deployment.bindings:
            if binding.selects(service):
                return self.endpoint(binding.sink).url
        return None

    def broker_config(
        self, redis_url: str, *, speed_up: float, faults: bool
    ) -> BrokerProcessConfig:
        brokers = [
            BrokerConfig(
                name=broker.name,
                namespace=broker.namespace,
                triggers=[
                    self._trigger(trigger)
                    for trigger in self._deployment.triggers
                    if (trigger.broker, trigger.namespace) == (broker.name, broker.namespace)
                ],
            )
            for broker in self._deployment.brokers
        ]
        return BrokerProcessConfig(
            port=self._broker_port,
            redis_url=redis_url,
            brokers=brokers,
            speed_up=speed_up,
            faults=faults,
        )

    def _trigger(self, trigger: Trigger) -> TriggerConfig:
        delivery = trigger.delivery
        return TriggerConfig(
            name=trigger.name,
            filters=[dict(filter_) for filter_ in trigger.filters],
            subscriber=self.endpoint(trigger.subscriber),
            retry=DeliveryRetry(
                count=delivery.retry,
                exponential=delivery.exponential,
                backoff_s=delivery.backoff_s,
                timeout_s=delivery.timeout_s or _DELIVERY_TIMEOUT_S,
            ),
            dead_letter=self.endpoint(delivery.dead_letter) if delivery.dead_letter else None,
        )

    def _service(self, wanted: Destination) -> KnativeService:
        for service in self._deployment.services:
            if (service.name, service.namespace) == (wanted.name, wanted.namespace):
                return service
        raise PlatformError(f"the manifests send events to a missing Service {wanted.name!r}")

    def _require_broker(self, wanted: Destination) -> None:
        known = {(broker.name, broker.namespace) for broker in self._deployment.brokers}
        if (wanted.name, wanted.namespace) not in known:
            raise PlatformError(f"the manifests name a missing Broker {wanted.name!r}")
