"""The log of a worker."""

import json
import logging
import sys

from ops.logs import JsonLines


def logged(message: str, **attributes: object) -> dict[str, object]:
    record = logging.LogRecord("tracer.x", logging.WARNING, "file", 1, message, (), None)
    record.__dict__.update(attributes)
    line = JsonLines().format(record)
    assert "\n" not in line
    return dict(json.loads(line))


def test_an_event_is_one_line_of_json_with_its_fields() -> None:
    found = logged("verdict sent", trajectory_id="t\n1", attempts=2)
    assert found.pop("at")
    assert found == {
        "level": "warning",
        "logger": "tracer.x",
        "event": "verdict sent",
        "trajectory_id": "t\n1",
        "attempts": 2,
    }


def test_an_exception_stays_within_its_line() -> None:
    try:
        int("x")
    except ValueError:
        found = logged("broke", exc_info=sys.exc_info())
    assert "ValueError" in str(found["trace"])
