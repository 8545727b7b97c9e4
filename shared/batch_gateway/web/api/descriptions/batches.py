"""Descriptions of batches."""

from batch_gateway.core.model import BatchStatus
from batch_gateway.web.api.descriptions.about import (
    BATCH,
    BEFORE,
    CREATED,
    DEADLINE,
    DELETED,
    ENDED_AT,
    INPUT,
    METADATA,
    OUTPUT,
    REQUEST,
    RESULT,
    TEMPLATE,
    WINDOW,
    Fields,
    Objects,
    ObjectText,
    about,
    kind,
    moment,
    page,
)

_COUNTS: Fields = {
    "total": about("Requests in the input file; 0 until it has been read.", 60),
    "completed": about("Requests that have a result in the output file.", 60),
    "failed": about("Requests that have a result in the error file.", 0),
}

_USAGE: Fields = {
    "input_tokens": about("Tokens of all prompts.", 5_120),
    "input_tokens_details": about("What is known of the input tokens."),
    "output_tokens": about("Tokens of all answers.", 480),
    "output_tokens_details": about("What is known of the output tokens."),
    "total_tokens": about("Input and output tokens together.", 5_600),
}

_ERROR: Fields = {
    "code": about("What is wrong, for programs.", "invalid_json_line"),
    "message": about("What is wrong, for people.", "This line is not parseable as valid JSON."),
    "param": about("The field that is wrong, where it is one.", "body.model", None),
    "line": about("The number of the line, from 1; null when it is not about one line.", 3),
}

_BATCH: Fields = {
    "id": about("The id of the batch.", BATCH),
    "object": kind("batch"),
    "endpoint": about(
        "The path that all requests go to; `*`: each request says it.", "/v1/chat/completions"
    ),
    "model": about("The model of the requests; null until it is known.", None, "sim-large"),
    "errors": about(
        "Why the batch failed or was stopped.",
        {
            "object": "list",
            "data": [
                {
                    "code": "invalid_json_line",
                    "message": "This line is not parseable as valid JSON.",
                    "param": None,
                    "line": 3,
                }
            ],
        },
        None,
    ),
    "input_file_id": about("The id of the input file.", INPUT),
    "completion_window": about("The time that the batch was given when it was created.", "24h"),
    "status": about(
        "`validating`: the input is read. `in_progress`: requests run. `finalizing`: the files "
        "are written. `completed`: every request has a result, in one of the files. `failed`: the "
        "input is not valid, or the batch cannot be run. `expired`, `cancelled`: it was stopped; "
        "what was done until then is in the files.",
        "completed",
        enum=[status.value for status in BatchStatus],
    ),
    "output_file_id": about(
        "The file of the results that succeeded; null: there are none.", OUTPUT
    ),
    "error_file_id": about(
        "The file of the results that did not succeed; null: there are none.", OUTPUT, None
    ),
    "created_at": moment("When the batch was created"),
    "in_progress_at": moment("When its requests began to run", CREATED + 2),
    "expires_at": moment("The deadline", DEADLINE),
    "finalizing_at": moment("When its last request had ended", ENDED_AT - 1),
    "completed_at": moment("When its files were ready", ENDED_AT),
    "failed_at": moment("When it failed", ENDED_AT, None),
    "expired_at": moment("When it was stopped by its deadline", DEADLINE, None),
    "cancelling_at": moment("When it was asked to stop", ENDED_AT, None),
    "cancelled_at": moment("When it had stopped", ENDED_AT, None),
    "request_counts": about("How many requests there are, and how many have ended."),
    "usage": about("The tokens that engines have reported; null until a request has ended."),
    "metadata": METADATA,
}

_BUDGETS: Fields = {
    "max_errors": about(
        "More failed requests than this stop the batch; null: no limit.", 100, None
    ),
    "max_error_rate": about(
        "A larger share of failed requests than this stops the batch; null: no limit.", 0.5, None
    ),
    "max_total_tokens": about(
        "More tokens than this stop the batch; null: no limit.", 1_000_000, None
    ),
    "max_cost": about(
        "A higher cost than this stops the batch, in the currency of the service's prices; null: "
        "no limit.",
        2.5,
        None,
    ),
}

_OPTIONS: Fields = {
    "priority": about("From 0 (first) to 9 (last) among the batches of one tenant.", 5),
    "on_invalid_line": about(
        "What a bad line of the input does. `fail`: the batch fails. `skip`: the line gets an "
        "error, and all others run.",
        "fail",
    ),
    "dry_run": about("Whether the input is only checked and its tokens estimated.", False),
    "deduplicate": about(
        "Whether requests that are the same to the last byte run once and share the answer.", False
    ),
    **_BUDGETS,
}

EXTENDED_BATCH: Fields = {
    **_BATCH,
    **_OPTIONS,
    "paused": about("Whether the batch starts no more requests.", False),
    "estimated_completion_at": moment(
        "When the batch will be done at its present speed; null: not known", ENDED_AT, None
    ),
    "blocked_reason": about(
        "Why no request of the batch runs; null: requests run, or the batch has ended.",
        "paused",
        None,
    ),
    "estimated_tokens": about(
        "Of a dry run: the estimated tokens of prompts and answers, by model.",
        {"sim-large": 5_120},
        None,
    ),
    "estimated_cost": about(
        "Of a dry run: what the requests cost if all succeed and no prompt is cached, discount "
        "included; null: no model has a price.",
        {"value": "0.001250", "currency": "USD"},
        None,
    ),
    "estimated_duration_s": about(
        "Of a dry run: the estimated seconds; null when the models' speed is not known.", 420, None
    ),
    "deduplicated": about(
        "How many requests share the answer of another one; null until the input has been read.", 0
    ),
    "saved_tokens": about(
        "The tokens that these would have used; null until the batch has ended.", 1_200, None
    ),
    "retry_of": about("The batch that this one runs again.", BEFORE, None),
    "after": about("The batch whose answers this one's requests are made of.", BEFORE, None),
    "carried_over": about(
        "How many results were taken over from `retry_of`; null until the input has been read.",
        41,
        None,
    ),
}

