import json
import logging

import pytest

from batch_gateway import log
from batch_gateway.settings import LogSettings


@pytest.fixture(autouse=True)
def _restore_logging():
    """Leave the logging of the test run as it was."""
    names = ("", "batch_gateway", "uvicorn", "uvicorn.error", "uvicorn.access", "python_multipart")
    loggers = [logging.getLogger(name) for name in names]
    before = [(each.level, each.handlers[:], each.propagate) for each in loggers]
    yield
    for each, (level, handlers, propagate) in zip(loggers, before, strict=True):
        each.setLevel(level)
        each.handlers[:] = handlers
        each.propagate = propagate


@pytest.fixture
def lines(capsys):
    """Decodes the records written so far."""
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


logger = logging.getLogger("batch_gateway.somewhere")


def test_a_record_is_one_json_object_with_its_extra_fields(lines):
    log.configure(LogSettings(), service="planner")

    logger.info("Planned %d lines\nin all", 3, extra={"action": "plan", "batch_id": "batch_1"})

    [line] = lines()
    assert line.pop("time").endswith("Z")
    assert line == {
        "severity": "INFO",
        "message": "Planned 3 lines\nin all",
        "logger": "batch_gateway.somewhere",
        "service": "planner",
        "action": "plan",
        "batch_id": "batch_1",
    }


def test_bound_fields_are_on_every_record_until_the_end_of_their_block(lines):
    log.configure(LogSettings(), service="planner")

    with log.bound(batch_id="batch_1", shard_id=None), log.bound(tenant_id="t"):
        logger.info("inside")
    logger.info("outside")

    inside, outside = lines()
    assert (inside["batch_id"], inside["tenant_id"]) == ("batch_1", "t")
    assert "shard_id" not in inside
    assert "batch_id" not in outside


def test_an_exception_is_a_field_of_its_record(lines):
    log.configure(LogSettings(), service="planner")

    try:
        raise ZeroDivisionError("by zero")
    except ZeroDivisionError:
        logger.exception("It broke", extra={"strange": {1, 2}.__class__})

    [line] = lines()
    assert line["severity"] == "ERROR"
    assert line["exception"].splitlines()[-1] == "ZeroDivisionError: by zero"


def test_others_speak_only_of_trouble(lines):
    log.configure(LogSettings(), service="planner")

    logging.getLogger("botocore.endpoint").info("Authorization: secret")
    logging.getLogger("botocore.endpoint").warning("slow")
    logging.getLogger("uvicorn.error").info("started")

    assert [line["message"] for line in lines()] == ["slow", "started"]


def test_people_get_text(capsys):
    log.configure(LogSettings(format="text", level="debug"), service="planner")

    logger.debug("Planned", extra={"batch_id": "batch_1"})

    assert capsys.readouterr().err.endswith("DEBUG   planner: Planned batch_id=batch_1\n")


def test_what_clients_name_begins_no_line_and_steers_no_terminal(capsys):
    log.configure(LogSettings(format="text"), service="api")

    logger.warning("No route %s", "/a\nINFO api: Forged\x1b[2J ü")

    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith(r"No route /a\nINFO api: Forged\x1b[2J ü")
