"""The API's description of itself."""

import re

import httpx
import pytest
from fixtures.api import http_client

from batch_gateway.settings import Api

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
    with serve_api(Api(mode="strict")) as server:
        async with http_client(server, tenant) as http:
            described = (await http.get("/openapi.json")).json()

    assert {path: set(methods) for path, methods in described["paths"].items()} == STANDARD
    assert not [name for name in described["components"]["schemas"] if "Extended" in name]


async def test_generated_clients_find_openai_s_names(described):
    """As https://github.com/openai/openai-openapi has them."""
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
    assert {
        route: operations[route]["operationId"]
        for route in (
            ("post", "/v1/files"),
            ("get", "/v1/files/{file_id}/content"),
            ("post", "/v1/uploads/{upload_id}/parts"),
            ("get", "/v1/batches/{batch_id}"),
            ("get", "/v1/models/{model}"),
        )
    } == {
        ("post", "/v1/files"): "createFile",
        ("get", "/v1/files/{file_id}/content"): "downloadFile",
        ("post", "/v1/uploads/{upload_id}/parts"): "addUploadPart",
        ("get", "/v1/batches/{batch_id}"): "retrieveBatch",
        ("get", "/v1/models/{model}"): "retrieveModel",
    }
    assert described["servers"][0]["url"] == "/"
    assert described["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


async def test_every_reference_leads_to_an_object(described):
    references = re.findall(r"'\$ref': '#/components/schemas/(\w+)'", str(described))

    assert described["openapi"].startswith("3.1")
    assert references
    assert set(references) <= set(described["components"]["schemas"])


async def test_the_page_names_every_route_and_needs_nothing_else(http, described):
    answer = await http.get("/docs")

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    for path, operations in described["paths"].items():
        assert f"<code>{path}</code>" in answer.text
        assert all(operation["summary"] in answer.text for operation in operations.values())
    assert not re.search(r"https?://|<script|<link", answer.text)


async def test_the_page_shows_fields_and_its_links_lead_to_objects(http, described):
    text = (await http.get("/docs")).text

    for tag in described["tags"]:
        assert f'<h2 id="{tag["name"]}">' in text
    for name, schema in described["components"]["schemas"].items():
        start = text.index(f'<details id="{name}">')
        section = text[start : text.index("</details>", start)]
        for field in schema.get("properties", {}):
            assert f"<td><code>{field}</code>" in section, (name, field)
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
    assert (links, found) == (["/docs", "/openapi.json"], [200, 200])


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/", "/v1"])
async def test_the_description_asks_for_no_key(server, path):
    async with httpx.AsyncClient(base_url=server.url) as anybody:
        answer, head = await anybody.get(path), await anybody.head(path)

    assert (answer.status_code, head.status_code) == (200, 200)
    assert answer.headers["x-request-id"].startswith("req_")
