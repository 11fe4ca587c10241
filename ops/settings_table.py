"""The one table of settings: every field of every settings class, what it may be, who reads it, and what is in force.

Rules: a class of settings is named in `CLASSES` and nowhere else; a name means the same for every role that reads it;
a secret (a field with `repr=False`) is never shown.
"""

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic_settings import BaseSettings

from ops.health import HealthSettings
from ops.roles import Role
from schemas.config_file import CONFIG_VARIABLE, PREFIX, Toml, config_file, read_config
from streams.settings import StreamsSettings
from streams.sink_settings import SinkSettings
from tracer.settings import TracerSettings

CLASSES: dict[type[BaseSettings], tuple[Role, ...]] = {
    StreamsSettings: (Role.STREAMS,),
    TracerSettings: (Role.TRACER,),
    SinkSettings: (Role.SINK,),
    HealthSettings: tuple(Role),
}
"""Every class of settings, and the roles that read it."""
OTHERS = {
    CONFIG_VARIABLE: "The settings file; `--config FILE` before a command does the same.",
    "AGENTRACER_STORE_PASSWORD": "The password of the embedded store, when it is started by hand.",
}
"""Variables that are no settings of a role."""
FOR_TESTS = ("AGENTRACER_DATA", "AGENTRACER_DEEP", "AGENTRACER_CHAOS_")
"""Beginnings of the variables that only the tests read."""
_UNITS = {"_ms": "ms", "_s": "s", "_bytes": "bytes", "_days": "days"}
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}

Origin = Literal["environment", "file", "default"]
Path = tuple[str, ...]
"""The names of a setting, from the outermost table inwards."""


class Setting(NamedTuple):
    """One setting."""

    path: Path
    default: object
    allowed: str
    """Its type, unit and bounds."""
    meanings: dict[Role, str]
    """What it does, for every role that reads it."""
    is_secret: bool

    @property
    def key(self) -> str:
        """Its name in the settings file."""
        return ".".join(self.path)

    @property
    def variable(self) -> str:
        """Its variable of the environment."""
        return variable(self.path)

    @property
    def meaning(self) -> str:
        """Return what it does, role by role where that differs."""
        said = list(dict.fromkeys(self.meanings.values()))
        if len(said) == 1:
            return said[0]
        return " ".join(
            f"{_names(role for role in self.meanings if self.meanings[role] == one)}: {one}" for one in said
        )


class InForce(NamedTuple):
    """A setting and the value that a worker started here would have."""

    setting: Setting
    value: object
    origin: Origin


def variable(path: Path) -> str:
    """Return a setting's variable of the environment."""
    return PREFIX + "__".join(path).upper()


def settings() -> list[Setting]:
    """Return every setting once, those of several roles first."""
    found: dict[Path, Setting] = {}
    for kind, roles in CLASSES.items():
        for one in _of_class(kind, roles):
            known = found.setdefault(one.path, one)
            known.meanings.update(one.meanings)
    return sorted(found.values(), key=lambda one: (-len(one.meanings), *_order(one)))


def _order(of: Setting) -> tuple[int, ...]:
    return tuple(list(Role).index(role) for role in of.meanings)


def _of_class(kind: type[BaseSettings], roles: tuple[Role, ...]) -> Iterator[Setting]:
    schema = kind.model_json_schema()
    secrets = {name for name, field in kind.model_fields.items() if not field.repr}
    for path, field in _fields(schema, schema.get("$defs", {}), ()):
        meaning = " ".join(str(field.get("description", "")).split())
        default = sorted(field["default"]) if field.get("uniqueItems") else field["default"]
        yield Setting(path, default, _allowed(path[-1], field), dict.fromkeys(roles, meaning), path[0] in secrets)


def _fields(schema: dict[str, Any], kinds: dict[str, Any], above: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for name, field in schema["properties"].items():
        kind = kinds.get(str(field.get("$ref", "")).rpartition("/")[2], {})
        if "properties" in kind:
            yield from _fields(kind, kinds, (*above, name))
        else:
            yield (*above, name), {**kind, **field}


def _allowed(name: str, field: dict[str, Any]) -> str:
    kind = next((one for one in field.get("anyOf", ()) if one.get("type") != "null"), field)
    words = " or ".join(map(str, kind["enum"])) if "enum" in kind else _kind(kind)
    unit = next((unit for ending, unit in _UNITS.items() if name.endswith(ending)), None)
    bounds = [f"{sign} {kind[word]:,}" for word, sign in _BOUNDS.items() if word in kind]
    bounds += [f"at least {kind['minLength']} long"] if "minLength" in kind else []
    return ", ".join([words, *([unit] if unit else []), *bounds])


def _kind(kind: dict[str, Any]) -> str:
    match kind["type"]:
        case "boolean":
            return "true or false"
        case "array":
            return f"list of {_kind(kind['items'])}"
        case "string":
            return str(kind.get("format", "text"))
        case known:
            return str(known)


def _names(roles: Iterator[Role]) -> str:
    return ", ".join(roles)


def in_force() -> list[InForce]:
    """Return every setting's value here and now, secrets masked; raises what reading the settings raises."""
    file = config_file()
    data = {} if file is None else read_config(file)
    read = [kind() for kind in CLASSES]
    return [InForce(one, _shown(one, _value(read, one.path)), origin(one.path, data)) for one in settings()]


def _value(read: list[BaseSettings], path: Path) -> object:
    found: Any = next(one for one in read if path[0] in type(one).model_fields)
    for name in path:
        found = getattr(found, name)
    return found


def _shown(setting: Setting, value: object) -> object:
    if setting.is_secret:
        return masked(str(value))
    return sorted(value) if isinstance(value, frozenset) else value


def masked(secret: str) -> str:
    """Return what may be shown of a secret: of a URL its host and path, of anything else nothing."""
    parts = urlsplit(secret)
    if not parts.scheme or not parts.hostname:
        return "***"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def origin(path: Path, data: Toml, environment: Mapping[str, str] | None = None) -> Origin:
    """Return where a setting's value comes from; a variable may hold a table of several, as JSON."""
    variables = {name.upper(): value for name, value in (environment or os.environ).items()}
    for length in range(len(path), 0, -1):
        value = variables.get(variable(path[:length]))
        if value is not None and _holds(value, path[length:]):
            return "environment"
    return "file" if in_table(data, path) else "default"


def _holds(value: str, rest: Path) -> bool:
    if not rest:
        return True
    try:
        return in_table(json.loads(value), rest)
    except ValueError:
        return True  # it is no JSON: whatever is wrong with it is the variable's


def in_table(data: object, path: Path) -> bool:
    """Whether a value is there under this path."""
    for name in path:
        if not isinstance(data, dict) or name not in data:
            return False
        data = data[name]
    return True