_CREATE_BATCH: Fields = {
    "input_file_id": about("The id of the input file, of the purpose `batch`.", INPUT),
    "endpoint": about(
        "The path that all requests go to. `*` (not in strict mode): each request's `url` says it.",
        "/v1/chat/completions",
    ),
    "completion_window": WINDOW,
    "metadata": METADATA,
    "output_expires_after": about(
        "How long the output file and the error file are kept.",
        {"anchor": "created_at", "seconds": 604_800},
    ),
}

_INLINE: Fields = {
    **_CREATE_BATCH,
    "input_file_id": about(
        "The id of the input file, of the purpose `batch`. Absent, null or empty beside "
        "`requests` and `after`.",
        INPUT,
    ),
    **_OPTIONS,
    "requests": about(
        "The requests themselves in place of an input file: objects as its lines have them.",
        [REQUEST],
        None,
    ),
    "after": about(
        "Makes the requests of another batch's answers, when it has completed.",
        {"batch_id": BEFORE, "template": TEMPLATE},
        None,
    ),
}

OBJECTS: Objects = {
    "ChainedInput": ObjectText(
        "The batch that a new one follows, and the template of the new one's requests.",
        {
            "batch_id": about("The batch whose answers the requests are made of.", BEFORE),
            "template": about(
                "The body of each request. `{{text}}` stands for the text of an answer.",
                TEMPLATE,
            ),
        },
    ),
    "BatchDeleted": ObjectText(
        "Says that a batch was removed.",
        {
            "id": about("The id of the batch.", BATCH),
            "object": kind("batch"),
            "deleted": DELETED,
        },
    ),
    "BatchErrorObject": ObjectText("One reason why a batch failed or was stopped.", _ERROR),
    "BatchErrors": ObjectText(
        "Why a batch failed or was stopped.",
        {"object": kind("list"), "data": about("What is wrong, line by line.")},
    ),
    "BatchList": ObjectText("A page of batches.", page(BATCH)),
    "BatchObject": ObjectText("A batch.", _BATCH),
    "BatchRequestObject": ObjectText(
        "One request of a batch, and what has become of it.",
        {
            "object": kind("batch.request"),
            "batch_id": about("The id of the batch.", BATCH),
            "custom_id": about("Your name for the request.", "ticket-1"),
            "status": about("`pending`: the request has no result yet.", "completed"),
            "result": about("The request's line of the output or error file.", None, RESULT),
        },
    ),
    "BatchUsage": ObjectText(
        "The tokens of all requests of a batch, as engines have reported them.", _USAGE
    ),
    "Blocked": ObjectText(
        "`paused`: by its owner. `off_peak`: a calendar allows no calls now. "
        "`waiting_for_model`: the engine is away, or does not serve the model. "
        "`endpoint_unauthorized`: the engine refuses the service's credentials. "
        "`engine_saturated`: the engine is busy with other work. `no_slots`: other batches use "
        "the capacity. `storage_full`: results cannot be stored."
    ),
    "CreateBatch": ObjectText("A new batch.", _CREATE_BATCH),
    "CreateBatchOrInline": ObjectText(
        "A new batch. It has an input file, or `requests`, or `after`.", _INLINE
    ),
    "ExtendedBatchList": ObjectText("A page of batches.", page(BATCH)),
    "ExtendedBatchObject": ObjectText(
        "A batch: OpenAI's fields, and those of this service.", EXTENDED_BATCH
    ),
    "InputTokensDetails": ObjectText(
        "What is known of input tokens.",
        {"cached_tokens": about("Input tokens that the engines took from a cache.", 3_072)},
    ),
    "OutputTokensDetails": ObjectText(
        "What is known of output tokens.",
        {"reasoning_tokens": about("Output tokens that were spent on reasoning.", 0)},
    ),
    "RequestedBatch": ObjectText(
        "A batch that an event requests.",
        {
            **_INLINE,
            "object": about(
                "The URI of an object in a folder that is allowed to the event's source.",
                "s3://inputs/tickets/2026-11-30.jsonl",
                None,
            ),
        },
    ),
    "RequestCounts": ObjectText(
        "How many requests of a batch there are, and how many have ended.", _COUNTS
    ),
    "RetryBatch": ObjectText(
        "What a retry runs again. All fields may be absent.",
        {
            "errors": about(
                "Which failed requests are run again: codes or types of errors, HTTP statuses, or "
                "classes of them. Absent or null: all.",
                ["batch_expired", "429", "5xx"],
            ),
            "completion_window": about(
                "The new batch's; absent or null: as the old batch had it.", "1h"
            ),
            "metadata": about(
                "The new batch's; absent: as the old batch had it.", {"team": "support"}
            ),
        },
    ),
    "UpdateBatch": ObjectText(
        "What changes; at least one field.",
        {
            "priority": about("From 0 (first) to 9 (last); absent or null: as it is.", 0),
            "completion_window": about(
                "Counts from the creation of the batch; absent or null: as it is.", "7d"
            ),
        },
    ),
}
