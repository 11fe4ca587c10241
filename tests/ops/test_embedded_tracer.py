"""The embedded tracer: what is asked of its worker, what is said where it is not there, and a demo with it."""

import json
import re

import pytest
from rich.console import Console

from ops import demo
from ops.embedded import tracer as embedded
from tests.ops.processes import agentracer
from tracer.settings import TracerSettings


def test_its_worker_serves_the_committed_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in embedded.worker_settings().items():
        monkeypatch.setenv(name, value)
    settings = TracerSettings()
    assert (settings.tracer, settings.engine, settings.vllm.adapter) == ("step_scores", "vllm", embedded.ADAPTER)
    assert not settings.tracer_follows_promotions
    monkeypatch.undo()
    assert embedded.settings() == settings


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        (
            "PACKAGES",
            ("vllm_of_tomorrow",),
            r"packages are not installed \(vllm_of_tomorrow; pip install agent",
        ),
        ("ADAPTER", embedded.ADAPTER / "other", "adapter is not there .*trainer.steps.train makes it"),
    ],
)
def test_without_packages_or_adapter_the_demo_says_so_and_takes_a_rule(
    name: str, value: object, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "PACKAGES", ())
    monkeypatch.setattr(embedded, name, value)
    console = Console(record=True, width=1_000)
    assert demo._tracer_settings(None, console)["AGENTRACER_TRACER"] == demo.RULE
    pattern = f"{says}.*: the rule {demo.RULE} decides instead"
    assert re.search(pattern, console.export_text())


@pytest.mark.model
@pytest.mark.skipif(embedded.missing() is not None, reason=f"NOT TESTED HERE: {embedded.missing()}")
def test_a_demo_with_the_model_gives_every_failure_its_verdict_within_two_minutes() -> None:
    done = agentracer("demo", "--runs", "10", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["verdicts"] == report["failed"] > 0
    assert (report["lost"], report["duplicates"]) == (0, 0)
    assert report["seconds"] < 120
