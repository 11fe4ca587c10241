"""`python -m tests.mutants [NAME …] [--list]`: plant each fault in a copy of the tree, and see that a test fails.

The tests have to pass on the copy as it is first. Ends with 1 if a fault survives, with 2 if nothing can be said.
"""

import argparse
import sys
import time
from collections.abc import Sequence

from tests.mutants.copied import CopiedTree, Result, RottedError
from tests.mutants.faults import FAULTS, Fault

WIDTH = max(len(fault.name) for fault in FAULTS)
SHOWN_CHARACTERS = 6_000


def main() -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these faults")
    parser.add_argument("--list", action="store_true", help="say what the faults are, and plant none")
    asked = parser.parse_args()
    known = {fault.name: fault for fault in FAULTS}
    if unknown := [name for name in asked.names if name not in known]:
        parser.error(f"no fault is called {unknown[0]!r}; --list names them")
    faults = [known[name] for name in asked.names] or list(FAULTS)
    if asked.list:
        for fault in faults:
            print(f"{fault.name:{WIDTH}}  {fault.what}")
        return 0
    try:
        return _check(faults)
    except RottedError as error:
        print(error, file=sys.stderr)
        return 2


def _check(faults: Sequence[Fault]) -> int:
    tests = list(dict.fromkeys(test for fault in faults for test in fault.tests))
    with CopiedTree() as tree:
        for fault in faults:  # before minutes go by
            with tree.planted(fault.edits):
                pass
        print(f"without a fault: {len(tests)} tests or files …", flush=True)
        whole = tree.test(tests)
        if whole.failed or whole.broken or whole.skipped or not whole.passed:
            print(whole.output[-SHOWN_CHARACTERS:], file=sys.stderr)
            print("they have to run and pass without a fault, so nothing can be said", file=sys.stderr)
            return 2
        print(f"without a fault: {whole.passed} passed\n\n{'fault':{WIDTH}}  seconds  caught by", flush=True)
        survived = [fault.name for fault in faults if not _is_caught(tree, fault)]
    if survived:
        print(f"\nsurvived: {', '.join(survived)}")
    return 1 if survived else 0


def _is_caught(tree: CopiedTree, fault: Fault) -> bool:
    started = time.monotonic()
    with tree.planted(fault.edits):
        result = tree.test(fault.tests)
    print(f"{fault.name:{WIDTH}}  {time.monotonic() - started:7.1f}  {_said(result)}", flush=True)
    if not result.failed:
        print(result.output[-SHOWN_CHARACTERS:], file=sys.stderr)
    return bool(result.failed)


def _said(result: Result) -> str:
    if result.failed:
        return result.failed[0]
    return f"NOTHING: {'could not run: ' + result.broken[0] if result.broken else f'{result.passed} passed'}"


if __name__ == "__main__":
    sys.exit(main())
