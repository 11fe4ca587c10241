"""The tracer worker's settings come from the environment and say what they are."""

import pytest
from pydantic import ValidationError

from tracer.settings import TracerSettings


def test_a_setting_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTRACER_BOOTSTRAP", "kafka:9092")
    monkeypatch.setenv("AGENTRACER_TRACER_CONCURRENCY", "3")
    monkeypatch.setenv("AGENTRACER_TRACER_UNCOUNTED", '["Terminal"]')
    settings = TracerSettings()
    assert settings.bootstrap == "kafka:9092"
    assert settings.tracer_concurrency == 3
    assert settings.tracer_uncounted == {"Terminal"}


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in TracerSettings.model_fields.items() if not field.description] == []


def test_an_empty_instance_id_is_none_since_all_workers_would_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTRACER_INSTANCE_ID", "")
    assert TracerSettings().instance_id is None


@pytest.mark.parametrize("field", ["tracer_concurrency", "tracer_window", "trace_attempts", "trace_timeout_s"])
def test_a_limit_of_nothing_is_refused(field: str) -> None:
    with pytest.raises(ValidationError):
        TracerSettings.model_validate({field: 0})
