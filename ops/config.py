"""What is wrong with the settings file and with the names of variables, found before anything runs.

Rules: the file is one for all roles, so a key that no role knows is refused, and a value that its own role would
refuse is refused by all; a value has the type that TOML writes, 5000 and not "5000"; a variable that nobody knows is
not refused, since an environment has many writers, but it is never passed over in silence; values are not logged.
"""

import difflib
import json
import logging
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from ops.settings_table import CLASSES, FOR_TESTS, OTHERS, masked, settings
from schemas.config_file import PREFIX, Toml, config_file, read_config
from schemas.errors import SettingsError

log = logging.getLogger("agentracer")
_LINKED = re.compile(r"_(SERVICE_(HOST|PORT(_.+)?)|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$")
"""What Kubernetes sets for a Service whose name begins with ours."""


def checked_config() -> Toml:
    """Return what the settings file says, {} where none is named; raises SettingsError with the first that is wrong."""
    path = config_file()
    if path is None:
        return {}
    data = read_config(path)
    wrong = file_problems(data, str(path))
    if wrong:
        more = f" ({len(wrong) - 1} more: `agentracer doctor` names them)" if wrong[1:] else ""
        raise SettingsError(wrong[0] + more)
    return data


def file_problems(data: Toml, name: str) -> list[str]:
    """Return everything that is wrong with the keys and values of a settings file."""
    return [*_unknown_keys(data, name), *_wrong_values(data, name)]


def _unknown_keys(data: Toml, name: str) -> Iterator[str]:
    known = {one.key for one in settings()}
    tables = {one.path[0] for one in settings() if len(one.path) > 1}
    for key, value in data.items():
        inside = [f"{key}.{below}" for below in value] if key in tables and isinstance(value, dict) else [key]
        for found in inside:
            if found not in known | tables:
                yield f"{found!r} in the settings file {name!r} is no setting; {_nearest(found, known)}"


def _wrong_values(data: Toml, name: str) -> Iterator[str]:
    for key, value in data.items():
        kind = next((one for one in CLASSES if key in one.model_fields), None)
        if kind is None:
            continue
        field = kind.model_fields[key]
        wanted: Any = Annotated[field.annotation, Field(), *field.metadata]
        try:
            TypeAdapter(wanted).validate_json(json.dumps(value, default=str), strict=True)
        except ValidationError as error:
            for one in error.errors(include_url=False):
                if one["type"] != "extra_forbidden":  # an unknown key, told already
                    full = ".".join(map(str, (key, *one["loc"])))
                    shown = one["input"] if field.repr else masked("")
                    yield f"{full!r} in the settings file {name!r} is {shown!r}: {one['msg']}; mend it"


def unknown_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with our prefix that nobody reads, each with what to do about it."""
    known = {one.variable for one in settings()} | OTHERS.keys()
    whole = known | {one.variable.partition("__")[0] for one in settings()}
    return {
        name: _nearest(name.upper(), known)
        for name, value in environment.items()
        if name.upper().startswith(PREFIX) and name.upper() not in whole and not _is_foreign(name, value)
    }


def _is_foreign(name: str, value: str) -> bool:
    is_link = _LINKED.search(name) is not None or value.startswith(("tcp://", "udp://"))
    return is_link or name.startswith(FOR_TESTS)


def _nearest(name: str, known: set[str]) -> str:
    bare = {one.removeprefix(PREFIX): one for one in sorted(known)}
    found = difflib.get_close_matches(name.removeprefix(PREFIX), bare, n=1)
    return (
        f"did you mean {bare[found[0]]!r}?" if found else "remove it; `agentracer settings` lists those that are known"
    )


def warn_of_unknown_variables(environment: Mapping[str, str]) -> None:
    """Say in one line of the log which of our variables nobody reads."""
    unknown = unknown_variables(environment)
    if unknown:
        log.warning("variables of the environment that nobody reads", extra={"unknown": unknown})


def defaults(command: Any, data: Toml) -> dict[str, Any]:
    """Return what the file says for the options of a command and its subcommands, as click's `default_map`."""
    subcommands = getattr(command, "commands", {})
    found: dict[str, Any] = {name: below for name, one in subcommands.items() if (below := defaults(one, data))}
    for option in command.params:
        key = str(getattr(option, "envvar", None) or "").removeprefix(PREFIX).lower()
        if key and key in data:
            found[option.name] = data[key]
    return found
