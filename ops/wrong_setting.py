"""What is wrong with a setting, in one sentence, for whoever reads the settings."""

import re

import pydantic_settings
from pydantic import ValidationError

WrongSetting = (ValidationError, pydantic_settings.SettingsError)
"""What reading our settings raises."""


def is_of_settings(error: Exception) -> bool:
    """Whether it is about settings at all, and not about a message."""
    return not isinstance(error, ValidationError) or error.title.endswith("Settings")


def wrong_setting(error: Exception) -> str:
    """Say in one sentence which variable of the environment is wrong, and how."""
    if not isinstance(error, ValidationError):
        found = re.search(r'field "(\w+)"', str(error))
        return f"the setting AGENTRACER_{found[1].upper() if found else '…'} is not JSON, as it has to be; mend it"
    first = error.errors(include_url=False)[0]
    name = "AGENTRACER_" + "__".join(str(part) for part in first["loc"]).upper()
    return f"the setting {name} is {first['input']!r}: {first['msg']}; mend it"
