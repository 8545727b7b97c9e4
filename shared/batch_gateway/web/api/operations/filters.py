"""Filters of listings of batches."""

from batch_gateway.core.model import BatchStatus
from batch_gateway.web.api.operations.operation import STRING, Schema, instant, said

FILTERS: dict[str, Schema] = {
    "status": said(
        {"type": "string", "enum": [status.value for status in BatchStatus]},
        "Only batches in this state.",
        "completed",
    ),
    "model": said(STRING, "Only batches of this model.", "sim-large"),
    "created_after": instant("Only batches that were created later"),
    "created_before": instant("Only batches that were created earlier"),
    "metadata": said(
        {"type": "object", "additionalProperties": {"type": "string"}},
        "Only batches with these metadata, as `metadata[key]=value`.",
        {"team": "support"},
    ),
}
