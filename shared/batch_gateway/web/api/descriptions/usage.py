"""Descriptions of analytics, usage and cost."""

from batch_gateway.web.api.descriptions.about import (
    BATCH,
    CREATED,
    ENDED_AT,
    Objects,
    ObjectText,
    about,
    kind,
    moment,
)

_DAY = CREATED - CREATED % 86_400
_COST = about("What it costs, discount included; null: no model has a price.")
_PERCENTILE = "{} % of the durations are at most so many milliseconds; null: nothing was measured."

OBJECTS: Objects = {
    "Amount": ObjectText(
        "An amount of money.",
        {
            "value": about("A decimal number as text.", "0.00125"),
            "currency": about("The currency, as ISO 4217 names it.", "USD"),
        },
    ),
    "BatchAnalyticsObject": ObjectText(
        "How a batch runs, or how it ran.",
        {
            "object": kind("batch.analytics"),
            "batch_id": about("The id of the batch.", BATCH),
            "status": about("The state of the batch.", "completed"),
            "phases": about("When each phase began and ended, in order."),
            "request_counts": about("How many requests there are, and how many have ended."),
            "usage": about("The tokens of all answers; null: there is none yet."),
            "timeline": about("What was finished when."),
            "latency": about("How long calls took."),
            "retries": about("Attempts that failed and were followed by another one, by reason."),
            "aborts": about("Calls that the gateway ended, by reason."),
            "errors": about("Failed requests by error, the most frequent first."),
            "models": about("Requests, tokens and cost of each model."),
            "cost": _COST,
        },
    ),
    "ErrorCount": ObjectText(
        "Failed requests with the same error.",
        {
            "code": about(
                "The error. `retry` takes it in `errors`.", "context_length_exceeded", "429"
            ),
            "count": about("How many requests have failed with it.", 3),
            "example": about("One of them."),
        },
    ),
    "ErrorExample": ObjectText(
        "One request that has failed.",
        {
            "line": about("Its line in the input file, from 1.", 17),
            "custom_id": about("Your name for the request.", "ticket-17"),
            "message": about("What was wrong.", "The prompt is too long."),
        },
    ),
    "HistogramBucket": ObjectText(
        "One bucket of a histogram.",
        {
            "le_ms": about("The longest duration of the bucket, in milliseconds.", 512.0),
            "count": about("How many durations are in this bucket alone.", 42),
        },
    ),
    "Latencies": ObjectText(
        "How long calls took.",
        {
            "call": about("The calls that gave the results, from request to whole answer."),
            "first_token": about("Until the first token, of calls whose engine reports it."),
        },
    ),
    "Latency": ObjectText(
        "A histogram of durations. A percentile is the upper bound of its bucket.",
        {
            "count": about("How many durations were measured.", 60),
            "mean_ms": about("Their mean, in milliseconds; null: there are none.", 431.25),
            **{
                f"p{share}_ms": about(_PERCENTILE.format(share), ms)
                for share, ms in ((50, 418.0), (90, 602.5), (95, 657.0), (99, 781.3))
            },
            "buckets": about("The buckets that are not empty, the shortest durations first."),
        },
    ),
    "ModelUsage": ObjectText(
        "What the requests of a batch that name one model have come to.",
        {
            "model": about("The model, as the requests name it.", "sim-large"),
            "request_counts": about("How many requests there are, and how many have ended."),
            "usage": about("The tokens of their answers."),
            "cost": _COST,
        },
    ),
    "Phase": ObjectText(
        "One phase of a batch.",
        {
            "name": about("The state that the batch was in.", "in_progress"),
            "started_at": moment("When it began"),
            "ended_at": moment("When it ended; null: it has not", ENDED_AT),
            "duration_s": about("How long it took, in seconds; null: it has not ended.", 418.2),
        },
    ),
    "ReasonCount": ObjectText(
        "How often something happened for one reason.",
        {
            "reason": about("The reason.", "request_timeout", "http_429"),
            "count": about("How often.", 4),
        },
    ),
    "Timeline": ObjectText(
        "What was finished in each interval.",
        {
            "interval_s": about("The length of an interval, in seconds.", 60),
            "points": about("The intervals in which something was finished, in order."),
        },
    ),
    "TimelinePoint": ObjectText(
        "What was finished in one interval.",
        {
            "start_time": moment("When the interval begins"),
            "completed": about("Requests that succeeded.", 30),
            "failed": about("Requests that failed.", 0),
            "input_tokens": about("Tokens of their prompts.", 2_560),
            "output_tokens": about("Tokens of their answers.", 240),
        },
    ),
    "UsageBucket": ObjectText(
        "The usage of one day.",
        {
            "object": kind("bucket"),
            "start_time": moment("When the day begins in UTC", _DAY),
            "end_time": moment("When it ends", _DAY + 86_400),
            "results": about("Sums over the batches that ended on that day, one for each group."),
        },
    ),
    "UsagePage": ObjectText(
        "Usage by day.",
        {
            "object": kind("page"),
            "data": about("The days of this page, in order."),
            "has_more": about("Whether there is a next page.", False),
            "next_page": about("Give it as `page` to get the next page.", "page_1764547200", None),
        },
    ),
    "UsageResult": ObjectText(
        "Sums over ended batches of one group.",
        {
            "object": kind("usage.result"),
            "project_id": about("The tenant; null: not grouped by it.", "acme", None),
            "api_key_id": about(
                "The API key that created the batches, empty where none did; null: not grouped by "
                "it.",
                "key_5f2d7c9b1a3e4f60",
                None,
            ),
            "model": about("The model; null: not grouped by it.", "sim-large"),
            "num_batches": about("Batches that ended, at the model of their first request.", 1),
            "num_model_requests": about("Requests that were completed or failed.", 60),
            "completed_requests": about("Requests that succeeded.", 60),
            "failed_requests": about("Requests that failed.", 0),
            "not_run_requests": about(
                "Requests that were not run, because their batch was cancelled or expired.", 0
            ),
            "input_tokens": about("Tokens of prompts.", 5_120),
            "input_cached_tokens": about("Those of them that a cache had.", 1_024),
            "output_tokens": about("Tokens of answers.", 480),
            "output_reasoning_tokens": about("Those of them that are reasoning.", 0),
            "cost": _COST,
        },
    ),
}
