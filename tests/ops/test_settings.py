"""Settings from the environment, one TOML file and the defaults; the page and the table that list them."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from ops import child, settings_page
from ops.config import checked_config, defaults, file_problems, unknown_variables
from ops.health import HealthSettings
from ops.roles import Role
from ops.settings_table import CLASSES, OTHERS, Setting, masked, settings
from schemas.config_file import PREFIX, config_file
from schemas.errors import SettingsError
from streams.settings import StreamsSettings
from streams.sink_settings import SinkSettings
from tests.ops.processes import COMMAND, ROOT, Running, agentracer, assert_one_sentence, environment, json_of
from tracer.settings import TracerSettings

FULL = """
bootstrap = "kafka:9092"
clickhouse_url = "http://user:secret@store:8123/other"
session_timeout_ms = 20_000
checkpoint_ms = 500
accept_lost_offsets = true
routing_rules = "/etc/rules.toml"
trace_purpose = "shadow"
tracer_uncounted = ["user", "judge"]
trace_timeout_s = 5
sink_batch_rows = 7
health_port = 9100

[limits]
idle_ms = 120_000
grace_ms = 1
"""


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A settings file that is named; a test may write another text into it."""
    path = tmp_path / "agentracer.toml"
    path.write_text(FULL)
    monkeypatch.setenv("AGENTRACER_CONFIG", str(path))
    return path


# ---- the sources ----


def test_each_role_reads_its_own_keys_of_the_one_file(file: Path) -> None:
    assert checked_config().keys() == {
        line.split(" = ")[0] for line in FULL.partition("[limits]")[0].splitlines() if line
    } | {"limits"}
    streams, tracer, sink, health = StreamsSettings(), TracerSettings(), SinkSettings(), HealthSettings()
    assert {one.bootstrap for one in (streams, tracer, sink)} == {"kafka:9092"}
    assert {one.session_timeout_ms for one in (streams, tracer, sink)} == {20_000}
    assert (streams.checkpoint_ms, streams.accept_lost_offsets) == (500, True)
    assert streams.routing_rules == Path("/etc/rules.toml")
    assert (tracer.trace_purpose, tracer.trace_timeout_s) == ("shadow", 5)
    assert tracer.tracer_uncounted == {"user", "judge"}
    assert (sink.sink_batch_rows, sink.clickhouse_url) == (7, "http://user:secret@store:8123/other")
    assert health.health_port == 9100


