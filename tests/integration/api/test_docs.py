"""The API's description of itself."""

import json
import re
import subprocess
import sys

import httpx
import pytest
from fixtures.api import http_client
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from batch_gateway.settings import ApiSettings
from batch_gateway.web.api.openapi import NAMES
from batch_gateway.web.api.operations import EXTENDED
from batch_gateway.web.api.operations import STANDARD as STANDARD_OPERATIONS
from batch_gateway.web.extensions import CreateExtendedBatch
from batch_gateway.web.inline import take_requests
from batch_gateway.web.parsing import parse

STANDARD = {
    "/v1/files": {"get", "post"},
    "/v1/files/{file_id}": {"get", "delete"},
    "/v1/files/{file_id}/content": {"get"},
    "/v1/uploads": {"post"},
    "/v1/uploads/{upload_id}/parts": {"post"},
    "/v1/uploads/{upload_id}/complete": {"post"},
    "/v1/uploads/{upload_id}/cancel": {"post"},
    "/v1/batches": {"get", "post"},
    "/v1/batches/{batch_id}": {"get"},
    "/v1/batches/{batch_id}/cancel": {"post"},
    "/v1/webhook_endpoints": {"get", "post"},
    "/v1/webhook_endpoints/{endpoint_id}": {"get", "post", "delete"},
    "/v1/webhook_endpoints/{endpoint_id}/rotate_secret": {"post"},
    "/v1/webhook_endpoints/{endpoint_id}/test": {"post"},
    "/v1/webhook_event_types": {"get"},
    "/v1/models": {"get"},
    "/v1/models/{model}": {"get"},
}


#: As https://github.com/openai/openai-openapi has them.
OPENAI_NAMES = {
    ("get", "/v1/files"): "listFiles",
    ("post", "/v1/files"): "createFile",
    ("get", "/v1/files/{file_id}"): "retrieveFile",
    ("delete", "/v1/files/{file_id}"): "deleteFile",
    ("get", "/v1/files/{file_id}/content"): "downloadFile",
    ("post", "/v1/uploads"): "createUpload",
    ("post", "/v1/uploads/{upload_id}/parts"): "addUploadPart",
    ("post", "/v1/uploads/{upload_id}/complete"): "completeUpload",
    ("post", "/v1/uploads/{upload_id}/cancel"): "cancelUpload",
    ("get", "/v1/batches"): "listBatches",
    ("post", "/v1/batches"): "createBatch",
    ("get", "/v1/batches/{batch_id}"): "retrieveBatch",
    ("post", "/v1/batches/{batch_id}/cancel"): "cancelBatch",
    ("get", "/v1/models"): "listModels",
    ("get", "/v1/models/{model}"): "retrieveModel",
}


@pytest.fixture
async def described(http):
    return (await http.get("/openapi.json")).json()


async def test_the_document_has_exactly_the_methods_that_each_path_answers(http, described):
    for path, operations in described["paths"].items():
        refusal = await http.patch(re.sub(r"\{\w+\}", "x", path))

        allowed = set(refusal.headers["allow"].lower().split(", ")) - {"head"}
        assert refusal.status_code == 405
        assert set(operations) == allowed, path


async def test_the_document_has_all_routes_of_openai(described):
    for path, methods in STANDARD.items():
        assert methods <= set(described["paths"][path])


async def test_in_strict_mode_the_document_has_no_other_routes(serve_api, tenant):
    with serve_api(ApiSettings(mode="strict")) as server:
        async with http_client(server, tenant) as http:
            described = (await http.get("/openapi.json")).json()

    assert {path: set(methods) for path, methods in described["paths"].items()} == STANDARD
    assert "retry_of" not in described["components"]["schemas"]["Batch"]["properties"]


