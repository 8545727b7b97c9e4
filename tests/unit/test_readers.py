"""A function has the settings that it reads and no others; each one listed is read."""

import pytest
from manifests.kustomize import ROOT

from batch_gateway.settings import (
    READS,
    Settings,
    WrongSetting,
    read_settings,
    reads_variable,
    sends_events,
)

FUNCTIONS = sorted(path.parent.name for path in ROOT.glob("functions/*/main.py"))


def test_every_function_is_listed_and_no_other():
    assert sorted(READS) == FUNCTIONS


def test_every_setting_is_read_by_a_function():
    """A new setting fails here until ``settings/readers.py`` says which function reads it."""
    known = {
        f"{group}.{field}"
        for group, found in Settings.model_fields.items()
        for field in type(found.default).model_fields
    }

    read = {
        f"{group}.{field}"
        for reads in READS.values()
        for group, fields in reads.items()
        for field in fields
    }

    assert known - read == set()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_a_function_does_not_read_it_does_not_have(function, monkeypatch):
    for variable in ("METADATA__URL", "SWEEP__EVERY_S", "PLANNING__SHARD_LINES"):
        monkeypatch.setenv(f"BATCH_GATEWAY_{variable}", "7")

    settings = read_settings(function)

    for group, known in Settings.model_fields.items():
        if group not in READS[function]:
            with pytest.raises(AttributeError, match=group):
                getattr(settings, group)
            continue
        for field in type(known.default).model_fields:
            if field in READS[function][group]:
                getattr(getattr(settings, group), field)
            else:
                with pytest.raises(AttributeError, match=field):
                    getattr(getattr(settings, group), field)
    assert Settings().sweep.every_s == 7


def test_all_settings_are_there_for_commands():
    assert set(read_settings().__dict__) == set(Settings.model_fields)


def test_variables_are_read_as_their_settings_are():
    read = {f for f in FUNCTIONS if reads_variable(f, "BATCH_GATEWAY_PLANNING__SHARD_LINES")}
    assert read == {"planner"}
    assert {f for f in FUNCTIONS if reads_variable(f, "batch_gateway_retry__attempts")} == {
        "executor"
    }
    assert {f for f in FUNCTIONS if reads_variable(f, "BATCH_GATEWAY_INTAKE")} == {
        "intake",
        "janitor",
    }
    assert {
        f for f in FUNCTIONS if reads_variable(f, "BATCH_GATEWAY_QUEUE__TENANT_WEIGHTS__ACME")
    } == {"api", "executor", "intake", "janitor", "planner"}
    assert set(FUNCTIONS) == {f for f in FUNCTIONS if reads_variable(f, "SSL_CERT_FILE")}
    assert {f for f in FUNCTIONS if not sends_events(f)} == {"deadletter", "notifier"}


@pytest.mark.parametrize("variable", ["BATCH_GATEWAY_NEWS__X", "BATCH_GATEWAY_RETRY__NEWS"])
def test_what_another_release_may_know_counts_as_read(variable):
    assert all(reads_variable(function, variable) for function in FUNCTIONS)
    assert reads_variable("unheard-of", "BATCH_GATEWAY_RETRY__ATTEMPTS")
    assert reads_variable("unheard-of", "OPENAI_KEY")


def readers(variable, keys):
    return {function for function in FUNCTIONS if reads_variable(function, variable, keys)}


@pytest.mark.parametrize("variable", ["ENGINE_KEY", "BATCH_GATEWAY_ENGINE_KEY", "engine_key"])
def test_a_variable_that_routes_name_is_read_by_those_that_send_requests(variable):
    assert readers(variable, {variable}) == {"api", "executor"}
    assert readers("ANOTHER", {variable}) == set()
    assert readers("ANOTHER", None) == {"api", "executor"}
    assert readers("BATCH_GATEWAY_RETRY__ATTEMPTS", None) == {"executor"}


@pytest.mark.parametrize(
    "variable",
    ["SSL_CERT_FILE", "AWS_CA_BUNDLE", "PGSSLROOTCERT", "https_proxy", "TZ", "PYTHONMALLOC"],
)
def test_a_variable_of_a_library_is_read_by_all(variable):
    assert readers(variable, ()) == readers(variable, None) == set(FUNCTIONS)


#: Variable -> a value that it cannot have, and the functions that read it.
WRONG = {
    "EXECUTION__SOFT_BUDGET_S": ("-1", {"executor"}),
    "RETRY__ATTEMPTS": ("many", {"executor"}),
    "PLANNING__SHARD_LINES": ("0", {"planner"}),
    "DEAD_LETTERS__MOST": ("many", {"deadletter"}),
    "INFERENCE__MODELS": ('["a"', {"api", "executor", "janitor", "planner"}),
    "INFERENCE__NEWS": ("1", {"api", "executor", "intake", "janitor", "planner"}),
    "INFERENCE": ('{"pass_headers": ["host"]}', {"api"}),
    "INTAKE": ("nonsense", {"intake", "janitor"}),
    # Right each by itself, and not beside the others, of which only the API reads all.
    "INFERENCE__PASS_HEADERS": ("x-team", {"api"}),
    "AUTH__KIND": ("oidc", {"api"}),
    "INFERENCE__TIMEOUT_S": ("9999", {"executor"}),
    "LOG__LEVEL": ("loud", set(FUNCTIONS)),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_setting_keeps_those_from_starting_that_read_it(name, monkeypatch):
    value, readers = WRONG[name]
    monkeypatch.setenv(f"BATCH_GATEWAY_{name}", value)
    refused = set()

    for function in FUNCTIONS:
        try:
            settings = read_settings(function)
        except WrongSetting as wrong:
            told = str(wrong)
            assert told.endswith("(BATCH_GATEWAY_EXECUTION__HARD_BUDGET_S)") or (
                told.startswith("setting ") and f"(BATCH_GATEWAY_{name.partition('__')[0]}" in told
            )
            refused.add(function)
        else:
            assert settings.auth.kind == (value if name == "AUTH__KIND" else "none")

    assert refused == readers
    with pytest.raises(WrongSetting):
        read_settings()


def test_a_function_reads_its_settings_as_all_settings_are_read(monkeypatch):
    monkeypatch.setenv("BATCH_GATEWAY_INFERENCE", '{"models": ["a"], "timeout_s": 5}')
    monkeypatch.setenv("BATCH_GATEWAY_INFERENCE__API_KEY", "k")
    monkeypatch.setenv("batch_gateway_queue__tenant_weights__acme", "2")
    whole = read_settings()

    for function, reads in READS.items():
        settings = read_settings(function)

        for group, fields in reads.items():
            mine, its = getattr(settings, group), getattr(whole, group)
            for field in fields:
                assert getattr(mine, field) == getattr(its, field)
            assert mine.model_fields_set <= its.model_fields_set
