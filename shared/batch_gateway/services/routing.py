"""Routes to the models' endpoints, built from the settings or a routing table."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from batch_gateway.core.routing import ModelEndpoint, ModelReplica, ModelRoute, RoutingTable
from batch_gateway.ports.routing import ReplicaRoute
from batch_gateway.settings import InferenceSettings
from batch_gateway.settings.endpoints import BreakerEntry

OBJECTIVE = "x-gateway-inference-objective"
"""Name of the InferenceObjective by which routers of the Gateway API Inference Extension order
and shed requests."""


class SingleEndpointRouteProvider:
    """All models at one OpenAI-compatible endpoint."""

    version = 0

    def __init__(self, inference: InferenceSettings, *, keys: bool = True) -> None:
        """``keys`` False: no request is sent by these routes, so the API key is not read."""
        key = inference.api_key if keys else None
        self._endpoint = ModelEndpoint(
            name="default",
            url=inference.url.rstrip("/"),
            timeout=timedelta(seconds=inference.timeout_s),
            breaker=BreakerEntry(),
            metrics_url=inference.metrics_url,
            objective=inference.objective,
        )
        self._headers = call_headers(
            self._endpoint, None if key is None else key.get_secret_value()
        )
        replicas = {
            name: (ModelReplica(endpoint=self._endpoint, model=name, served=name),)
            for name in inference.models
        }
        self.table = RoutingTable(
            models={name: ModelRoute(replicas=replica) for name, replica in replicas.items()},
            default=() if replicas else (self._endpoint,),
        )

    def headers(self, endpoint: ModelEndpoint) -> Mapping[str, str]:  # noqa: ARG002 - there is but one
        return self._headers

    def routes(self, name: str) -> Sequence[ReplicaRoute]:
        return routes_of(self.table, name, self.headers)


def routes_of(
    table: RoutingTable, name: str, headers: Callable[[ModelEndpoint], Mapping[str, str]]
) -> Sequence[ReplicaRoute]:
    """The routes of ``name``; a limit of the model is shared out among its replicas by weight."""
    model = table.model(name)
    if model is None:
        return ()
    weights = sum(replica.weight for replica in model.replicas)
    return [
        ReplicaRoute(
            replica=replica,
            headers=headers(replica.endpoint),
            ceiling=None
            if model.most is None
            else max(1, round(model.most * replica.weight / weights)),
        )
        for replica in model.replicas
    ]


def call_headers(endpoint: ModelEndpoint, key: str | None) -> Mapping[str, str]:
    """What every call of ``endpoint`` carries; ``key`` is its API key."""
    headers = {name.lower(): value for name, value in endpoint.headers.items()}
    headers["content-type"] = "application/json"
    if endpoint.objective is not None:
        headers[OBJECTIVE] = endpoint.objective
    if key is not None:
        headers["authorization"] = f"Bearer {key}"
    return headers
