"""The process in which a candidate program runs: it limits itself, reads one job, and answers line by line.

Rules: it never learns what is expected of the program; what the program prints goes nowhere; a line is a whole
number, or a `!` and the error. It imports next to nothing, since starting it is what a run costs.
"""

import os
import resource
import sys

CPU_SECONDS = 2
MEMORY_BYTES = 256 * 1024 * 1024
FILE_BYTES = 64 * 1024
LIMITS = (
    (resource.RLIMIT_CPU, CPU_SECONDS),
    (resource.RLIMIT_AS, MEMORY_BYTES),
    (resource.RLIMIT_FSIZE, FILE_BYTES),
    (resource.RLIMIT_NOFILE, 16),
    (resource.RLIMIT_NPROC, 0),
    (resource.RLIMIT_CORE, 0),
)


def told(error: BaseException) -> str:
    """Return an error as a line."""
    return "!" + ascii(f"{type(error).__name__}: {error}")[1:-1][:120]


def answer(space: dict[str, object], entry: str, values: list[int]) -> str:
    """Call the program once; what it raises is an answer too."""
    try:
        program = space[entry]
        result = program(values) if callable(program) else None
        if type(result) is not int:
            return f"!TypeError: it returned {type(result).__name__!r}, not a whole number"
        return str(result)
    except Exception as error:  # noqa: BLE001 - the boundary: any error of the program is data
        return told(error)


def main() -> None:
    """Run the job on standard input: a literal of source, entry and inputs, written by our own side."""
    source, entry, inputs = eval(sys.stdin.read(), {})  # noqa: S307 - see above
    out = os.dup(1)
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 - for the life of the process
    space: dict[str, object] = {"__name__": "candidate"}
    try:
        exec(compile(source, "candidate.py", "exec"), space)  # noqa: S102 - what this process is for
        lines = [answer(space, entry, list(values)) for values in inputs]
    except Exception as error:  # noqa: BLE001 - the boundary
        lines = [told(error) for _ in inputs]
    os.write(out, "\n".join(lines).encode())


if __name__ == "__main__":
    for name, most in LIMITS:
        resource.setrlimit(name, (most, most))
    main()
