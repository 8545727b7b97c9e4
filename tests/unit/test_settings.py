"""Settings in the environment: forms of lists and objects, and the errors of wrong ones."""

import pytest

from batch_gateway.local.configuration import checked
from batch_gateway.local.errors import PlatformError
from batch_gateway.settings import WrongSetting, read_settings


@pytest.mark.parametrize(
    ("text", "models"),
    [
        ("a,b", ("a", "b")),
        (" a , b ,", ("a", "b")),
        ("org/a", ("org/a",)),
        ('["a", "b,c"]', ("a", "b,c")),
        ("[]", ()),
        ("", ()),
    ],
)
def test_a_list_has_commas_or_is_a_json_array(monkeypatch, text, models):
    monkeypatch.setenv("BATCH_GATEWAY_INFERENCE__MODELS", text)

    assert read_settings().inference.models == models


def test_every_list_takes_commas(monkeypatch):
    monkeypatch.setenv("BATCH_GATEWAY_AUTH__OIDC_ALGORITHMS", "RS256,EdDSA")
    monkeypatch.setenv("BATCH_GATEWAY_AUTH__HOSTS", "gateway.example,other")
    monkeypatch.setenv("BATCH_GATEWAY_INFERENCE__PASS_HEADERS", "Authorization,X-Team")
    monkeypatch.setenv("BATCH_GATEWAY_INFERENCE__HEADER_KEYS", "k")

    settings = read_settings()

    assert settings.auth.oidc_algorithms == ("RS256", "EdDSA")
    assert settings.auth.hosts == ("gateway.example", "other")
    assert settings.inference.pass_headers == ("authorization", "x-team")


def test_a_group_may_be_one_json_object(monkeypatch):
    monkeypatch.setenv("BATCH_GATEWAY_INFERENCE", '{"models": ["a"], "timeout_s": 5}')

    assert read_settings().inference.models == ("a",)


WRONG = [
    ("INFERENCE__MODELS", '["a"', "inference.models: expected values with commas (a,b) or a JSON"),
    ("AUTH__OIDC_ALGORITHMS", "RS256,none", "auth.oidc_algorithms.1: Input should be 'RS256'"),
    ("QUEUE__TENANT_WEIGHTS", "acme=2", "queue.tenant_weights: expected a JSON object, such as {"),
    ("QUEUE__TENANT_WEIGHTS", '["acme"]', "queue.tenant_weights: expected a JSON object"),
    ("QUEUE__TENANT_WEIGHTS", '{"acme": "s3cret"}', "queue.tenant_weights.acme: Input should be"),
    ("INTAKE__SOURCES", "s3cret", "intake.sources: expected a JSON object"),
    ("INFERENCE__TIMEOUT_S", "s3cret", "inference.timeout_s: Input should be a valid number"),
    ("INFERENCE__NONSENSE", "1", "inference.nonsense: Extra inputs are not permitted"),
]


@pytest.mark.parametrize(("name", "value", "told"), WRONG, ids=range(len(WRONG)))
def test_a_wrong_setting_names_its_variable_and_the_form_and_not_its_value(
    monkeypatch, name, value, told
):
    variable = f"BATCH_GATEWAY_{name}"
    monkeypatch.setenv(variable, value)

    with pytest.raises(WrongSetting) as wrong:
        read_settings()
    with pytest.raises(PlatformError) as at_start:
        checked({variable: value})

    assert str(wrong.value) == str(at_start.value)
    assert str(wrong.value).startswith(f"setting {told}")
    assert str(wrong.value).endswith(f"({variable})")
    assert "\n" not in str(wrong.value)
    assert "s3cret" not in str(wrong.value)


def test_a_floor_above_the_ceiling_stops_the_start(monkeypatch):
    monkeypatch.setenv("BATCH_GATEWAY_LIMITS__FLOOR", "300")

    with pytest.raises(WrongSetting, match=r"limits\.floor must not be above limits.ceiling"):
        read_settings()


def test_a_wrong_group_names_its_variable(monkeypatch):
    monkeypatch.setenv("BATCH_GATEWAY_QUEUE", "nonsense")

    with pytest.raises(WrongSetting, match=r"expected a JSON object \(BATCH_GATEWAY_QUEUE\)"):
        read_settings()
