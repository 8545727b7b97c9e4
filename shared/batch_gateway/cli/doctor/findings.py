"""Findings of the doctor: severity, problem, remedy."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum


class Severity(IntEnum):
    OK = 0  # looked at, and right
    NOTE = 1  # could not be looked at, or is a matter of taste
    WARNING = 2  # works, and will hurt some day
    ERROR = 3  # does not work, or loses what was promised


@dataclass(frozen=True, slots=True)
class DoctorFinding:
    severity: Severity
    what: str
    fix: str = ""  # "": there is nothing to do


def ok(what: str) -> DoctorFinding:
    return DoctorFinding(Severity.OK, what)


def note(what: str, fix: str = "") -> DoctorFinding:
    return DoctorFinding(Severity.NOTE, what, fix)


def warning(what: str, fix: str) -> DoctorFinding:
    return DoctorFinding(Severity.WARNING, what, fix)


def error(what: str, fix: str) -> DoctorFinding:
    return DoctorFinding(Severity.ERROR, what, fix)


def worst(findings: Iterable[DoctorFinding]) -> Severity:
    return max((finding.severity for finding in findings), default=Severity.OK)


def spelled(finding: DoctorFinding) -> str:
    """As a line of JSON, which ``parsed`` reads."""
    return json.dumps(
        {"severity": finding.severity.name.lower(), "what": finding.what, "fix": finding.fix}
    )


def parsed(line: str) -> Iterator[DoctorFinding]:
    """The finding that a line of JSON spells; nothing when it is another line."""
    try:
        found = json.loads(line)
        yield DoctorFinding(Severity[found["severity"].upper()], found["what"], found["fix"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return
