"""The process around the worker: its end."""

import pytest

from schemas.errors import BrokerUnavailableError, SettingsError
from tracer.settings import TracerSettings
from tracer.worker import run, run_in_loop


def test_an_unknown_tracer_ends_the_worker_before_it_looks_for_a_broker() -> None:
    with pytest.raises(SettingsError, match="no tracer 'oracle'"):
        run_in_loop(run(TracerSettings(tracer="oracle", bootstrap="127.0.0.1:1")))


def test_an_error_of_ours_comes_out_of_the_loop_as_it_is() -> None:
    with pytest.raises(BrokerUnavailableError, match=r"no broker answers at '127.0.0.1:1'"):
        run_in_loop(run(TracerSettings(bootstrap="127.0.0.1:1", start_timeout_s=2)))
