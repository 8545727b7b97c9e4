"""Reads the settings from the environment, and reports errors, one line per setting."""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource, SettingsError

from batch_gateway.settings.base import InconsistentSettings, SettingsGroup
from batch_gateway.settings.problems import located
from batch_gateway.settings.readers import READS, Reads, only
from batch_gateway.settings.root import PREFIX, Settings
from batch_gateway.settings.spelling import meant, setting_names
from batch_gateway.settings.work import budget_problem

_GROUP = re.compile(r'field "(\w{1,40})"')
#: Calls are made by it, so that it alone cannot start with a budget that no call fits into.
_CALLER = "executor"


class WrongSetting(ValueError):
    """A setting has a value that it cannot have; the text names the variable."""


def read_settings(function: str | None = None) -> Settings:
    """The settings in the environment; with a ``function``, those that it reads and no others.

    What is wrong with settings that the function does not read is no reason not to start. Raises
    WrongSetting.
    """
    reads = READS.get(function or "")
    settings = _all_settings() if reads is None else _settings_of(reads)
    if (
        (reads is None or function == _CALLER)
        and settings.inference.routes is None
        and "timeout_s" in settings.inference.model_fields_set
        and (wrong := budget_problem(settings.execution, settings.inference.timeout_s)) is not None
    ):
        raise WrongSetting(wrong)
    return settings


def _all_settings() -> Settings:
    try:
        return Settings()
    except ValueError as error:  # ValidationError and SettingsError are ValueErrors
        raise WrongSetting("; ".join(explained(error))) from error


def _settings_of(reads: Reads) -> Settings:
    """The settings of a function, each of its groups by itself."""
    groups: dict[str, Any] = {}
    wrong: list[ErrorDetails] = []
    for name, values in _given(reads).items():
        try:
            groups[name] = _group_of(name, values, reads[name])
        except ValidationError as error:
            wrong += [
                {**found, "loc": (name, *found["loc"])}
                for found in error.errors(include_url=False, include_context=False)
            ]
    if wrong:
        raise WrongSetting("; ".join(told for _, told in _told(wrong)))
    return only(Settings.model_construct(None, **groups), reads)


def _given(reads: Reads) -> dict[str, dict[str, Any]]:
    """Raw values of the environment by group and field: of the groups, and fields that are read.

    Fields that a group does not have are left in, to be reported. Raises WrongSetting.
    """
    source = EnvSettingsSource(Settings)
    source.env_vars = {
        name.lower(): value
        for name, value in os.environ.items()
        if name.upper().startswith(PREFIX)
        and name.upper().removeprefix(PREFIX).lower().partition("__")[0] in reads
    }
    try:
        found: dict[str, dict[str, Any]] = source()
    except SettingsError as error:
        raise WrongSetting("; ".join(explained(error))) from error
    return {
        group: {
            name: value
            for name, value in fields.items()
            if name in reads[group] or name not in _type_of(group).model_fields
        }
        for group, fields in found.items()
    }


def _type_of(group: str) -> type[SettingsGroup]:
    return type(Settings.model_fields[group].default)


def _group_of(name: str, values: Mapping[str, Any], read: frozenset[str]) -> SettingsGroup:
    """Raises ValidationError, but not for settings that are only wrong beside unread ones."""
    try:
        return _type_of(name).model_validate(values)
    except ValidationError as error:
        (first, *others) = error.errors(include_url=False)
        cause = (first.get("ctx") or {}).get("error")
        if (
            isinstance(cause, InconsistentSettings)
            and not others
            and not read.issuperset(cause.fields)
        ):
            return cause.group
        raise


def explained(error: ValueError, files: Mapping[str, str] | None = None) -> list[str]:
    """What is wrong, one line for each setting: its value, what was expected, its variable's name.

    ``files`` contains the file of each variable that comes from one. A value is only repeated
    where it is a number or one of a few words: others may be secrets.
    """
    if isinstance(error, ValidationError):
        found = error.errors(include_url=False, include_context=False)
        return [
            f"{file}: {told}" if (file := (files or {}).get(variable)) else told
            for variable, told in _told(found)
        ]
    group = _GROUP.search(str(error))
    if isinstance(error, SettingsError) and group is not None:
        name = f"{PREFIX}{group[1]}".upper()
        return [f"setting {group[1]}: expected a JSON object ({name})"]
    return [f"a setting cannot be read: {error}"]


def _told(errors: list[ErrorDetails]) -> Iterator[tuple[str, str]]:
    """Variables, and what is wrong with each."""
    for found in errors:
        variable = _variable(found["loc"])
        yield variable, f"setting {located(found)}{_meant(found)} ({variable})"


def _meant(found: ErrorDetails) -> str:
    """What a name that is no setting may stand for."""
    if found["type"] != "extra_forbidden":
        return ""
    return meant(".".join(map(str, found["loc"][:2])), setting_names())


def _variable(where: tuple[int | str, ...]) -> str:
    return PREFIX + "__".join(str(step).upper() for step in where[:2])
