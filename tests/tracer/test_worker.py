"""The process around the worker: its log and its end."""

import json
import logging
import sys

import pytest

from schemas.errors import BrokerUnavailableError, SettingsError
from tracer.settings import TracerSettings
from tracer.worker import JsonFormatter, run, run_in_loop


def logged(message: str, **attributes: object) -> dict[str, object]:
    record = logging.LogRecord("tracer.x", logging.WARNING, "file", 1, message, (), None)
    record.__dict__.update(attributes)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    return dict(json.loads(line))


def test_an_event_is_one_line_of_json_with_its_fields() -> None:
    found = logged("verdict sent", fields={"trajectory_id": "t\n1", "attempts": 2})
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


def test_an_unknown_tracer_ends_the_worker_before_it_looks_for_a_broker() -> None:
    with pytest.raises(SettingsError, match="no tracer 'oracle'"):
        run_in_loop(run(TracerSettings(tracer="oracle", bootstrap="127.0.0.1:1")))


def test_an_error_of_ours_comes_out_of_the_loop_as_it_is() -> None:
    with pytest.raises(BrokerUnavailableError, match=r"no broker answers at '127.0.0.1:1'"):
        run_in_loop(run(TracerSettings(bootstrap="127.0.0.1:1", start_timeout_s=2)))
