"""The routing file: its validated form, and the routing table that it describes.

It is configuration like any other setting, only too nested for environment variables; and unlike
them it may change while the functions run. ``docs/routing.md`` explains it by an example.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from batch_gateway.core.routing import ModelEndpoint, ModelReplica, ModelRoute, RoutingTable
from batch_gateway.settings.base import Positive, SettingsGroup
from batch_gateway.settings.endpoints import EndpointEntry, EndpointName, ModelName, listed
from batch_gateway.settings.problems import located


class ReplicaEntry(SettingsGroup):
    endpoint: str
    """Name of one of the endpoints."""
    served_as: ModelName | None = None
    """What the endpoint calls the model; None: the same."""
    weight: Positive | None = None
    """Its share of this model's calls; None: the endpoint's."""


def _replica(value: Any) -> Any:
    return {"endpoint": value} if isinstance(value, str) else value


Replicas = Annotated[
    tuple[Annotated[ReplicaEntry, BeforeValidator(_replica)], ...],
    BeforeValidator(listed),
    Field(min_length=1),
]


class ModelEntry(SettingsGroup):
    replicas: Replicas
    """Endpoints that serve the model, by name or with terms of their own."""
    max_concurrency: Positive | None = None
    """Calls at once over all replicas and executors, shared by weight; None: no such limit."""


class AdapterEntry(SettingsGroup):
    model: str
    """The model that it adapts; it runs on that model's endpoints and shares its slots."""
    served_as: ModelName | None = None
    """What the endpoints call the adapter; None: the same."""


def _model(value: Any) -> Any:
    return {"replicas": value} if isinstance(value, str | list) else value


def _adapter(value: Any) -> Any:
    return {"model": value} if isinstance(value, str) else value


class RoutingFileContent(SettingsGroup):
    endpoints: Annotated[dict[EndpointName, EndpointEntry], Field(min_length=1)]
    models: dict[ModelName, Annotated[ModelEntry, BeforeValidator(_model)]] = Field(
        default_factory=dict
    )
    """By the name that clients write."""
    aliases: dict[ModelName, str] = Field(default_factory=dict)
    """Further names of models."""
    adapters: dict[ModelName, Annotated[AdapterEntry, BeforeValidator(_adapter)]] = Field(
        default_factory=dict
    )
    """LoRA adapters of models."""
    default: Annotated[tuple[str, ...], BeforeValidator(listed)] = ()
    """Endpoints of every other name; none: such names are refused."""

    @model_validator(mode="after")
    def _closed(self) -> "RoutingFileContent":
        """Every name that is used is there, and none is there twice."""
        for name, model in self.models.items():
            self._known(f"models.{name}", (replica.endpoint for replica in model.replicas))
            if len({replica.endpoint for replica in model.replicas}) < len(model.replicas):
                raise ValueError(f"models.{name}: an endpoint is named twice")
        self._known("default", self.default)
        for kind, names in (
            ("aliases", self.aliases),
            ("adapters", {name: adapter.model for name, adapter in self.adapters.items()}),
        ):
            for name, model_name in names.items():
                if model_name not in self.models:
                    raise ValueError(f"{kind}.{name}: there is no model {model_name!r}")
                if name in self.models or (kind == "adapters" and name in self.aliases):
                    raise ValueError(f"{kind}.{name}: the name is taken")
        if not self.models and not self.default:
            raise ValueError("neither models nor default: nothing could be routed")
        return self

    @property
    def longest_call(self) -> tuple[str, float]:
        """The endpoint with the longest ``timeout_s`` that the file names, and that in seconds."""
        named = (
            (name, entry.timeout_s)
            for name, entry in self.endpoints.items()
            if "timeout_s" in entry.model_fields_set
        )
        return max(named, key=lambda found: found[1], default=("", 0.0))

    def _known(self, where: str, endpoints: Iterable[str]) -> None:
        for name in endpoints:
            if name not in self.endpoints:
                raise ValueError(f"{where}: there is no endpoint {name!r}")

    def table(self, *, objective: str | None = None) -> RoutingTable:
        """``objective`` is the deployment's, for endpoints without one of their own."""
        endpoints = {
            name: entry.endpoint(name, objective) for name, entry in self.endpoints.items()
        }
        models = {name: self._model(name, endpoints) for name in self.models}
        adapters = {
            name: _adapted(models[adapter.model], adapter.served_as or name)
            for name, adapter in self.adapters.items()
        }
        aliases = {name: models[model] for name, model in self.aliases.items()}
        return RoutingTable(
            models={**models, **aliases, **adapters},
            default=tuple(endpoints[name] for name in self.default),
        )

    def _model(self, name: str, endpoints: Mapping[str, ModelEndpoint]) -> ModelRoute:
        entry = self.models[name]
        return ModelRoute(
            replicas=tuple(
                ModelReplica(
                    endpoint=endpoints[replica.endpoint],
                    model=replica.served_as or name,
                    served=replica.served_as or name,
                    weight=replica.weight or self.endpoints[replica.endpoint].weight,
                )
                for replica in entry.replicas
            ),
            most=entry.max_concurrency,
        )


def _adapted(model: ModelRoute, served: str) -> ModelRoute:
    """An adapter of ``model``: the same pools, another name in the request."""
    return ModelRoute(
        replicas=tuple(
            ModelReplica(
                endpoint=replica.endpoint,
                model=replica.model,
                served=served,
                weight=replica.weight,
            )
            for replica in model.replicas
        ),
        most=model.most,
    )


class WrongRoutes(ValueError):
    """A routing file cannot be used. ``problems`` has a line for each wrong value."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def checked_routes(content: Any) -> RoutingFileContent:
    """The routing file with this content (as YAML gives it). Raises WrongRoutes."""
    try:
        return RoutingFileContent.model_validate(content)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
        raise WrongRoutes(list(map(located, found))) from error
