"""The Dockerfiles: what they copy is there, and what they install is all that their commands need."""

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from schemas.errors import UnavailableError
from tests.ops.deployed import DOCKERFILES, PROJECT, ROOT

IGNORE = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
LET_IN = {line.removeprefix("!") for line in IGNORE if line.startswith("!")}
LOCKS = ("requirements.lock", "requirements.gpu.lock")
PACKAGES = ("schemas", "streams", "tracer", "trainer", "ops")
LOCKED = {"tracer-gpu": (ROOT / "Makefile").read_text().partition("--no-config")[2]}
"""The commands that make the locks of images that have one of their own."""
NOBODY = "127.0.0.1:1"
WITHOUT = """
import sys
absent = set(sys.argv[1].split(","))
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"{name} is not installed in this image", name=name)
sys.meta_path.insert(0, Absent())
sys.argv = ["agentracer", *sys.argv[2:]]
from ops.cli import main
main()
"""


def _extras(dockerfile: Path) -> set[str]:
    """Return the extras that an image installs, or those that its own lock was made of."""
    installed = re.findall(r"--extra (\w+)", dockerfile.read_text())
    return set(installed or re.findall(r"--extra (\w+)", LOCKED[dockerfile.stem]))


def _installed(wanted: Iterable[Requirement], seen: set[tuple[str, frozenset[str]]]) -> set[str]:
    """Return the distributions that requirements bring, and what those bring."""
    for requirement in wanted:
        one = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if one not in seen:
            seen.add(one)
            _installed(_brought(*one), seen)
    return {name for name, _ in seen}


def _brought(name: str, extras: frozenset[str]) -> list[Requirement]:
    try:
        brought = map(Requirement, requires(name) or [])
    except PackageNotFoundError:  # of another platform
        return []
    return [
        one
        for one in brought
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras | {""})
    ]


def _absent(extras: set[str]) -> set[str]:
    """Return the modules of this environment that an image with these extras lacks."""
    wanted = [*PROJECT["dependencies"]]
    for extra in extras:
        wanted += PROJECT["optional-dependencies"][extra]
    there = _installed(map(Requirement, wanted), set()) | {canonicalize_name(PROJECT["name"])}
    modules = packages_distributions()
    return {module for module, names in modules.items() if not there & {canonicalize_name(name) for name in names}}


def _roles(dockerfile: Path) -> tuple[str, ...]:
    return ("tracer",) if dockerfile.stem.startswith("tracer") else ("streams", "sink")


@pytest.mark.parametrize(
    ("dockerfile", "role"),
    [pytest.param(path, role, id=f"{path.stem}-{role}") for path in DOCKERFILES for role in _roles(path)],
)
def test_an_image_has_all_that_its_worker_needs_to_reach_for_the_broker(dockerfile: Path, role: str) -> None:
    absent = _absent(_extras(dockerfile))
    assert {"chdb", "pytest"} <= absent
    settings = {
        "AGENTRACER_BOOTSTRAP": NOBODY,
        "AGENTRACER_CLICKHOUSE_URL": f"http://{NOBODY}/agentracer",
        "AGENTRACER_SINK_START_S": "0.1",
        "AGENTRACER_START_TIMEOUT_S": "0.1",
    }
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, ",".join(absent), "worker", role],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | settings,
        timeout=60,
    )
    assert done.returncode == UnavailableError.exit_code, done.stderr


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
def test_an_image_is_built_from_what_there_is(dockerfile: Path) -> None:
    text = dockerfile.read_text()
    assert _extras(dockerfile) <= PROJECT["optional-dependencies"].keys()
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", bases[0])
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE)
    for source in " ".join(copied).split():
        assert (ROOT / source).exists()
        assert source in LET_IN | {"."}


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
def test_an_image_runs_as_nobody_and_installs_by_hash_alone(dockerfile: Path) -> None:
    text = dockerfile.read_text()
    assert re.findall(r"^USER (.+)$", text, re.MULTILINE) == ["10001:10001"]
    for line in re.findall(r"(?:uv )?pip install [^&]+", text.replace("\\\n", "")):
        assert "--require-hashes" in line or "--build-constraints requirements.lock" in line


def test_the_context_is_the_project_and_no_secret() -> None:
    assert IGNORE[0] == "*"
    assert {"pyproject.toml", *LOCKS, "README.md", "LICENSE", *PACKAGES} == LET_IN
    assert all((ROOT / name).exists() for name in LET_IN)
