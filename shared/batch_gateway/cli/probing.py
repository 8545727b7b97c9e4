"""Whether a model endpoint answers, and which models it serves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batch_gateway.settings import InferenceSettings

_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What ``GET /v1/models`` of an endpoint answered."""

    url: str
    status: int | None  # None: no answer
    models: Sequence[str] = ()  # their ids, as far as the answer has them
    reason: str = ""  # why there is no answer

    @property
    def good(self) -> bool:
        return self.status == 200


async def probed(inference: "InferenceSettings", *, timeout_s: float = _TIMEOUT_S) -> ProbeResult:
    """Ask the endpoint that ``inference.url`` names, with its key."""
    import httpx

    key = inference.api_key
    headers = {} if key is None else {"authorization": f"Bearer {key.get_secret_value()}"}
    url = f"{inference.url.rstrip('/')}/v1/models"
    try:
        async with httpx.AsyncClient(timeout=timeout_s) as http:
            answer = await http.get(url, headers=headers)
    except httpx.HTTPError as error:
        return ProbeResult(url, None, reason=str(error) or type(error).__name__)
    return ProbeResult(url, answer.status_code, _ids(answer) if answer.status_code == 200 else ())


def _ids(answer: "httpx.Response") -> list[str]:
    try:
        return [str(model["id"]) for model in answer.json()["data"]]
    except (ValueError, KeyError, TypeError):
        return []


if TYPE_CHECKING:
    import httpx
