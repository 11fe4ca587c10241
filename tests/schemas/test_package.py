"""The distribution that stands beside a fleet's agents: the same files, another name, pydantic and nothing else."""

import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pydantic
import pytest

import schemas

FOLDER = Path(schemas.__file__).parent
SITE = Path(pydantic.__file__).parents[1]

USE = """
import sys
sys.path[:0] = [{unpacked!r}]
sys.path.append({site!r})
import agentracer_schemas
from agentracer_schemas import export, wire
assert agentracer_schemas.__file__.startswith({unpacked!r}), agentracer_schemas.__file__
(line,) = wire.read_record(open({minimal!r}, "rb").read())
assert type(line.event) is agentracer_schemas.StepEvent, line
assert export.main(["--check"]) == 0
ours = [name for name in sys.modules if name.split(".")[0] in {{"schemas", "streams", "tracer", "trainer", "ops"}}]
assert not ours, ours
print(len(agentracer_schemas.__all__))
"""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=FOLDER, check=True, capture_output=True, timeout=120)
    (wheel,) = folder.glob("agentracer_schemas-*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "unpacked")
    return folder / "unpacked"


def test_the_wheel_is_imported_under_its_own_name_alone(unpacked: Path) -> None:
    minimal = FOLDER / "examples" / "step-events" / "v1" / "minimal.json"
    code = USE.format(unpacked=str(unpacked), site=str(SITE), minimal=str(minimal))
    done = subprocess.run(
        [sys.executable, "-IB", "-c", code], cwd=unpacked, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(schemas.__all__)


def test_the_wheel_holds_every_module_and_schema_and_no_example(unpacked: Path) -> None:
    package = unpacked / "agentracer_schemas"
    found = {str(path.relative_to(package)) for path in package.rglob("*") if path.is_file()}
    modules = {path.name for path in FOLDER.glob("*.py")}
    documents = {f"json/{path.name}" for path in (FOLDER / "json").iterdir()}
    assert found == modules | documents


def test_the_wheel_needs_pydantic_and_nothing_else(unpacked: Path) -> None:
    (metadata,) = unpacked.glob("*.dist-info/METADATA")
    message = Parser().parsestr(metadata.read_text("utf-8"))
    assert message["Name"] == "agentracer-schemas"
    required = message.get_all("Requires-Dist")
    assert required is not None
    assert [one.partition("<")[0].partition(">")[0] for one in required] == ["pydantic"]


def test_both_distributions_ask_for_the_same_pydantic() -> None:
    inner = tomllib.loads((FOLDER / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    outer = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    assert set(inner) <= set(outer)


def test_the_readme_example_runs(unpacked: Path) -> None:
    code = (FOLDER / "README.md").read_text("utf-8").split("```python\n")[1].split("```")[0]
    check = "from agentracer_schemas.wire import Line, read_line\nassert isinstance(read_line(value), Line)\n"
    paths = f"import sys\nsys.path[:0] = [{str(unpacked)!r}]\nsys.path.append({str(SITE)!r})\n"
    done = subprocess.run(
        [sys.executable, "-IB", "-c", paths + code + check], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
