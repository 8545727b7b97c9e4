"""Configuration of the broker process: a JSON file named on the command line."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec


class DeliveryTarget(msgspec.Struct, frozen=True, kw_only=True):
    """Where to post to."""

    url: str
    host: str | None = None  # Host header, if it differs from the URL's

    @property
    def named(self) -> str:
        """The public form of the URL: by the Service's name, not by the activator's port."""
        if self.host is None:
            return self.url
        return urlsplit(self.url)._replace(netloc=self.host).geturl()

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.host is None else {"Host": self.host}


class DeliveryRetry(msgspec.Struct, frozen=True, kw_only=True):
    """How often, and with which pauses in seconds, a delivery is tried again."""

    count: int
    exponential: bool
    backoff_s: float
    timeout_s: float

    def pause_s(self, attempt: int) -> float:
        """The pause after failed attempt number ``attempt``, counted from 0."""
        return self.backoff_s * (2.0**attempt if self.exponential else float(attempt))


class TriggerConfig(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    filters: Sequence[dict[str, Any]]
    subscriber: DeliveryTarget
    retry: DeliveryRetry
    dead_letter: DeliveryTarget | None = None  # None: an undeliverable event is dropped


class BrokerConfig(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    namespace: str
    triggers: Sequence[TriggerConfig]

    @property
    def path(self) -> str:
        return f"/{self.namespace}/{self.name}"


class BrokerProcessConfig(msgspec.Struct, frozen=True, kw_only=True):
    port: int
    redis_url: str
    brokers: Sequence[BrokerConfig]
    speed_up: float = 1.0
    faults: bool = False  # whether tests may ask for them
