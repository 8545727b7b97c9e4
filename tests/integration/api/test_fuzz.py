"""Generated requests: none may crash the service or get an unexpected response.

schemathesis makes them from the service's own OpenAPI document, right ones and wrong ones, and
holds each answer against that document.
"""

import pytest
import schemathesis
from fixtures.api import headers_of
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from batch_gateway.web.api.operations import EXTENDED

pytestmark = pytest.mark.slow

LINE = b'{"custom_id":"1","method":"POST","url":"/v1/embeddings","body":{}}\n'
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def document(_shared_server):
    return schemathesis.openapi.from_url(f"{_shared_server.url}/openapi.json")


@pytest.fixture
async def existing(http):
    """Parameter in a path -> something of the tenant that it may name."""
    form = {"files": {"file": ("in.jsonl", LINE)}, "data": {"purpose": "batch"}}
    file = (await http.post("/v1/files", **form)).json()["id"]
    new = {"bytes": 1, "filename": "a", "mime_type": "text/plain", "purpose": "evals"}
    upload = (await http.post("/v1/uploads", json=new)).json()["id"]
    asked = {"input_file_id": file, "endpoint": "/v1/embeddings", "completion_window": "24h"}
    batch = (await http.post("/v1/batches", json=asked)).json()["id"]
    return {"file_id": file, "upload_id": upload, "batch_id": batch}


@pytest.mark.parametrize(("method", "path"), EXTENDED, ids=lambda value: value)
def test_no_request_gets_an_answer_that_is_not_described(document, tenant, existing, method, path):
    operation = document[path.replace(":path", "")][method]

    @given(operation.as_strategy(GenerationMode.NEGATIVE) | operation.as_strategy(), st.booleans())
    @settings(
        max_examples=25,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def fuzz(case, of_something):
        if of_something:
            named = existing.keys() & case.path_parameters.keys()
            case.path_parameters.update({name: existing[name] for name in named})
        case.call_and_validate(headers=headers_of(tenant), checks=CHECKS, timeout=20)

    fuzz()


@pytest.mark.parametrize(
    "path", ["/v1/batches/a%0Ab", "/v1/files/%0A", "/%0A", "/v1/models/a%0D%0A", "/v1/files%0A"]
)
async def test_a_path_with_line_ends_is_404_in_the_envelope(http, path):
    answer = await http.get(path)

    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "invalid_request_error"
