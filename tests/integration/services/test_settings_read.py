"""A function is listed with the settings that it reads: no more, and no less."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from fixtures.scratch import a_ticket

from batch_gateway.core.errors import Unavailable
from batch_gateway.core.events import wake_up
from batch_gateway.settings import (
    READS,
    AuthSettings,
    CoordinationSettings,
    EventSettings,
    FileSettings,
    InferenceSettings,
    MetadataSettings,
    Settings,
    SettingsGroup,
    TracingSettings,
    only,
    reads_variable,
)
from batch_gateway.wiring.api import make_api
from batch_gateway.wiring.assembler import make_assembler
from batch_gateway.wiring.executor import make_executor
from batch_gateway.wiring.function import metrics_page, refuse_strangers
from batch_gateway.wiring.intake import make_intake
from batch_gateway.wiring.janitor import make_janitor_loop
from batch_gateway.wiring.planner import make_planner
from batch_gateway.wiring.runtime import open_runtime
from batch_gateway.wiring.tracing import recorded_spans

pytestmark = pytest.mark.redis

#: Groups that services get as a whole, and read when there is work.
HANDED_ON = {
    "api": {"api", "auth", "limits", "retry", "webhooks"},
    "deadletter": {"dead_letters"},
    "executor": {"execution", "limits", "queue", "retry", "watching"},
    "intake": {"api", "intake"},
    "janitor": {"limits", "retry", "sweep"},
    "notifier": {"webhooks"},
    "planner": {"planning"},
}


@pytest.fixture
def seen(monkeypatch):
    """Fields of settings that were read, as (group, field)."""
    groups = {type(field.default): name for name, field in Settings.model_fields.items()}
    found: set[tuple[str, str]] = set()

    def noted(group, name):
        if type(group) in groups and name in type(group).model_fields:
            found.add((groups[type(group)], name))
        return object.__getattribute__(group, name)

    monkeypatch.setattr(SettingsGroup, "__getattribute__", noted)
    return found


def settings(folder, redis_url, **inference):
    return Settings(
        metadata=MetadataSettings(
            url=f"sqlite+aiosqlite:///{folder / 'metadata.db'}", migrate=True
        ),
        files=FileSettings(url=f"file://{folder / 'files'}"),
        scratch=CoordinationSettings(url=redis_url),
        events=EventSettings(signing_keys="key", sink="http://127.0.0.1:1"),
        auth=AuthSettings(kind="trusted-header", secret="s"),
        tracing=TracingSettings(enabled=True),
        inference=InferenceSettings(pass_headers=("authorization",), header_keys="k", **inference),
    )


async def started(function, folder, redis_url, **inference):
    reads = only(settings(folder, redis_url, **inference), READS[function])
    refuse_strangers(reads, "0.0.0.0")
    async with (
        recorded_spans(reads, function),
        open_runtime(reads) as runtime,
        AsyncExitStack() as stack,
    ):
        metrics_page(function, runtime)
        match function:
            case "api":
                make_api(runtime, stack, ready=runtime.ready)
            case "executor":
                make_executor(runtime, stack, stopping=asyncio.Event())
            case "janitor":
                make_janitor_loop(runtime, stopping=asyncio.Event())
            case "planner":
                make_planner(runtime)
            case "assembler":
                make_assembler(runtime)
            case "intake":
                make_intake(runtime, stack)
        if "limits" in READS[function]:
            await runtime.coordination.slots.pools()
        if "queue" in READS[function]:
            await runtime.coordination.queue.push([a_ticket()])
        if "sweep" in READS[function]:
            assert runtime.outbox_relay
            with pytest.raises(Unavailable):
                await runtime.sink.send(wake_up(b"12 bytes long"))


@pytest.mark.parametrize("function", sorted(READS))
async def test_a_function_starts_with_what_it_is_listed_with(
    function, seen, tmp_path, redis_url, monkeypatch
):
    """Keys of endpoints are there for those that send requests, and are no others' business."""
    routes = tmp_path / "routes.yaml"
    key = "api_key_env: ENGINE_KEY, ca_file: /nowhere"
    if reads_variable(function, "ENGINE_KEY", {"ENGINE_KEY"}):
        monkeypatch.setenv("ENGINE_KEY", "secret")
        key = "api_key_env: ENGINE_KEY"
    routes.write_text(
        f"{{endpoints: {{one: {{url: 'http://127.0.0.1:1', {key}}}}}, default: [one]}}"
    )

    await started(function, tmp_path, redis_url)
    await started(function, tmp_path, redis_url, routes=routes)

    listed = {(group, field) for group, fields in READS[function].items() for field in fields}
    handed_on = {"files", "log"} | HANDED_ON.get(function, set())
    unread = {(group, field) for group, field in listed - seen if group not in handed_on}
    when_serving = {("events", "unknown_key_s"), ("probes", "configuration_s")}
    assert unread <= when_serving
