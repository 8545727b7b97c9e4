"""The console's files as the API serves them. What they do is tried in tests/browser."""

import re

import httpx
import pytest

from batch_gateway.settings import ApiSettings, AuthSettings
from batch_gateway.web.console.pages import STATIC

FILES = sorted(path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.is_file())
OIDC = AuthSettings(
    kind="oidc",
    oidc_jwks_url="https://idp.example/keys",
    oidc_issuer="https://idp.example",
    oidc_audience="batches",
    oidc_client_id="console",
    oidc_authorization_url="https://idp.example/authorize",
    oidc_token_url="https://tokens.example:8443/token",
)


@pytest.fixture
async def anybody(server):
    """A client without a key."""
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
        yield http


async def test_every_file_is_served_without_a_key_and_only_once(anybody):
    for name in FILES:
        first = await anybody.get(f"/console/{name}")
        again = await anybody.get(
            f"/console/{name}", headers={"if-none-match": first.headers["etag"]}
        )

        assert (first.status_code, first.content) == (200, (STATIC / name).read_bytes())
        assert (again.status_code, again.content) == (304, b"")
        assert first.headers["cache-control"] == "no-cache"
        assert first.headers["x-content-type-options"] == "nosniff"


async def test_the_page_runs_its_own_scripts_and_nothing_else(anybody):
    page = await anybody.get("/console/")

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
    assert page.headers["referrer-policy"] == "no-referrer"
    assert not re.search(r"<script(?! type=\"module\" src=\"app.js\">)|style=|\son\w+=", page.text)


async def test_the_address_without_a_slash_leads_to_the_page_below_any_prefix(anybody):
    answer = await anybody.get("/console")

    assert (answer.status_code, answer.headers["location"]) == (307, "console/")


@pytest.mark.parametrize(
    "path",
    ["none.js", "../pages.py", "..%2fpages.py", "pages/../../pages.py", "pages", "pages/", "%00"],
)
async def test_no_other_file_is_served(anybody, path):
    answer = await anybody.get(f"/console/{path}")

    assert (answer.status_code, "Invalid URL" in answer.text) == (404, True)


async def test_the_page_is_told_how_one_signs_in(anybody, serve_api):
    told = (await anybody.get("/console/config.json")).json()
    with serve_api(ApiSettings(mode="strict", max_file_bytes=7), auth=OIDC) as other:
        async with httpx.AsyncClient(base_url=other.url, trust_env=False) as http:
            asked = (await http.get("/console/config.json")).json()
            policy = (await http.get("/console/")).headers["content-security-policy"]

    assert (told["auth"], told["mode"], told["oidc"]) == ("trusted-header", "extended", None)
    assert (asked["auth"], asked["mode"], asked["max_file_bytes"]) == ("oidc", "strict", 7)
    assert asked["oidc"] == {
        "client_id": "console",
        "authorization_url": "https://idp.example/authorize",
        "token_url": "https://tokens.example:8443/token",
        "scope": "openid",
        "token": "access_token",
    }
    assert "connect-src 'self' https://tokens.example:8443;" in policy


async def test_a_service_without_console_has_none(serve_api):
    with serve_api(ApiSettings(console=False)) as server:
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
            answers = [await http.get(path) for path in ("/console", "/console/", "/")]

    assert [answer.status_code for answer in answers] == [404, 404, 200]
    assert "console" not in answers[2].text


def test_the_console_needs_the_endpoints_of_its_provider():
    with pytest.raises(ValueError, match="oidc_client_id needs"):
        AuthSettings(**{**OIDC.model_dump(), "oidc_token_url": None})


def test_scripts_parse_no_markup_and_keep_no_secret_beyond_the_tab():
    for name in FILES:
        text = (STATIC / name).read_text()
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|new Function|DOMParser"
            r"|localStorage|document\.cookie|indexedDB",
            text,
        ), name


def test_modules_can_be_read():
    for name in FILES:
        assert len((STATIC / name).read_text().splitlines()) <= 400, name
