"""The planted faults have not rotted, and a fault that is planted in the copy is what runs there.

That each is caught takes minutes: `make mutants`.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.mutants.copied import ROOT, CopiedTree, RottedError, replaced
from tests.mutants.faults import FAULTS, Edit, Fault

NAMES = [fault.name for fault in FAULTS]
_FIRST = '"""The wire contracts'
CRASH = Edit("schemas/__init__.py", _FIRST, f'raise SystemExit("this is the copy")\n{_FIRST}')


@pytest.fixture(scope="module")
def tree() -> Iterator[CopiedTree]:
    with CopiedTree() as tree:
        yield tree


@pytest.mark.parametrize("fault", FAULTS, ids=NAMES)
def test_a_fault_can_be_planted_and_leaves_a_module_that_can_be_read(fault: Fault) -> None:
    for edit in fault.edits:
        text = replaced((ROOT / edit.file).read_text(), edit)
        if edit.file.endswith(".py"):
            ast.parse(text)


@pytest.mark.parametrize("fault", FAULTS, ids=NAMES)
def test_the_tests_that_are_to_catch_it_exist(fault: Fault) -> None:
    assert fault.tests
    for test in fault.tests:
        file, _, name = test.partition("::")
        tree = ast.parse((ROOT / file).read_text())
        found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert not name or name in found, test


def test_every_fault_has_a_name_of_its_own() -> None:
    assert len(set(NAMES)) == len(NAMES)


def test_a_fault_whose_old_text_is_gone_or_stands_twice_has_rotted() -> None:
    for text in ("", "old old"):
        with pytest.raises(RottedError, match="mend the fault"):
            replaced(text, Edit("a.py", "old", "new"))


def _start(tree: CopiedTree, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        check=False,
        capture_output=True,
        text=True,
        cwd=tree.path.parent,
        env=tree.environment,
        timeout=120,
    )


def test_what_runs_is_the_copy_in_a_process_that_a_test_starts(tree: CopiedTree) -> None:
    found = _start(tree, "-c", "import schemas; print(schemas.__file__)")
    assert found.stdout.strip() == str(tree.path / "schemas/__init__.py")
    with tree.planted([CRASH]):
        for command in (("-P", "-m", "ops.cli", "--help"), ("-m", "ops.cli"), ("-c", "import streams.state")):
            done = _start(tree, *command)
            assert (done.returncode, done.stderr.strip()) == (1, "this is the copy"), command


def test_a_fault_is_caught_by_the_tests_in_the_copy_and_is_gone_afterwards(tree: CopiedTree) -> None:
    edit = Edit("streams/home.py", "return h ^ (h >> 15)", "return h")
    test = ["tests/streams/test_home.py"]
    with tree.planted([edit]):
        assert tree.test(test).failed
    whole = tree.test(test)
    assert (whole.failed, whole.broken, whole.skipped) == ((), (), 0)
    assert whole.passed > 0
    assert (tree.path / edit.file).read_text() == (ROOT / edit.file).read_text()


def test_what_does_not_begin_is_not_taken_for_caught(tree: CopiedTree) -> None:
    with tree.planted([Edit("streams/home.py", '"""Which', "syntax error")]):
        result = tree.test(["tests/streams/test_home.py"])
    assert not result.failed
    assert result.broken
