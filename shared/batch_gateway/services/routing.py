"""Where requests to a model go. Configuration only, never a client's words."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from batch_gateway.settings import Inference


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The endpoint of one model, and the pool of slots that its calls share."""

    pool: str  # endpoint/model
    endpoint: str  # name of the endpoint
    base_url: str  # without a trailing slash; a line's url is appended
    headers: dict[str, str]
    timeout: timedelta  # of one call
    ceiling: int | None = None  # of the pool's slots; None: that of the settings only
    endpoint_ceiling: int | None = None  # of all pools of the endpoint together; None: no bound


class Routes(Protocol):
    def route(self, model: str) -> Route | None:
        """None when the model cannot be routed."""
        ...


class OneEndpoint:
    """All models at one OpenAI-compatible endpoint."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference
        self.headers = {"content-type": "application/json"}
        if inference.api_key is not None:
            self.headers["authorization"] = f"Bearer {inference.api_key.get_secret_value()}"

    def route(self, model: str) -> Route | None:
        if self._inference.models and model not in self._inference.models:
            return None
        return Route(
            pool=f"default/{model}",
            endpoint="default",
            base_url=self._inference.url.rstrip("/"),
            headers=self.headers,
            timeout=timedelta(seconds=self._inference.timeout_s),
        )
