"""Which tracer the settings name: a rule, or a method with a model behind it; and how long its engine lives.

    async with chosen(settings) as tracer: …      the engine is up inside, and gone after

Rules: a rule needs nothing; a method needs an engine, whose library is imported when it is started; a candidate that
shadows has an engine of its own, made from the same settings, so that nothing of it can hold up what serves.
"""

import contextlib
import logging
from collections.abc import AsyncIterator
from functools import partial
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
from .shadow import Candidate

log = logging.getLogger(__name__)
SHADOW_PRIORITY = 1_000_000
"""Behind every request that serves, where one endpoint has both."""


@contextlib.asynccontextmanager
async def chosen(settings: TracerSettings) -> AsyncIterator[Tracer]:
    """Give the tracer; raises SettingsError where there is none of that name, EngineError where its model fails."""
    if settings.tracer not in METHODS:
        if settings.tracer not in RULES:
            known = ", ".join([*METHODS, *RULES])
            raise SettingsError(f"there is no tracer {settings.tracer!r}; choose one of {known}")
        yield by_name(settings.tracer, settings.tracer_uncounted)
        return
    async with _started(_engine(settings, settings.vllm.adapter)) as engine:
        adapter = adapter_of(settings)
        calibration = load(adapter) if adapter is not None else None
        yield ModelTracer(engine, METHODS[settings.tracer], settings.ask, calibration)


def candidate_of(settings: TracerSettings) -> Candidate | None:
    """Return what starts the tracer that shadows, if one is wanted."""
    adapter = settings.tracer_shadow_adapter
    if adapter is None:
        return None
    if settings.tracer not in METHODS:
        what = f"the tracer {settings.tracer!r} asks no model, so no adapter can shadow it"
        raise SettingsError(f"{what}; unset AGENTRACER_TRACER_SHADOW_ADAPTER or choose one of {', '.join(METHODS)}")
    return partial(_shadowing, settings, adapter)


@contextlib.asynccontextmanager
async def _shadowing(settings: TracerSettings, adapter: Path) -> AsyncIterator[Tracer]:
    options = settings.ask.model_copy(update={"priority": SHADOW_PRIORITY})
    async with _started(_engine(settings, adapter)) as engine:
        tracer = ModelTracer(engine, METHODS[settings.tracer], options)
        await tracer.adopt(adapter)
        yield tracer


def _engine(settings: TracerSettings, adapter: Path | None) -> Engine:
    """Return one of a worker's engines: two share a GPU by halves."""
    engines = 1 if settings.tracer_shadow_adapter is None else 2
    own = {"adapter": adapter, "gpu_memory_share": settings.vllm.gpu_memory_share / engines}
    return engine_of(settings.model_copy(update={"vllm": settings.vllm.model_copy(update=own)}))


@contextlib.asynccontextmanager
async def _started(engine: Engine) -> AsyncIterator[Engine]:
    log.info("engine starts", extra={"model": engine.name})
    await engine.start()
    try:
        yield engine
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
