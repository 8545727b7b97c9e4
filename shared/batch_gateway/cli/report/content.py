"""The content of a report, from the API: the batch and its analytics."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batch_gateway.cli.batches.printing import instant

if TYPE_CHECKING:
    from batch_gateway.cli.batches.service import Json, ServiceClient

_ENDS = ("completed_at", "failed_at", "expired_at", "cancelled_at")
_STARTS = {
    "validating": "created_at",
    "in_progress": "in_progress_at",
    "finalizing": "finalizing_at",
    "cancelling": "cancelling_at",
}


@dataclass(frozen=True, slots=True)
class ReportSection:
    """A table with a title."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Report:
    batch: "Json"
    analytics: "Json | None"
    """As ``GET /v1/batches/{id}/analytics`` answers; None: the service has no such route."""

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {"batch": self.batch, "phases": phases(self), "analytics": self.analytics}

    @property
    def heading(self) -> str:
        counts = self.batch["request_counts"]
        return (
            f"{self.batch['status']}: {counts['completed']} of {counts['total']} requests "
            f"succeeded, {counts['failed']} failed"
        )

    def sections(self) -> list[ReportSection]:
        """The tables that have rows."""
        found = [
            _phases(self),
            _throughput(self),
            _latency(self),
            _tokens(self),
            _models(self),
            _reasons(self, "retries", "Retries"),
            _reasons(self, "aborts", "Calls that the gateway ended"),
            _errors(self),
        ]
        return [section for section in found if section.rows]

    def timeline(self) -> "Iterator[Json]":
        """Points of the time line, intervals without any finished request included."""
        line = (self.analytics or {}).get("timeline") or {"interval_s": 1, "points": []}
        step, points = line["interval_s"], line["points"]
        at = points[0]["start_time"] if points else 0
        for point in points:
            while at < point["start_time"]:
                yield {"start_time": at, "completed": 0, "failed": 0}
                at += step
            yield point
            at += step

    @property
    def interval_s(self) -> int:
        return int(((self.analytics or {}).get("timeline") or {}).get("interval_s", 1))


def gathered(service: "ServiceClient", batch: str) -> Report:
    """Raises CommandError."""
    from batch_gateway.cli.batches.service import ErrorResponse

    found = service.get(f"/batches/{batch}")
    try:
        return Report(found, service.get(f"/batches/{batch}/analytics"))
    except ErrorResponse as refusal:
        if refusal.status != 404:
            raise
        return Report(found, None)


def phases(report: Report) -> "list[Json]":
    """The phases with start, end and duration in seconds; those of the batch's instants if there
    are no analytics."""
    if report.analytics is not None:
        found: list[Json] = report.analytics["phases"]
        return found
    batch = report.batch
    starts = sorted((batch[at], name) for name, at in _STARTS.items() if batch.get(at) is not None)
    end = next((batch[name] for name in _ENDS if batch.get(name) is not None), None)
    ends = [*(start for start, _ in starts[1:]), end]
    return [
        {
            "name": name,
            "started_at": start,
            "ended_at": stop,
            "duration_s": None if stop is None else stop - start,
        }
        for (start, name), stop in zip(starts, ends, strict=True)
    ]


def _phases(report: Report) -> ReportSection:
    rows = [
        (phase["name"], instant(phase["started_at"]), seconds(phase["duration_s"]))
        for phase in phases(report)
    ]
    return ReportSection("Phases", ("phase", "started", "took"), rows)


def _throughput(report: Report) -> ReportSection:
    """Of the phase in which requests ran; a batch's own instants are whole seconds, so that a
    shorter phase counts as one second."""
    running = next((p for p in phases(report) if p["name"] == "in_progress"), None)
    if running is None or running["duration_s"] is None:
        return ReportSection("Throughput", (), [])
    counts, usage = report.batch["request_counts"], report.batch.get("usage") or {}
    took = max(running["duration_s"], 0.001 if report.analytics else 1.0)
    amounts = {
        "requests": counts["completed"] + counts["failed"],
        "input tokens": usage.get("input_tokens", 0),
        "output tokens": usage.get("output_tokens", 0),
    }
    rows = [(name, number(n), f"{n / took:,.1f}") for name, n in amounts.items() if n]
    return ReportSection("Throughput", ("what", "in all", "a second"), rows)


def _latency(report: Report) -> ReportSection:
    names = ("mean_ms", "p50_ms", "p90_ms", "p95_ms", "p99_ms")
    rows = [
        (title, number(found["count"]), *(milliseconds(found[name]) for name in names))
        for key, title in (("call", "call"), ("first_token", "first token"))
        if (found := ((report.analytics or {}).get("latency") or {}).get(key)) and found["count"]
    ]
    return ReportSection("Latency", ("of", "calls", "mean", "p50", "p90", "p95", "p99"), rows)


def _tokens(report: Report) -> ReportSection:
    usage = report.batch.get("usage") or {}
    if not usage.get("total_tokens"):
        return ReportSection("Tokens", (), [])
    given = usage["input_tokens"]
    cached = (usage.get("input_tokens_details") or {}).get("cached_tokens", 0)
    reasoning = (usage.get("output_tokens_details") or {}).get("reasoning_tokens", 0)
    rows = [
        ("input", number(given), ""),
        ("of these from the prefix cache", number(cached), share(cached, given)),
        ("output", number(usage["output_tokens"]), ""),
    ]
    if reasoning:
        rows.append(
            ("of these reasoning", number(reasoning), share(reasoning, usage["output_tokens"]))
        )
    if saved := report.batch.get("saved_tokens"):
        rows.append(("saved by answers that were shared", number(saved), ""))
    if cost := (report.analytics or {}).get("cost"):
        rows.append(("cost", f"{cost['value']} {cost['currency']}", ""))
    return ReportSection("Tokens", ("kind", "tokens", "share"), rows)


def _models(report: Report) -> ReportSection:
    rows = []
    for each in (report.analytics or {}).get("models") or []:
        counts, usage, cost = each["request_counts"], each["usage"], each["cost"]
        rows.append(
            (
                each["model"],
                f"{number(counts['completed'])}/{number(counts['total'])}",
                number(usage["input_tokens"]),
                number(usage["output_tokens"]),
                "-" if cost is None else f"{cost['value']} {cost['currency']}",
            )
        )
    return ReportSection("Models", ("model", "completed", "input", "output", "cost"), rows)


def _reasons(report: Report, key: str, title: str) -> ReportSection:
    found = (report.analytics or {}).get(key) or []
    return ReportSection(
        title, ("reason", "calls"), [(e["reason"], number(e["count"])) for e in found]
    )


def _errors(report: Report) -> ReportSection:
    found = (report.analytics or {}).get("errors") or []
    rows = [
        (e["code"], number(e["count"]), f"line {e['example']['line']}: {e['example']['message']}")
        for e in found
    ]
    return ReportSection("Errors", ("code", "requests", "example"), rows)


def number(value: int) -> str:
    return f"{value:,}"


def share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else ""


def seconds(value: float | None) -> str:
    """A duration; None: it has not ended."""
    if value is None:
        return "continues"
    if value < 120:
        return f"{value:.1f} s"
    hours, rest = divmod(round(value), 3600)
    return (
        f"{hours}:{rest // 60:02}:{rest % 60:02} h" if hours else f"{rest // 60}:{rest % 60:02} min"
    )


def milliseconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f} ms" if value < 10_000 else f"{value / 1000:,.1f} s"