async def test_generated_clients_find_openai_s_names(described):
    operations = {
        (method, path): operation
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    }
    names = [operation.get("operationId") for operation in operations.values()]
    tags = {tag["name"] for tag in described["tags"]}

    assert None not in names
    assert len(set(names)) == len(names)
    assert all(operation["tags"][0] in tags for operation in operations.values())
    assert {route: operations[route]["operationId"] for route in OPENAI_NAMES} == OPENAI_NAMES
    assert described["servers"][0]["url"] == "/"
    assert described["security"] == [{"bearer": []}, {}]
    assert not [route for route, operation in operations.items() if "security" in operation]
    assert described["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


async def test_objects_are_called_as_clients_would_call_them(each_document):
    names = set(each_document["components"]["schemas"])

    assert {"Batch", "BatchList", "CreateBatch", "File", "FileList", "Upload", "Model"} <= names
    assert {"Error", "ErrorResponse", "WebhookEndpoint", "WebhookEndpointWithSecret"} <= names
    assert not [name for name in names if re.search("Extended|Inline|Object", name)]


async def test_answers_have_all_their_keys(each_document):
    answered = {"Batch", "BatchList", "File", "Upload", "Model", "WebhookEndpoint", "Error"}
    schemas = each_document["components"]["schemas"]

    for name in answered:
        assert set(schemas[name]["required"]) == set(schemas[name]["properties"]), name
    assert schemas["CreateBatch"]["required"][-2:] == ["endpoint", "completion_window"]


async def test_fields_that_may_be_absent_have_no_default(each_document):
    """Generators of clients would take them for fields that requests must have."""
    for name, schema in each_document["components"]["schemas"].items():
        for field, shape in schema.get("properties", {}).items():
            assert "default" not in shape, f"{name}.{field}"


async def test_every_reference_leads_to_an_object(described):
    references = re.findall(r"'\$ref': '#/components/schemas/(\w+)'", str(described))

    assert described["openapi"].startswith("3.1")
    assert references
    assert set(references) <= set(described["components"]["schemas"])


def _operations(described):
    return [(m, p, op) for p, methods in described["paths"].items() for m, op in methods.items()]


@pytest.fixture(params=["extended", "strict"])
async def each_document(request, serve_api, tenant):
    """The document in both modes."""
    with serve_api(ApiSettings(mode=request.param)) as server:
        async with http_client(server, tenant) as http:
            yield (await http.get("/openapi.json")).json()


async def test_every_object_and_field_has_a_text_and_an_example(each_document):
    missing = []
    for name, schema in each_document["components"]["schemas"].items():
        if not schema.get("description"):
            missing.append(name)
        for field, shape in schema.get("properties", {}).items():
            if not shape.get("description") or not shape.get("examples"):
                missing.append(f"{name}.{field}")

    assert missing == []


async def test_every_parameter_and_part_of_a_form_has_a_text_and_an_example(each_document):
    missing = []
    for method, path, operation in _operations(each_document):
        for parameter in operation["parameters"]:
            if not parameter.get("description") or "example" not in parameter:
                missing.append((method, path, parameter["name"]))
        for content in operation.get("requestBody", {}).get("content", {}).values():
            for name, part in content["schema"].get("properties", {}).items():
                if not part.get("description") or not part.get("examples"):
                    missing.append((method, path, name))

    assert missing == []


async def test_every_operation_body_and_answer_has_a_text_and_an_example(each_document):
    for method, path, operation in _operations(each_document):
        where = (method, path)
        assert operation["summary"], where
        for response in operation["responses"].values():
            assert response["description"], where
            for content in response["content"].values():
                assert content.get("example"), where
                assert content["schema"], where
        for content in operation.get("requestBody", {}).get("content", {}).values():
            assert content.get("example"), where


async def test_every_example_is_valid(each_document):
    """By the schema that it is an example of."""
    resource = Resource.from_contents(each_document, default_specification=DRAFT202012)
    registry = Registry().with_resource("urn:api", resource)

    def check(pointer, schema, example):
        wanted = {"$ref": f"urn:api#{pointer}"} if pointer else _absolute(schema)
        Draft202012Validator(wanted, registry=registry).validate(example)

    checked = 0
    for name, schema in each_document["components"]["schemas"].items():
        for field, shape in schema.get("properties", {}).items():
            for example in shape["examples"]:
                check(f"/components/schemas/{name}/properties/{field}", shape, example)
                checked += 1
    for _, _, operation in _operations(each_document):
        for parameter in operation["parameters"]:
            check(None, parameter["schema"], parameter["example"])
        answers = [answer["content"] for answer in operation["responses"].values()]
        for contents in [*answers, operation.get("requestBody", {}).get("content", {})]:
            for content in contents.values():
                check(None, content["schema"], content["example"])
                checked += 1
    assert checked > 150


def _absolute(schema):
    """``schema`` with references that lead into the document from outside of it."""
    return json.loads(json.dumps(schema).replace('"#/', '"urn:api#/'))


async def test_the_examples_of_requests_are_taken(each_document):
    """By the very models that parse requests."""
    bodies = {one.body for one in [*EXTENDED.values(), *STANDARD_OPERATIONS.values()] if one.body}
    named = {NAMES.get(body.__name__, body.__name__): body for body in bodies}
    named |= {"CreateBatch": CreateExtendedBatch}
    for _, _, operation in _operations(each_document):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is None:
            continue
        model = content["schema"]["$ref"].rpartition("/")[2]
        parse(named[model], take_requests(json.dumps(content["example"]).encode())[0])


async def test_a_start_of_the_api_reads_no_descriptions():
    """They are read when the document is first asked for, so a cold start does not pay."""
    script = (
        "import sys, batch_gateway.wiring.api, batch_gateway.wiring.intake;"
        "print([name for name in sys.modules if 'descriptions' in name or 'openapi' in name])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert shown.stdout.strip() == "[]"


async def test_the_document_is_sent_compressed_and_once(server):
    async with httpx.AsyncClient(base_url=server.url) as anybody:
        packed = await anybody.get("/openapi.json")
        plain = await anybody.get("/openapi.json", headers={"accept-encoding": "identity"})
        refused = await anybody.get("/openapi.json", headers={"accept-encoding": "gzip;q=0"})
        again = await anybody.get(
            "/openapi.json", headers={"if-none-match": packed.headers["etag"]}
        )

    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < 24_576
    assert packed.json() == plain.json() == refused.json()
    assert "content-encoding" not in plain.headers
    assert "content-encoding" not in refused.headers
    assert (again.status_code, again.content) == (304, b"")


async def test_the_reference_page_is_swagger_ui_and_asks_no_other_host(http):
    page = await http.get("/docs")
    links = re.findall(r'(?:href|src)="([^"]+)"', page.text)
    policy = page.headers["content-security-policy"]

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert {link for link in links if not link.startswith("/")} == set()
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert not re.search(r"https?:|\*|unsafe-eval", policy)
    assert "<script>" not in page.text
    for link in links:
        found = await http.get(link)
        assert found.status_code == 200, link
        assert found.headers["x-content-type-options"] == "nosniff"
    assert "SwaggerUIBundle" in (await http.get("/docs/swagger-ui-bundle.js")).text
    assert '"/openapi.json"' in (await http.get("/docs/start.js")).text


async def test_the_plain_page_names_every_route_and_needs_nothing_else(http, described):
    answer = await http.get("/docs/plain")

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    for path, operations in described["paths"].items():
        assert f"<code>{path}</code>" in answer.text
        assert all(operation["summary"] in answer.text for operation in operations.values())
    assert not re.search(r"<script|<link|<img|src=", answer.text)
    assert not [link for link in re.findall(r'href="([^"]+)"', answer.text) if ":" in link]


async def test_the_plain_page_shows_fields_and_its_links_lead_to_objects(http, described):
    text = (await http.get("/docs/plain")).text

    for tag in described["tags"]:
        assert f'<h2 id="tag-{tag["name"]}">' in text
    for name, schema in described["components"]["schemas"].items():
        start = text.index(f'<details id="{name}">')
        section = text[start : text.index("</details>", start)]
        for field, shape in schema.get("properties", {}).items():
            assert f"<td><code>{field}</code>" in section, (name, field)
            assert shape["description"].partition("`")[0].partition("'")[0] in section
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(ids)


@pytest.mark.parametrize("path", ["/", "/v1"])
async def test_the_url_that_up_prints_is_a_page_that_leads_on(server, path):
    async with httpx.AsyncClient(base_url=server.url) as anybody:
        page = await anybody.get(path)
        links = re.findall(r'href="([^"]+)"', page.text)
        found = [(await anybody.get(link)).status_code for link in links]

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "batch service" in page.text
    assert (links, found) == (["/console/", "/docs", "/openapi.json"], [200, 200, 200])


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/docs/plain", "/", "/v1"])
async def test_the_description_asks_for_no_key(server, path):
    async with httpx.AsyncClient(base_url=server.url) as anybody:
        answer, head = await anybody.get(path), await anybody.head(path)

    assert (answer.status_code, head.status_code) == (200, 200)
    assert answer.headers["x-request-id"].startswith("req_")
