"""Reads the settings from the environment, and reports errors, one line per setting."""

import re
from collections.abc import Mapping

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsError

from batch_gateway.settings.problems import located
from batch_gateway.settings.readers import READS, only
from batch_gateway.settings.root import PREFIX, Settings
from batch_gateway.settings.spelling import meant, setting_names
from batch_gateway.settings.work import budget_problem

_GROUP = re.compile(r'field "(\w{1,40})"')


class WrongSetting(ValueError):
    """A setting has a value that it cannot have; the text names the variable."""


def read_settings(function: str | None = None) -> Settings:
    """The settings in the environment; with a ``function``, those that it reads and no others.

    Raises WrongSetting.
    """
    try:
        settings = Settings()
    except ValueError as error:  # ValidationError and SettingsError are ValueErrors
        raise WrongSetting("; ".join(explained(error))) from error
    inference = settings.inference
    named = inference.routes is None and "timeout_s" in inference.model_fields_set
    if named and (wrong := budget_problem(settings.execution, inference.timeout_s)) is not None:
        raise WrongSetting(wrong)
    reads = READS.get(function or "")
    return settings if reads is None else only(settings, reads)


def explained(error: ValueError, files: Mapping[str, str] | None = None) -> list[str]:
    """What is wrong, one line for each setting: its value, what was expected, its variable's name.

    ``files`` says for variables that come from a file which one it is. A value is only repeated
    where it is a number or one of a few words: others may be secrets.
    """
    if isinstance(error, ValidationError):
        lines = []
        for found in error.errors(include_url=False, include_context=False):
            variable = _variable(found["loc"])
            file = (files or {}).get(variable)
            told = f"setting {located(found)}{_meant(found)} ({variable})"
            lines.append(f"{file}: {told}" if file else told)
        return lines
    group = _GROUP.search(str(error))
    if isinstance(error, SettingsError) and group is not None:
        name = f"{PREFIX}{group[1]}".upper()
        return [f"setting {group[1]}: expected a JSON object ({name})"]
    return [f"a setting cannot be read: {error}"]


def _meant(found: ErrorDetails) -> str:
    """What a name that is no setting may stand for."""
    if found["type"] != "extra_forbidden":
        return ""
    return meant(".".join(map(str, found["loc"][:2])), setting_names())


def _variable(where: tuple[int | str, ...]) -> str:
    return PREFIX + "__".join(str(step).upper() for step in where[:2])
