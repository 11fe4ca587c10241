"""A copy of the tree in which a fault is planted, and the tests run in it.

Rules: what runs is the copy, in every process that a test starts (its folder leads PYTHONPATH, ahead of where the
editable install points); nothing is compiled into files, so no process finds code of another fault; what was fetched
(`.cache`) and the environment are shared.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Self

from tests.mutants.faults import Edit

ROOT = Path(__file__).parents[2]
LONGEST_S = 900.0


class RottedError(Exception):
    """A fault can't be planted any more: the code has changed."""


class Result(NamedTuple):
    """What the tests said."""

    passed: int
    failed: tuple[str, ...]
    broken: tuple[str, ...]
    """Could not begin, or were never heard of again."""
    skipped: int
    output: str


class CopiedTree:
    """A copy of what git knows and doesn't ignore, for a `with` block."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self._folder = tempfile.TemporaryDirectory(prefix="mutants-")
        self.path = Path(self._folder.name) / "tree"

    def __enter__(self) -> Self:
        for name in tracked(self._root):
            target = self.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._root / name, target)
        if (self._root / ".cache").is_dir():
            (self.path / ".cache").symlink_to(self._root / ".cache")
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process import the copy."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AGENTRACER_")}
        return kept | {"PYTHONPATH": str(self.path), "PYTHONDONTWRITEBYTECODE": "1"}

    @contextmanager
    def planted(self, edits: Iterable[Edit]) -> Iterator[None]:
        """Plant a fault for as long as the `with` block runs."""
        before: dict[Path, str] = {}
        try:
            for edit in edits:
                file = self.path / edit.file
                text = file.read_text()
                before.setdefault(file, text)
                file.write_text(replaced(text, edit))
            yield
        finally:
            for file, text in before.items():
                file.write_text(text)

    def test(self, tests: Sequence[str]) -> Result:
        """Run tests until the first fails."""
        report = self.path.parent / "report.xml"
        report.unlink(missing_ok=True)
        command = ["pytest", "-q", "-x", "-p", "no:cacheprovider", f"--junitxml={report}", *tests]
        output = self._run([sys.executable, "-m", *command])
        return _read(report, output)

    def _run(self, command: Sequence[str]) -> str:
        with subprocess.Popen(
            command,
            cwd=self.path,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                output, _ = process.communicate(timeout=LONGEST_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                output, _ = process.communicate()
        return output


def replaced(text: str, edit: Edit) -> str:
    """Return a file's text with the fault in it; raises RottedError unless the old text stands exactly once."""
    times = text.count(edit.old)
    if times != 1:
        raise RottedError(
            f"{edit.old!r} stands {times} times in {edit.file}; mend the fault in tests/mutants/faults.py"
        )
    return text.replace(edit.old, edit.new)


def tracked(root: Path) -> list[str]:
    """List the files that git knows or doesn't ignore, and that are there."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.split("\0")
    return sorted(name for name in set(found) if name and (root / name).is_file())


def _read(report: Path, output: str) -> Result:
    if not report.exists():
        return Result(0, (), ("no report",), 0, output)
    cases = list(ET.parse(report).iter("testcase"))
    names = {kind: tuple(_name(case) for case in cases if case.find(kind) is not None) for kind in _KINDS}
    passed = sum(all(case.find(kind) is None for kind in _KINDS) for case in cases)
    return Result(passed, names["failure"], names["error"], len(names["skipped"]), output)


_KINDS = ("failure", "error", "skipped")


def _name(case: ET.Element) -> str:
    return case.get("name", "?")
