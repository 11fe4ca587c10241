"""The core of an engine is found among a worker's processes, and a worker with a model is told what it understands."""

import multiprocessing
import os
import time

import pytest

from tests.chaos.cores import core_of
from tests.chaos.model import NAMES, is_model, worker_settings
from tests.chaos.report import SeedReport
from tracer.settings import TracerSettings


def test_a_process_that_multiprocessing_has_spawned_is_the_core_and_its_resource_tracker_is_not() -> None:
    assert core_of(os.getpid()) is None
    spawn = multiprocessing.get_context("spawn")
    lock = spawn.Lock()  # starts the tracker
    child = spawn.Process(target=time.sleep, args=(30,), daemon=True)
    child.start()
    try:
        deadline = time.monotonic() + 10
        while core_of(os.getpid()) is None and time.monotonic() < deadline:
            time.sleep(0.01)  # it is a copy of this process until it has become another
        assert core_of(os.getpid()) == child.pid
        assert child.pid is not None
        assert core_of(child.pid) is None
    finally:
        child.kill()
        child.join()
    assert core_of(os.getpid()) is None
    assert lock.acquire(block=False)


@pytest.mark.parametrize("name", NAMES)
def test_a_worker_understands_what_it_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in worker_settings(name).items():
        monkeypatch.setenv(variable, value)
    settings = TracerSettings()
    assert settings.tracer == name
    assert (settings.vllm.context_tokens == 2_048) == is_model(name)


def test_a_seed_says_how_to_repeat_it_and_is_not_clean_where_its_tracer_named_nobody() -> None:
    report = SeedReport(3, "short, with a model", is_short=True, tracer="step_scores")
    assert report.command == "python -m tests.chaos --seeds 3 --short --tracer step_scores"
    assert not report.is_clean
    report.verdicts = {"step_scores abstained": 9}
    assert not report.is_clean
    report.verdicts["step_scores attributed"] = 1
    assert report.is_clean
    assert SeedReport(3, "full").is_clean
    assert SeedReport(3, "full").command == "python -m tests.chaos --seeds 3"