def test_the_environment_stands_over_the_file_and_arguments_over_both(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTRACER_CHECKPOINT_MS", "600")
    monkeypatch.setenv("AGENTRACER_BOOTSTRAP", "environment:9092")
    read = StreamsSettings(checkpoint_ms=700)
    assert (read.checkpoint_ms, read.bootstrap, read.session_timeout_ms) == (700, "environment:9092", 20_000)


@pytest.mark.parametrize(
    ("name", "value"), [("AGENTRACER_LIMITS__IDLE_MS", "3"), ("AGENTRACER_LIMITS", '{"idle_ms": 3}')]
)
def test_nested_settings_of_file_environment_and_defaults_are_mixed_one_by_one(
    name: str, value: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    limits = StreamsSettings().limits
    assert (limits.idle_ms, limits.grace_ms, limits.max_steps) == (3, 1, 10_000)


def test_a_file_that_is_not_named_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "agentracer.toml").write_text(FULL)
    monkeypatch.chdir(tmp_path)
    assert config_file() is None
    assert StreamsSettings().checkpoint_ms == 1_000
    monkeypatch.setenv("AGENTRACER_CONFIG", "")
    assert StreamsSettings().checkpoint_ms == 1_000


@pytest.mark.parametrize("kind", CLASSES)
def test_a_file_that_is_not_there_is_no_default(kind: type[BaseSettings], file: Path) -> None:
    file.unlink()
    with pytest.raises(SettingsError, match=r"agentracer\.toml' can't be read: No such file"):
        kind()


# ---- what is refused ----

REFUSED = [
    ("checkpoint_ms = ", "is not TOML"),
    ("a = 1\na = 2", "is not TOML"),
    ("[limits]\nidle_ms = 1\n[limits]\ngrace_ms = 1", "is not TOML"),
    ("chekpoint_ms = 5", "'chekpoint_ms' in the settings file"),
    ("Checkpoint_ms = 5", "did you mean 'checkpoint_ms'?"),
    ("AGENTRACER_CHECKPOINT_MS = 5", "is no setting"),
    ("idle_ms = 5", "did you mean 'limits.idle_ms'?"),
    ("[limits]\nidel_ms = 5", "'limits.idel_ms' in the settings file"),
    ("[limit]\nidle_ms = 5", "'limit' in the settings file"),
    ("[checkpoint_ms]\nx = 5", "'checkpoint_ms' in the settings file"),
    ("limits = 5", "'limits' in the settings file"),
    ("checkpoint_ms = '5'", "'checkpoint_ms' in the settings file"),
    ("checkpoint_ms = 5.5", "Input should be a valid integer"),
    ("checkpoint_ms = true", "Input should be a valid integer"),
    ("transactions = 'yes'", "Input should be a valid boolean"),
    ("transactions = 1", "Input should be a valid boolean"),
    ("trace_purpose = 'sometimes'", "Input should be 'serve', 'shadow' or 'retrace'"),
    ("tracer_uncounted = 'user'", "'tracer_uncounted' in the settings file"),
    ("health_port = 70000", "less than or equal to 65535"),
    ("sink_flush_ms = 2020-01-01", "Input should be a valid integer"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=[text.replace("\n", " ") for text, _ in REFUSED])
def test_a_wrong_file_is_refused_in_one_sentence_that_names_it(text: str, message: str, file: Path) -> None:
    file.write_text(text)
    with pytest.raises(SettingsError, match=re.escape(message)) as caught:
        checked_config()
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_secret_of_the_wrong_type_is_not_told(file: Path) -> None:
    (said,) = file_problems({"clickhouse_url": ["http://user:sesame@store:8123"]}, str(file))
    assert "sesame" not in said
    assert "clickhouse_url" in said


def test_a_folder_is_no_settings_file() -> None:
    assert_one_sentence(agentracer("--config", "/", "settings"), 2, "'/' can't be read", "--config")


def test_a_wrong_value_is_blamed_on_whoever_gave_it(file: Path) -> None:
    file.write_text("checkpoint_ms = 5\n")
    done = agentracer("settings", AGENTRACER_CONFIG=str(file), AGENTRACER_CHECKPOINT_MS="0")
    assert_one_sentence(done, 2, "the setting AGENTRACER_CHECKPOINT_MS is '0'")


# ---- variables that nobody reads ----


def test_a_variable_that_nobody_reads_is_named_with_the_one_that_was_meant() -> None:
    found = unknown_variables(
        {
            "AGENTRACER_TYPO": "1",
            "AGENTRACER_BOOTSTAP": "1",
            "AGENTRACER_LIMITS__IDLEMS": "1",
            "HOME": "/root",
            "AGENTRACER_BOOTSTRAP": "1",
            "agentracer_checkpoint_ms": "1",
            "AGENTRACER_LIMITS": "{}",
            "AGENTRACER_LIMITS__IDLE_MS": "1",
            "AGENTRACER_CONFIG": "x",
            "AGENTRACER_DATA": "for the tests",
            "AGENTRACER_SINK_PORT": "tcp://10.0.0.1:9100",
            "AGENTRACER_SINK_PORT_9100_TCP_ADDR": "10.0.0.1",
            "AGENTRACER_SINK_SERVICE_HOST": "10.0.0.1",
        }
    )
    assert found == {
        "AGENTRACER_TYPO": "remove it; `agentracer settings` lists those that are known",
        "AGENTRACER_BOOTSTAP": "did you mean 'AGENTRACER_BOOTSTRAP'?",
        "AGENTRACER_LIMITS__IDLEMS": "did you mean 'AGENTRACER_LIMITS__IDLE_MS'?",
    }


@pytest.mark.parametrize("role", Role)
def test_a_worker_warns_of_them_in_one_line_and_goes_on(role: Role) -> None:
    own = {
        "AGENTRACER_BOOTSTRAP": "127.0.0.1:1",
        "AGENTRACER_CLICKHOUSE_URL": "http://127.0.0.1:1/x",
        "AGENTRACER_START_TIMEOUT_S": "1",
        "AGENTRACER_SINK_START_S": "1",
        "AGENTRACER_TYPO": "what was meant is nobody's business",
        "AGENTRACER_HELTH_PORT": "1",
    }
    done = agentracer("worker", role, **own)
    assert done.returncode == 3
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    (warning,) = [line for line in lines if line["event"] == "variables of the environment that nobody reads"]
    assert warning["level"] == "warning"
    assert warning["unknown"].keys() == {"AGENTRACER_TYPO", "AGENTRACER_HELTH_PORT"}
    assert "AGENTRACER_HEALTH_PORT" in warning["unknown"]["AGENTRACER_HELTH_PORT"]
    assert "nobody's business" not in done.stderr


# ---- who inherits the file ----


def test_commands_take_their_addresses_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("bootstrap = '127.0.0.1:1'\nclickhouse_url = 'http://127.0.0.1:2/x'\n")
    for command in (("verdicts",), ("show", "x"), ("dead-letters", "list"), ("migrate",)):
        assert_one_sentence(agentracer("--config", str(path), *command), 3, "127.0.0.1:2")
    done = agentracer("--config", str(path), "verdicts", "--clickhouse", "http://127.0.0.1:3/x")
    assert_one_sentence(done, 3, "127.0.0.1:3")
    done = agentracer("--config", str(path), "verdicts", AGENTRACER_CLICKHOUSE_URL="http://127.0.0.1:4/x")
    assert_one_sentence(done, 3, "127.0.0.1:4")


def test_an_address_in_the_file_that_can_not_be_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("bootstrap = 'a:notaport'\n")
    assert_one_sentence(agentracer("--config", str(path), "topics", "apply"), 2, "'a:notaport' is no broker's address")


def test_only_options_that_have_a_variable_take_from_the_file() -> None:
    class Option:
        def __init__(self, name: str, envvar: str | None) -> None:
            self.name, self.envvar = name, envvar

    class Command:
        def __init__(self, params: list[Option], **commands: "Command") -> None:
            self.params, self.commands = params, commands

    tree = Command([], a=Command([Option("to", "AGENTRACER_BOOTSTRAP"), Option("seed", None)]), b=Command([]))
    assert defaults(tree, {"bootstrap": "x", "seed": 3}) == {"a": {"to": "x"}}


def test_what_up_starts_inherits_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("tracer = 'last_step'\nsession_timeout_ms = 5000\n[limits]\nidle_ms = 4000\n")
    with Running("--config", str(path), "up", *_ports(), folder=tmp_path) as running:
        running.wait_until(lambda: "Ctrl-C ends it" in running.said)
        running.wait_until(lambda: any("worker tracer" in one.command for one in running.children()))
        tracer = running.child("worker tracer")
        running.wait_until(lambda: '"tracer started", "tracer": "last_step"' in tracer.output)
        given = Path(f"/proc/{tracer.pid}/environ").read_bytes().decode().split("\0")
        assert f"AGENTRACER_CONFIG={path}" in given
        assert not any(one.startswith("AGENTRACER_SESSION_TIMEOUT_MS=") for one in given), "the file has it"


def _ports() -> Iterator[str]:
    for option in ("--broker-port", "--store-port"):
        yield from (option, str(child.free_port()))


# ---- the page and the table ----


def test_the_committed_page_is_the_generated_one() -> None:
    assert settings_page.PAGE.read_text() == settings_page.page(), "run `make settings`"


def test_check_fails_where_the_page_is_out_of_date(tmp_path: Path) -> None:
    code = f"import ops.settings_page as p, pathlib; p.PAGE = pathlib.Path({str(tmp_path / 'p.md')!r}); p.main()"
    command = [sys.executable, "-c", code]
    check = [*command, "--check"]
    assert subprocess.run(check, check=False, cwd=ROOT, env=environment(), stderr=subprocess.PIPE).returncode == 1
    subprocess.run(command, check=True, cwd=ROOT, env=environment())
    subprocess.run(check, check=True, cwd=ROOT, env=environment())
    (tmp_path / "p.md").write_text("older")
    done = subprocess.run(check, check=False, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert (done.returncode, "run `python -m ops.settings_page`" in done.stderr) == (1, True)


@pytest.mark.parametrize("one", settings(), ids=lambda one: one.key)
def test_every_setting_has_a_docstring_and_a_line_on_the_page(one: Setting) -> None:
    assert all(len(meaning) > 10 and meaning.endswith(".") for meaning in one.meanings.values())
    (line,) = [line for line in settings_page.page().splitlines() if line.startswith(f"| `{one.key}` |")]
    assert f"`{one.variable}`" in line
    assert one.allowed in line
    assert one.meaning in line


def test_every_class_of_settings_is_in_the_table() -> None:
    kinds = {kind.__name__ for kind in _subclasses(BaseSettings) if kind.__module__.split(".")[0] != "tests"}
    ours = {name for name in kinds if name.endswith("Settings")} - {"ConfiguredSettings", "CliSettings"}
    known = {kind.__name__ for kind in CLASSES}
    assert known <= ours
    assert {name for name in ours if _module(name) in {"streams", "tracer", "trainer", "ops"}} == known


def _subclasses(kind: type[BaseSettings]) -> Iterator[type[BaseSettings]]:
    for one in kind.__subclasses__():
        yield one
        yield from _subclasses(one)


def _module(name: str) -> str:
    return next(one.__module__.split(".")[0] for one in _subclasses(BaseSettings) if one.__name__ == name)


def test_a_name_means_the_same_to_every_role_that_reads_it() -> None:
    seen: dict[str, dict[str, object]] = {}
    for kind in CLASSES:
        for name, field in kind.model_json_schema()["properties"].items():
            shape = {key: value for key, value in field.items() if key != "description"}
            assert seen.setdefault(name, shape) == shape, name


def test_every_variable_that_the_product_names_is_known() -> None:
    known = {one.variable for one in settings()} | OTHERS.keys()
    known |= {one.variable.partition("__")[0] for one in settings()}
    texts = [*ROOT.glob("*.md"), *ROOT.glob("*.yml"), ROOT / ".env.example"]
    texts += [
        path for folder in ("schemas", "streams", "tracer", "trainer", "ops") for path in (ROOT / folder).rglob("*")
    ]
    for path in texts:
        if (
            path.suffix in {".py", ".md", ".yml", ".yaml", ".example", ".Dockerfile"}
            and path.name != "settings_table.py"
        ):
            named = set(re.findall(r"AGENTRACER_[A-Z0-9_]*[A-Z0-9]", path.read_text()))
            assert named <= known, path


@pytest.mark.parametrize("default", [True, 5, 2.5, 1_000_000, 'a "b"', ["x", "y"], 120.0])
def test_a_default_on_the_page_is_what_the_file_would_say(default: object) -> None:
    assert tomllib.loads(f"x = {settings_page.toml(default)}") == {"x": default}


def test_the_table_says_what_is_in_force_and_from_where(file: Path) -> None:
    given = {"AGENTRACER_CONFIG": str(file), "AGENTRACER_CHECKPOINT_MS": "600", "AGENTRACER_LIMITS__IDLE_MS": "9"}
    found = {one["key"]: one for one in json_of("settings", **given)}
    assert found.keys() == {one.key for one in settings()}
    expected = {
        "checkpoint_ms": (600, "environment"),
        "limits.idle_ms": (9, "environment"),
        "limits.grace_ms": (1, "file"),
        "limits.max_steps": (10_000, "default"),
        "tracer_uncounted": (["judge", "user"], "file"),
        "trace_purpose": ("shadow", "file"),
        "instance_id": (None, "default"),
        "health_port": (9100, "file"),
    }
    assert {key: (found[key]["value"], found[key]["from"]) for key in expected} == expected
    assert found["bootstrap"]["roles"] == ["streams", "tracer", "sink"]
    assert found["checkpoint_ms"]["allowed"] == "integer, ms, > 0"
    assert found["checkpoint_ms"]["default"] == 1_000


@pytest.mark.parametrize("arguments", [("settings",), ("settings", "--json")])
def test_a_secret_is_never_shown(arguments: tuple[str, ...]) -> None:
    url = "https://someone:sesame@store:8443/other?password=sesame"
    done = subprocess.run(
        [*COMMAND, *arguments],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(AGENTRACER_CLICKHOUSE_URL=url, COLUMNS="300"),
    )
    assert "https://store:8443/other" in done.stdout
    assert "sesame" not in done.stdout + done.stderr
    assert "someone" not in done.stdout


def test_of_a_secret_that_is_no_address_nothing_is_shown() -> None:
    assert masked("token") == "***"
    assert masked("http://u:p@h:1/x?password=p#p") == "http://h:1/x"
