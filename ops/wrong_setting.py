"""What is wrong with a setting, in one sentence, for whoever reads the settings."""

import re

import pydantic_settings
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ops.settings_table import Path, origin, settings, variable
from schemas.config_file import Toml, config_file, read_config
from schemas.errors import SettingsError

WrongSetting = (ValidationError, pydantic_settings.SettingsError)
"""What reading our settings raises, beside the file's own SettingsError."""


def is_of_settings(error: Exception) -> bool:
    """Whether it is about settings at all, and not about a message."""
    return not isinstance(error, ValidationError) or error.title.endswith("Settings")


def wrong_setting(error: Exception) -> str:
    """Say in one sentence which variable of the environment, or which key of the settings file, is wrong, and how."""
    return wrong_settings(error)[0]


def wrong_settings(error: Exception) -> list[str]:
    """Say it of every setting that is wrong."""
    if not isinstance(error, ValidationError):
        found = re.search(r'field "(\w+)"', str(error))
        return [f"the setting AGENTRACER_{found[1].upper() if found else '…'} is not JSON, as it has to be; mend it"]
    return [_sentence(one) for one in error.errors(include_url=False)]


def _sentence(one: ErrorDetails) -> str:
    path: Path = tuple(map(str, one["loc"]))
    known = {setting.path: setting for setting in settings()}
    name = variable(path)
    if origin(path, _file()) == "file":
        name = f"{'.'.join(path)!r} in {str(config_file())!r}"
    if one["type"] == "extra_forbidden":
        return f"the setting {name} is not known; `agentracer settings` lists those that are"
    is_secret = any(setting.is_secret for setting in known.values() if setting.path[0] == path[0])
    shown = "not as it has to be" if is_secret else repr(one["input"])
    return f"the setting {name} is {shown}: {one['msg']}; mend it"


def _file() -> Toml:
    path = config_file()
    try:
        return {} if path is None else read_config(path)
    except SettingsError:
        return {}
