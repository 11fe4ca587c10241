"""The calculator that the table desk's agents call: it really works an expression out.

Rules: whole numbers, + - *, and the functions max, min and percent (rounded half up); anything else is refused.
"""

import ast
import operator
from collections.abc import Callable

OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}
DIGITS = 18
"""Longer results are refused: on the wire a whole number has 64 bits."""


def percent(part: int, whole: int) -> int:
    """Return part as a percentage of whole, rounded half up."""
    return (200 * part + whole) // (2 * whole)


FUNCTIONS: dict[str, Callable[[int, int], int]] = {"max": max, "min": min, "percent": percent}


def calculate(expression: str) -> int:
    """Return the value of an expression; raise ValueError on what is none."""
    try:
        value = _value(ast.parse(expression, mode="eval").body)
    except (SyntaxError, ZeroDivisionError, RecursionError, MemoryError) as error:
        raise ValueError(f"{expression[:80]!r} can't be worked out: {error}") from error
    if abs(value) >= 10**DIGITS:
        raise ValueError(f"{expression[:80]!r} gives more than {DIGITS} digits")
    return value


def calculated(expression: str) -> int:
    """Return what agents take over from the calculator; where it refuses, they go on with 0."""
    try:
        return calculate(expression)
    except ValueError:
        return 0


def _value(node: ast.expr) -> int:
    match node:
        case ast.Constant(value=int() as number) if not isinstance(number, bool):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            return OPERATORS[type(op)](_value(left), _value(right))
        case ast.Call(func=ast.Name(id=name), args=[left, right], keywords=[]) if name in FUNCTIONS:
            return FUNCTIONS[name](_value(left), _value(right))
        case _:
            raise ValueError(f"{ast.unparse(node)[:80]!r} is not arithmetic; use + - *, max, min, percent")
