"""The log of a worker."""

import json
import logging
import sys

from ops.logs import JsonLines, Seldom


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


def _said(name: str, line: int, at_s: float) -> logging.LogRecord:
    record = logging.LogRecord(name, logging.ERROR, "sender.py", line, "unable to connect", (), None)
    record.created = at_s
    return record


def test_what_a_library_says_over_and_over_is_told_seldom_and_counted() -> None:
    seldom = Seldom()
    records = [_said("aiokafka.conn", 7, 100 + number / 10) for number in range(101)]
    passed = [record for record in records if seldom.filter(record)]
    assert [record.created for record in passed] == [100.0, 105.0, 110.0]
    assert [record.__dict__.get("untold") for record in passed] == [None, 49, 49]


def test_other_lines_of_it_and_our_own_are_always_told() -> None:
    seldom = Seldom()
    assert all(seldom.filter(_said("aiokafka", line, 100)) for line in range(5))
    assert all(seldom.filter(_said("agentracer.streams", 7, 100)) for _ in range(5))
