"""Which endpoints serve a model, and what a call to each of them carries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from batch_gateway.core.routing import ModelEndpoint, ModelReplica, RoutingTable


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaRoute:
    """One replica of a model, and what a call of it takes at present."""

    replica: ModelReplica
    headers: Mapping[str, str] = field(repr=False)  # of every call, the API key among them
    ceiling: int | None = None  # of the pool's slots, by the model's limit; None: no such limit

    @property
    def pool(self) -> str:
        return self.replica.pool

    @property
    def endpoint(self) -> ModelEndpoint:
        return self.replica.endpoint

    def changes(self, model: str, priority: int) -> Mapping[str, bytes] | None:
        """What is to be set in a body that names ``model``, of a batch with this priority.

        Encoded values by key; None: it goes out as it is.
        """
        found = {}
        if self.replica.served != model:
            found["model"] = msgspec.json.encode(self.replica.served)
        if self.endpoint.priority is not None:
            found["priority"] = b"%d" % self.endpoint.priority.value(priority)
        return found or None


class RouteProvider(Protocol):
    """The routes of a deployment, as they are now: a file may change while we run."""

    @property
    def table(self) -> RoutingTable: ...

    @property
    def version(self) -> int:
        """Another one whenever a route has changed, be it only an API key."""
        ...

    def headers(self, endpoint: ModelEndpoint) -> Mapping[str, str]:
        """What every call of ``endpoint`` carries, its API key among them."""
        ...

    def routes(self, name: str) -> Sequence[ReplicaRoute]:
        """One for each replica of the model that clients call ``name``; empty: it is not served."""
        ...
