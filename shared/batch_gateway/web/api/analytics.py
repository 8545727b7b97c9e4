"""``/v1/batches/{id}/analytics`` and ``/v1/usage``: not in OpenAI's batch API."""

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

from starlette.responses import Response

from batch_gateway.core.errors import InvalidRequest
from batch_gateway.ports.clock import Clock
from batch_gateway.services.batches.analytics import AnalyticsService
from batch_gateway.services.usage import (
    API_KEY,
    MODEL,
    TENANT,
    UsageInterval,
    UsageQuery,
    UsageService,
)
from batch_gateway.web.api.batches import asked_batch, no_such_batch
from batch_gateway.web.api.routing import ApiRequest, HandlersByPath, answer
from batch_gateway.web.openai_usage import (
    BatchAnalyticsObject,
    UsageBucket,
    UsagePage,
    UsageResult,
    midnight,
)
from batch_gateway.web.parsing import choice, integer

DAYS, MOST_DAYS = 7, 180
_LAST_SECOND = 4_102_444_800  # 2100-01-01
_MOST_NAMES = 100
_GROUPS = {"project_id": TENANT, "api_key_id": API_KEY, "model": MODEL}


class AnalyticsRoutes:
    def __init__(self, analytics: AnalyticsService, usage: UsageService, clock: Clock) -> None:
        self._analytics = analytics
        self._usage = usage
        self._clock = clock

    @property
    def routes(self) -> HandlersByPath:
        return {
            "/v1/batches/{batch_id}/analytics": {"GET": self.analytics},
            "/v1/usage": {"GET": self.usage},
        }

    async def analytics(self, call: ApiRequest) -> Response:
        batch_id = asked_batch(call)
        found = await self._analytics.get(call.tenant, batch_id)
        if found is None:
            raise no_such_batch(batch_id)
        return answer(BatchAnalyticsObject.of(found))

    async def usage(self, call: ApiRequest) -> Response:
        """Sums by day. Operators see all tenants, others their own."""
        given = call.request.query_params
        choice(given, "bucket_width", ["1d"], default="1d")
        form = choice(given, "format", ["json", "csv"], default=_accepted(call))
        limit = integer(given, "limit", default=DAYS, minimum=1, maximum=MOST_DAYS)
        first, end = self._span(given)
        first = max(first, _page(given))
        last = min(end, first + timedelta(days=limit))
        query = UsageQuery(
            tenant=None if call.identity.operates else call.tenant,
            group_by=_group_by(call),
            tenants=_names(call, "project_ids"),
            api_keys=_names(call, "api_key_ids"),
            models=_names(call, "models"),
        )
        buckets = await self._usage.days(query, first, last) if first < last else []
        currency = self._usage.prices.currency
        if form == "csv":
            return Response(
                _csv(buckets, currency),
                media_type="text/csv; charset=utf-8",
                headers={"Content-Disposition": 'attachment; filename="usage.csv"'},
            )
        more = last < end
        return answer(
            UsagePage(
                data=[UsageBucket.of(bucket, currency) for bucket in buckets],
                has_more=more,
                next_page=f"page_{midnight(last)}" if more else None,
            )
        )

    def _span(self, query: Mapping[str, str]) -> tuple[date, date]:
        """The days that are requested: from the first until before the second. Raises
        InvalidRequest."""
        if "start_time" not in query:
            raise InvalidRequest(
                "Missing required parameter: 'start_time'.",
                param="start_time",
                code="missing_required_parameter",
            )
        now = int(self._clock.now().timestamp())
        start = integer(query, "start_time", default=0, minimum=0, maximum=_LAST_SECOND)
        end = integer(query, "end_time", default=now + 1, minimum=0, maximum=_LAST_SECOND)
        if "end_time" in query and end <= start:
            raise InvalidRequest(
                "Invalid 'end_time': it must be after 'start_time'.",
                param="end_time",
                code="invalid_value",
            )
        behind = min(end, now + 1)  # a day that has not begun has no usage
        return _day(start), _day(max(0, behind - 1)) + timedelta(days=1)


def _day(second: int) -> date:
    return datetime.fromtimestamp(second, UTC).date()


def _page(query: Mapping[str, str]) -> date:
    """The first day of the page that is requested. Raises InvalidRequest."""
    given = query.get("page")
    if given is None:
        return date.min
    second = given.removeprefix("page_")
    if given == second or not second.isascii() or not second.isdigit() or len(second) > 10:
        raise InvalidRequest("Invalid 'page'.", param="page", code="invalid_value")
    return _day(min(int(second), _LAST_SECOND))


def _listed(call: ApiRequest, name: str) -> list[str]:
    """Values of a parameter that may be given several times, as ``name``, ``name[]`` or with
    commas. Raises InvalidRequest."""
    query = call.request.query_params
    values = [*query.getlist(name), *query.getlist(f"{name}[]")]
    found = [word for value in values for word in value.split(",") if word]
    if len(found) > _MOST_NAMES:
        raise InvalidRequest(
            f"Invalid '{name}': at most {_MOST_NAMES} values.", param=name, code="invalid_value"
        )
    return found


def _names(call: ApiRequest, name: str) -> frozenset[str]:
    return frozenset(_listed(call, name))


def _group_by(call: ApiRequest) -> frozenset[str]:
    found = set()
    for word in _listed(call, "group_by"):
        found.add(_GROUPS[choice({"group_by": word}, "group_by", list(_GROUPS), default="")])
    return frozenset(found)


def _accepted(call: ApiRequest) -> str:
    accept = call.request.headers.get("accept", "")
    return "csv" if accept.partition(",")[0].partition(";")[0].strip() == "text/csv" else "json"


_COLUMNS = (
    "date",
    *(name for name in UsageResult.model_fields if name not in ("object", "cost")),
    "cost",
    "currency",
)


def _csv(buckets: Sequence[UsageInterval], currency: str) -> str:
    """One row for each group of each day; days without usage have none."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    for bucket in buckets:
        for group in bucket.groups:
            row = UsageResult.of(group, currency)
            values = row.model_dump(exclude={"object", "cost"})
            cost = "" if row.cost is None else row.cost.value
            cells = [bucket.first.isoformat(), *values.values(), cost, currency]
            writer.writerow([_cell(cell) for cell in cells])
    return text.getvalue()


def _cell(value: object) -> object:
    """A text that a spreadsheet does not take for a formula; nothing for None."""
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value
