"""The published JSON Schema of the data of a ``batch.requested`` event."""

from typing import Any

from pydantic import create_model

from batch_gateway.web.api.descriptions.applied import described
from batch_gateway.web.api.operations import CreateBatchOrInline

_REFERENCES = "#/$defs/"


def schema() -> dict[str, Any]:
    """The JSON Schema, with a text and an example for each field."""
    model = create_model("RequestedBatch", __base__=CreateBatchOrInline, object=(str | None, None))
    made = model.model_json_schema(ref_template=_REFERENCES + "{model}")
    definitions = made.pop("$defs")
    described({**definitions, "RequestedBatch": made}, _REFERENCES)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://batchgateway.dev/schemas/batch-requested.v1.json",
        "$defs": definitions,
        **made,
        "title": "Data of dev.batchgateway.batch.requested.v1",
        "description": "As the body of POST /v1/batches. The input is exactly one of "
        "input_file_id, requests and object (the URI of a JSONL object in a folder that is "
        "allowed to the source).",
    }
