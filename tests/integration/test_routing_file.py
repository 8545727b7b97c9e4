"""Routes and keys are taken up while we run, and mistakes are not."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from batch_gateway.adapters.routing_file import LOOK_S, RoutingFile

ONE = "endpoints: {a: {url: 'http://a'}}\nmodels: {m: a}\n"
TWO = "endpoints: {a: {url: 'http://a'}, b: {url: 'http://b'}}\nmodels: {m: [a, b]}\n"


class Watch:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def later(self) -> None:
        self.now += LOOK_S


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def opened(tmp_path: Path, watch: Watch) -> Callable[[str], RoutingFile]:
    def open_(content: str) -> RoutingFile:
        (tmp_path / "routes.yaml").write_text(content)
        return RoutingFile(tmp_path / "routes.yaml", clock=watch)

    return open_


def urls(routes: RoutingFile) -> list[str]:
    return [route.endpoint.url for route in routes.routes("m")]


def test_a_changed_file_is_taken_up(opened, tmp_path, watch):
    routes = opened(ONE)
    before = routes.version
    assert urls(routes) == ["http://a"]

    (tmp_path / "routes.yaml").write_text(TWO)
    assert urls(routes) == ["http://a"]  # not checked yet
    watch.later()

    assert urls(routes) == ["http://a", "http://b"]
    assert routes.version != before


def test_a_swapped_symbolic_link_is_a_change(tmp_path, watch):
    """As a ConfigMap is updated: file -> ..data/file, and ..data is swapped."""
    for name, content in (("v1", ONE), ("v2", TWO)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "routes.yaml").write_text(content)
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "routes.yaml").symlink_to("..data/routes.yaml")
    routes = RoutingFile(tmp_path / "routes.yaml", clock=watch)

    (tmp_path / "new").symlink_to("v2")
    (tmp_path / "new").replace(tmp_path / "..data")
    watch.later()

    assert urls(routes) == ["http://a", "http://b"]


@pytest.mark.parametrize("broken", ["endpoints: [", "endpoints: {}", "", "\x00"])
def test_a_broken_file_is_told_once_and_the_old_routes_stay(
    opened, tmp_path, watch, caplog, broken
):
    routes = opened(ONE)
    (tmp_path / "routes.yaml").write_text(broken)

    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            watch.later()
            assert urls(routes) == ["http://a"]

    assert len(caplog.records) == 1
    assert str(tmp_path / "routes.yaml") in caplog.text

    (tmp_path / "routes.yaml").write_text(TWO)
    watch.later()
    assert urls(routes) == ["http://a", "http://b"]


def test_a_file_that_has_gone_leaves_the_old_routes(opened, tmp_path, watch):
    routes = opened(ONE)

    (tmp_path / "routes.yaml").unlink()
    watch.later()

    assert urls(routes) == ["http://a"]


def test_at_start_a_file_must_be_usable(tmp_path):
    with pytest.raises(ValueError, match="No such file"):
        RoutingFile(tmp_path / "routes.yaml")


def test_a_key_is_read_again_when_its_file_changes(opened, tmp_path, watch):
    key = tmp_path / "key"
    key.write_text("first\n")
    routes = opened(f"endpoints: {{a: {{url: 'http://a', api_key_file: {key}}}}}\nmodels: {{m: a}}")
    before = routes.version
    assert routes.routes("m")[0].headers["authorization"] == "Bearer first"

    key.write_text("second\n")
    watch.later()

    assert routes.routes("m")[0].headers["authorization"] == "Bearer second"
    assert routes.version != before


@pytest.mark.parametrize("content", ["", "\n", "two\nlines", "ключ"])
def test_a_key_that_is_none_is_not_used(opened, tmp_path, watch, content):
    key = tmp_path / "key"
    key.write_text("good")
    routes = opened(f"endpoints: {{a: {{url: 'http://a', api_key_file: {key}}}}}\nmodels: {{m: a}}")

    key.write_text(content)
    watch.later()

    assert routes.routes("m")[0].headers["authorization"] == "Bearer good"


def test_a_key_may_come_from_the_environment(opened, monkeypatch):
    monkeypatch.setenv("ENGINE_KEY", "secret")
    routes = opened("endpoints: {a: {url: 'http://a', api_key_env: ENGINE_KEY}}\ndefault: a")

    assert routes.routes("any")[0].headers["authorization"] == "Bearer secret"


def test_a_variable_that_is_not_set_is_a_mistake(opened, monkeypatch):
    monkeypatch.delenv("ENGINE_KEY", raising=False)

    with pytest.raises(ValueError, match=r"endpoints\.a: the variable ENGINE_KEY"):
        opened("endpoints: {a: {url: 'http://a', api_key_env: ENGINE_KEY}}\ndefault: a")


def test_routes_by_which_nothing_is_sent_need_no_keys(tmp_path, monkeypatch):
    monkeypatch.setenv("ENGINE_KEY", "secret")
    (tmp_path / "routes.yaml").write_text(
        "endpoints: {a: {url: 'https://a', api_key_env: ENGINE_KEY, headers: {X-Team: t}},"
        " b: {url: 'https://b', api_key_file: /nowhere/key, ca_file: /nowhere/ca.pem}}\n"
        "models: {m: [a, b]}"
    )

    routes = RoutingFile(tmp_path / "routes.yaml", keys=False).routes("m")

    assert [route.endpoint.url for route in routes] == ["https://a", "https://b"]
    assert [dict(route.headers).keys() for route in routes] == [
        {"x-team", "content-type"},
        {"content-type"},
    ]


def test_a_certificate_that_is_not_there_is_a_mistake(opened):
    with pytest.raises(ValueError, match=r"endpoints\.a: there is no file /nowhere/ca.pem"):
        opened("endpoints: {a: {url: 'https://a', ca_file: /nowhere/ca.pem}}\ndefault: a")


def test_headers_are_the_endpoints_own(tmp_path):
    (tmp_path / "routes.yaml").write_text(
        "endpoints: {a: {url: 'http://a', headers: {X-Team: b}, objective: mine},"
        " b: {url: 'http://b'}}\nmodels: {m: [a, b]}"
    )
    routes = RoutingFile(tmp_path / "routes.yaml", objective="ours")

    first, second = routes.routes("m")

    assert first.headers == {
        "content-type": "application/json",
        "x-team": "b",
        "x-gateway-inference-objective": "mine",
    }
    assert second.headers["x-gateway-inference-objective"] == "ours"


def test_a_models_limit_is_shared_out_by_weight(opened):
    routes = opened(
        "endpoints: {a: {url: 'http://a', weight: 3}, b: {url: 'http://b'}}\n"
        "models: {m: {replicas: [a, b], max_concurrency: 40}}"
    )

    assert [route.ceiling for route in routes.routes("m")] == [30, 10]
