"""The methods there are, by the name that a setting has.

Rules: `spectrum` is none of these: it compares many runs of one task, and asks no model.
"""

from schemas.errors import SettingsError

from .abduct_act_predict import AbductActPredict
from .agentracer import Agentracer
from .all_at_once import AllAtOnce
from .binary_search import BinarySearch
from .protocol import Method
from .step_by_step import StepByStep
from .step_scores import StepScores

METHODS: dict[str, Method] = {
    method.name: method
    for method in (Agentracer(), AllAtOnce(), StepByStep(), BinarySearch(), AbductActPredict(), StepScores())
}


def by_name(name: str) -> Method:
    """Return the method of that name."""
    if name not in METHODS:
        raise SettingsError(f"there is no method {name!r}; choose one of {', '.join(METHODS)}")
    return METHODS[name]
