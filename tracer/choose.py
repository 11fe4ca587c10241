"""Which tracer the settings name: a rule, or a method with a model behind it; and how long its engine lives.

    async with chosen(settings) as tracer: …      the engine is up inside, and gone after

Rules: a rule needs nothing; a method needs an engine, whose library is imported when it is started.
"""

import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path

from schemas.errors import SettingsError
from tracer.engines.openai import OpenAIEngine
from tracer.engines.protocol import Engine
from tracer.engines.vllm import VllmEngine
from tracer.methods.table import METHODS

from .calibrate import load
from .model import ModelTracer
from .protocol import Tracer
from .rules import RULES, by_name
from .settings import TracerSettings

log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def chosen(settings: TracerSettings) -> AsyncIterator[Tracer]:
    """Give the tracer; raises SettingsError where there is none of that name, EngineError where its model fails."""
    if settings.tracer not in METHODS:
        if settings.tracer not in RULES:
            known = ", ".join([*METHODS, *RULES])
            raise SettingsError(f"there is no tracer {settings.tracer!r}; choose one of {known}")
        yield by_name(settings.tracer, settings.tracer_uncounted)
        return
    engine = engine_of(settings)
    log.info("engine starts", extra={"engine": settings.engine, "model": engine.name})
    await engine.start()
    try:
        adapter = adapter_of(settings)
        calibration = load(adapter) if adapter is not None else None
        yield ModelTracer(engine, METHODS[settings.tracer], settings.ask, calibration)
    finally:
        await engine.stop()


def engine_of(settings: TracerSettings) -> Engine:
    """Return the engine that the settings describe, not started."""
    if settings.engine == "vllm":
        return VllmEngine(settings.vllm)
    if not settings.openai.model:
        raise SettingsError("an endpoint needs the name of its model; set AGENTRACER_OPENAI__MODEL")
    return OpenAIEngine(settings.openai)


def adapter_of(settings: TracerSettings) -> Path | None:
    """Return the adapter that is served from the start, if it is known here."""
    return settings.vllm.adapter if settings.engine == "vllm" else None
