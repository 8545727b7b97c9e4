"""Reads the settings of this process, and says in one line what is wrong with them."""

import re

from pydantic import ValidationError
from pydantic_settings import SettingsError

from batch_gateway.settings.root import PREFIX, Settings
from batch_gateway.settings.work import unfit

_GROUP = re.compile(r'field "(\w{1,40})"')


class WrongSetting(ValueError):
    """A setting has a value that it cannot have; the text names the variable."""


def read_settings() -> Settings:
    """The settings in the environment. Raises WrongSetting."""
    try:
        settings = Settings()
    except ValueError as error:  # ValidationError and SettingsError are ValueErrors
        raise WrongSetting(explained(error)) from error
    inference = settings.inference
    named = inference.routes is None and "timeout_s" in inference.model_fields_set
    if named and (wrong := unfit(settings.execution, inference.timeout_s)) is not None:
        raise WrongSetting(wrong)
    return settings


def explained(error: ValueError) -> str:
    """What is wrong, in one line: the setting, what was expected, and the variable's name.

    The value is not repeated: it may be a secret.
    """
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        what = first["msg"].removeprefix("Value error, ")
        return f"setting {where}: {what} ({_variable(first['loc'])})"
    group = _GROUP.search(str(error))
    if isinstance(error, SettingsError) and group is not None:
        name = f"{PREFIX}{group[1]}".upper()
        return f"setting {group[1]}: expected a JSON object ({name})"
    return f"a setting cannot be read: {error}"


def _variable(where: tuple[int | str, ...]) -> str:
    return PREFIX + "__".join(str(step).upper() for step in where[:2])
