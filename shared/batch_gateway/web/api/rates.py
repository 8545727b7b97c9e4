"""Rate limits of tenants: 429 with headers."""

import math
from dataclasses import dataclass
from datetime import timedelta

from starlette.responses import Response

from batch_gateway.ports.coordination import RateDecision
from batch_gateway.services.rate_limiter import FallbackRateLimiter
from batch_gateway.settings import QuotaSettings
from batch_gateway.web.api.routing import ApiRequest, Handler
from batch_gateway.web.envelope import ApiError

#: OpenAI's clients give up when Retry-After is longer.
_LONGEST_WAIT_S = 120


@dataclass(frozen=True, slots=True)
class RequestRate:
    name: str
    limit: int  # requests per window; 0: any number
    window: timedelta


class RateLimits:
    def __init__(self, rates: FallbackRateLimiter, quota: QuotaSettings) -> None:
        self._rates = rates
        batches = RequestRate("batches", quota.batches_per_hour, timedelta(hours=1))
        uploads = RequestRate("uploads", quota.uploads_per_minute, timedelta(minutes=1))
        self._keyed = RequestRate(
            "keyed requests", quota.keyed_requests_per_hour, timedelta(hours=1)
        )
        self._by_path = {
            "/v1/batches": batches,
            "/v1/batches/{batch_id}/retry": batches,
            "/v1/files": uploads,
            "/v1/uploads": uploads,
        }

    def __call__(self, path: str, handler: Handler) -> Handler:
        """``handler`` of POSTs to ``path``, as often as a tenant may.

        Where there is no limit, requests with an Idempotency-Key have one: each leaves a row.
        """
        named = self._by_path.get(path)
        only_keyed = named is None or not named.limit
        rate = self._keyed if named is None or not named.limit else named
        if not rate.limit:
            return handler

        async def limited(call: ApiRequest) -> Response:
            if only_keyed and "idempotency-key" not in call.request.headers:
                return await handler(call)
            passage = await self._rates.take(f"{rate.name}:{call.tenant}", rate.limit, rate.window)
            headers = _headers(rate, passage)
            if not passage.passed:
                raise _too_many(rate, passage, headers)
            response = await handler(call)
            response.headers.update(headers)
            return response

        return limited


def _headers(rate: RequestRate, passage: RateDecision) -> dict[str, str]:
    return {
        "x-ratelimit-limit-requests": str(rate.limit),
        "x-ratelimit-remaining-requests": str(passage.remaining),
        "x-ratelimit-reset-requests": f"{math.ceil(passage.full_in.total_seconds())}s",
    }


def _too_many(rate: RequestRate, passage: RateDecision, headers: dict[str, str]) -> ApiError:
    wait = min(_LONGEST_WAIT_S, max(1, math.ceil(passage.next_in.total_seconds())))
    return ApiError(
        429,
        f"Rate limit reached for {rate.name}: {rate.limit} in {int(rate.window.total_seconds())} "
        f"seconds. Please try again in {wait}s.",
        type_="requests",
        code="rate_limit_exceeded",
        headers={**headers, "Retry-After": str(wait)},
    )
