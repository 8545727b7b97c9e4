"""What ``make audit`` makes of pip-audit's answer."""

import json

import audit
import pytest

FINE = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
UNKNOWN = {"name": "c", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("packages", "code", "told"),
    [
        ([FINE], 0, "1 pinned dependencies, none with a known vulnerability"),
        ([FINE, BAD], 1, "b 2: CVE-1, fixed in 3"),
        ([FINE, UNKNOWN], 3, "NOT AUDITED: c: not found"),
        ([UNKNOWN] * 2, 3, "NOT AUDITED: nothing is known of 2 dependencies: not found"),
        ([], 3, "NOT AUDITED: nothing is known of 0 dependencies"),
    ],
)
def test_an_answer_is_judged(packages, code, told):
    assert audit.verdict(0, json.dumps({"dependencies": packages}), "") == (code, [told])


@pytest.mark.parametrize("output", ["", "null", "[]", "{}", "no JSON"])
def test_a_database_that_cannot_be_asked_is_never_taken_for_good_news(output):
    code, [told] = audit.verdict(1, output, "Traceback\nConnectionError: no route\n")

    assert code == 3
    assert told.startswith("NOT AUDITED: the advisory database cannot be asked: ConnectionError")
