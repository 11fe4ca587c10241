"""What deployment files may say of the code: the commands that there are, and the settings that each of them reads."""

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer.core
import typer.main

from ops.cli import app
from ops.health import HealthSettings
from ops.roles import Role
from streams.settings import StreamsSettings
from streams.sink_settings import SinkSettings
from tracer.settings import TracerSettings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "ops" / "deploy"
DOCKERFILES = sorted((DEPLOY / "docker").glob("*.Dockerfile"))
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PREFIX = "AGENTRACER_"
SETTINGS: dict[Role, type[StreamsSettings | SinkSettings | TracerSettings]] = {
    Role.STREAMS: StreamsSettings,
    Role.SINK: SinkSettings,
    Role.TRACER: TracerSettings,
}


def ours(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that are the product's own."""
    return {name: str(value) for name, value in environment.items() if name.startswith(PREFIX)}


def role_of(arguments: Sequence[str]) -> Role | None:
    """Return the role that a command starts; None for a job."""
    return Role(arguments[1]) if arguments[0] == "worker" else None


def options_of(arguments: Sequence[str]) -> dict[str, Any]:
    """Return the options as the command line takes them; raises where it has no such command, option or value."""
    command, rest = _command(arguments)
    return dict(command.make_context("agentracer", rest).params)


def ignored(arguments: Sequence[str], environment: Mapping[str, str], patch: pytest.MonkeyPatch) -> set[str]:
    """Return those of its variables that a command would not read; raises where it refuses a value."""
    role = role_of(arguments)
    if role is None:
        command, _ = _command(arguments)
        return set(environment) - {option.envvar for option in command.params}
    return set(environment) - {name for name in environment if _field(name) in _settings(role, environment, patch)}


def health_of(environment: Mapping[str, str], patch: pytest.MonkeyPatch) -> HealthSettings:
    """Return where a worker with this environment answers probes."""
    with patch.context() as own:
        for name, value in environment.items():
            own.setenv(name, value)
        return HealthSettings()


def _settings(role: Role, environment: Mapping[str, str], patch: pytest.MonkeyPatch) -> set[str]:
    """Return the fields that the role's settings, and those of its health, take from an environment."""
    with patch.context() as own:
        for name in ours(os.environ):
            own.delenv(name)
        for name, value in environment.items():
            own.setenv(name, value)
        return SETTINGS[role]().model_fields_set | HealthSettings().model_fields_set


def _field(variable: str) -> str:
    return re.split("__", variable.removeprefix(PREFIX))[0].lower()


def _command(arguments: Sequence[str]) -> tuple[Any, list[str]]:
    command: Any = typer.main.get_command(app)
    rest = list(arguments)
    while isinstance(command, typer.core.TyperGroup):
        command = command.commands[rest.pop(0)]
    return command, rest
