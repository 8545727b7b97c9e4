"""API keys of our own: made by the command, presented by the official client, revoked."""

import asyncio
from datetime import timedelta

import httpx
import openai as sdk
import pytest
from fixtures.keys import keys, new_key

from batch_gateway.settings import AuthSettings
from batch_gateway.web.auth_keys import REMEMBERED

LINE = b'{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{}}\n'


@pytest.fixture
def guarded(serve_api):
    """An API that asks for keys."""
    with serve_api(auth=AuthSettings(kind="api-key")) as server:
        yield server


def client(server, secret: str) -> sdk.AsyncOpenAI:
    return sdk.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=secret)


async def test_a_key_opens_its_tenants_files_to_the_official_client_and_nobody_elses(guarded):
    (_, alices), (_, alices_other), (_, bobs) = [
        new_key(guarded, tenant) for tenant in ("alice", "alice", "bob")
    ]
    async with client(guarded, alices) as alice, client(guarded, bobs) as bob:
        file = await alice.files.create(file=("in.jsonl", LINE), purpose="batch")

        async with client(guarded, alices_other) as again:
            assert (await again.files.retrieve(file.id)).id == file.id
        with pytest.raises(sdk.NotFoundError):
            await bob.files.retrieve(file.id)


async def test_a_revoked_key_is_refused_when_it_is_no_longer_remembered(guarded):
    key, secret = new_key(guarded, "alice", "--name", "laptop")
    async with client(guarded, secret) as alice:
        await alice.files.list()

        revoked = await asyncio.to_thread(keys, guarded, "revoke", key)
        guarded.clock.ahead = REMEMBERED + timedelta(seconds=1)

        assert revoked.stdout.strip() == f"{key} is revoked"
        with pytest.raises(sdk.AuthenticationError):
            await alice.files.list()
    assert " alice   revoked " in keys(guarded, "list").stdout


async def test_an_expired_key_is_refused_at_once(guarded):
    _, secret = new_key(guarded, "alice", "--expires-in", "30d")
    async with client(guarded, secret) as alice:
        await alice.files.list()

        guarded.clock.ahead = timedelta(days=30)

        with pytest.raises(sdk.AuthenticationError):
            await alice.files.list()


@pytest.mark.parametrize(
    ("headers", "code", "beginning"),
    [
        ({}, None, "You didn't provide an API key."),
        ({"authorization": "Bearer"}, None, "You didn't provide an API key."),
        ({"authorization": "Basic eA=="}, None, "You didn't provide an API key."),
        (
            {"authorization": "Bearer sk-invalid-key-of-mine"},
            "invalid_api_key",
            "Incorrect API key provided: sk-inval***.",
        ),
        ({"authorization": "Bearer abc"}, "invalid_api_key", "Incorrect API key provided: a***."),
        (
            {"authorization": "Bearer \xff\xfe".encode("latin-1")},
            "invalid_api_key",
            "Incorrect API key provided: \xff***.",
        ),
    ],
    ids=range(6),
)
async def test_whoever_has_no_key_is_told_so_in_openais_words(guarded, headers, code, beginning):
    async with httpx.AsyncClient(base_url=guarded.url) as http:
        answer = await http.get("/v1/files", headers=headers)

    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    error = answer.json()["error"]
    assert error["message"].startswith(beginning)
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", None, code)


def test_the_command_shows_keys_but_never_their_secrets(guarded):
    key, secret = new_key(guarded, "alice", "--name", "laptop")
    new_key(guarded, "bob")

    listed = keys(guarded, "list", "--tenant", "alice").stdout

    titles, row = listed.splitlines()
    assert (titles.split(), row.split()) == (
        ["ID", "TENANT", "STATE", "SCOPES", "LAST", "USED", "NAME"],
        [key, "alice", "valid", "read", "submit", "never", "laptop"],
    )
    stored = b"".join(path.read_bytes() for path in guarded.folder.glob("metadata.db*"))
    assert key.encode() in stored  # in the database or the log before it
    assert secret.removeprefix("sk-bg-").encode() not in stored


@pytest.mark.parametrize(
    "words",
    [
        ["create", "two words"],
        ["create", "alice", "--expires-in", "soon"],
        ["revoke", "key_none"],
    ],
)
def test_the_command_refuses_nonsense_in_one_line(guarded, words):
    refused = keys(guarded, *words)

    assert refused.returncode != 0
    assert "Traceback" not in refused.stderr
