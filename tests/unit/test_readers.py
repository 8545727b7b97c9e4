"""A function has the settings that it reads and no others; each one listed is read."""

import pytest
from manifests.kustomize import ROOT

from batch_gateway.settings import (
    READS,
    Settings,
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
