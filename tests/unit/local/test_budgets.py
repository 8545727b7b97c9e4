"""Budgets of the embedded platform follow from the longest call."""

import pytest

from batch_gateway.local.budgets import HARD, extended, fitted
from batch_gateway.local.configuration import checked
from batch_gateway.local.errors import PlatformError
from batch_gateway.local.manifests import deployment_root, load
from batch_gateway.settings import WrongSetting, read_settings

TIMEOUT = "BATCH_GATEWAY_INFERENCE__TIMEOUT_S"
ROUTES = "BATCH_GATEWAY_INFERENCE__ROUTES"


def fit(root, **environment):
    return fitted(environment, checked(environment), root)


@pytest.mark.parametrize(("timeout", "hard"), [("300", None), ("1800", 2040.0)])
def test_the_hard_budget_is_long_enough_for_the_longest_call(tmp_path, timeout, hard):
    added = fit(tmp_path, **{TIMEOUT: timeout})

    assert added == ({} if hard is None else {HARD: str(hard)})


def test_the_longest_call_may_be_one_of_the_routing_file(tmp_path):
    (tmp_path / "routes.yaml").write_text(
        "endpoints: {a: {url: http://a, timeout_s: 3600}, b: {url: http://b}}\ndefault: [a, b]\n"
    )

    assert fit(tmp_path, **{ROUTES: "routes.yaml"}) == {HARD: "3840.0"}


def test_a_budget_that_no_call_could_fit_into_is_refused_in_one_line(tmp_path, monkeypatch):
    environment = {TIMEOUT: "900", HARD: "540"}

    with pytest.raises(PlatformError, match=r"hard_budget_s: 540 s are less .* 900 s") as refused:
        fit(tmp_path, **environment)
    assert "\n" not in str(refused.value)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(WrongSetting, match="hard_budget_s"):
        read_settings()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("endpoints: {a: {url: http://a, timeout_s: -1}}\ndefault: a\n", "endpoints.a.timeout_s"),
        ("endpoints: {a: {url: http://a, uri: http://a}}\ndefault: a\n", "endpoints.a"),
        ("endpoints: [\n", "is not YAML"),
    ],
)
def test_a_typing_error_in_the_routing_file_is_told_in_one_line(tmp_path, content, words):
    path = tmp_path / "routes.yaml"
    path.write_text(content)

    with pytest.raises(PlatformError, match=words) as refused:
        fit(tmp_path, **{ROUTES: str(path)})

    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_requests_of_the_executor_and_the_events_that_open_them_last_as_long():
    deployment = extended(load(deployment_root()), 2040.0)

    services = {service.name: service for service in deployment.services}
    assert (services["executor"].timeout_s, services["api"].timeout_s) == (2100, 600)
    assert services["executor"].response_start_timeout_s == 2100
    [trigger] = [one for one in deployment.triggers if one.subscriber.name == "executor"]
    assert trigger.delivery.timeout_s == 2100
