"""The one file of settings, TOML, for every role; named by AGENTRACER_CONFIG and by nothing else.

Rules: the environment stands over the file, the file over the defaults; a key is its variable without the prefix, in
lower case, and nested settings are tables (`[limits] idle_ms = 5000` is AGENTRACER_LIMITS__IDLE_MS); a file that
merely lies in the folder is not read, since what a worker does may not depend on where it was started.
"""

import os
import tomllib
from pathlib import Path

from .errors import SettingsError

PREFIX = "AGENTRACER_"
CONFIG_VARIABLE = f"{PREFIX}CONFIG"
CONFIG_NAME = "agentracer.toml"
"""What such a file is usually called."""

Toml = dict[str, object]


def config_file() -> Path | None:
    """Return the file that is named; None where none is."""
    named = os.environ.get(CONFIG_VARIABLE)
    return Path(named).expanduser() if named else None


def read_config(path: Path) -> Toml:
    """Return what the file says; raises SettingsError where it can't be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        why = error.strerror or error
        raise SettingsError(
            f"the settings file {str(path)!r} can't be read: {why}; name another by {CONFIG_VARIABLE} or --config"
        ) from error
    except ValueError as error:
        why = " ".join(str(error).split())
        raise SettingsError(f"the settings file {str(path)!r} is not TOML: {why}; mend it") from error


def readable_config() -> Path | None:
    """Return the file that is named, which can be read; raises SettingsError."""
    path = config_file()
    if path is not None:
        read_config(path)
    return path
