"""What a stage of a program can be: one table of operations on a list of numbers.

Rules: what an operation is easily taken for is another operation of the table, so neither its words nor its code give
a mistake away; what it means is written apart from the code that agents write for it, and is what outcomes go by.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

Values = list[int]


class Role(StrEnum):
    """What a stage does to the list."""

    FILTER = "filter"
    MAP = "map"
    ORDER = "order"
    FOLD = "fold"


class Op(NamedTuple):
    """One kind of stage: its phrasings, its codings, what it is easily taken for, and what it means."""

    role: Role
    words: tuple[str, ...]
    codes: tuple[str, ...]
    near: tuple[str, ...]
    means: Callable[[Values, int], Values | int]
    parameters: tuple[int, int] | None = None


def _keep(condition: str) -> tuple[str, ...]:
    return (
        f"return [v for v in values if {condition}]",
        f"kept = []\n    for v in values:\n        if {condition}:\n            kept.append(v)\n    return kept",
        f"return list(filter(lambda v: {condition}, values))",
    )


def _each(expression: str) -> tuple[str, ...]:
    return (
        f"return [{expression} for v in values]",
        f"out = []\n    for v in values:\n        out.append({expression})\n    return out",
        f"return list(map(lambda v: {expression}, values))",
    )


def _fold(expression: str) -> tuple[str, ...]:
    return (
        f"return {expression} if values else 0",
        f"if not values:\n        return 0\n    return {expression}",
        f"result = 0\n    if values:\n        result = {expression}\n    return result",
    )


F, M, O, R = Role.FILTER, Role.MAP, Role.ORDER, Role.FOLD  # noqa: E741 - columns of the table below
LIMIT, SMALL, COUNT = (4, 39), (2, 9), (2, 5)

OPS: dict[str, Op] = {
    "at_least": Op(
        F,
        ("keep the values of {k} or more", "keep only what is at least {k}", "drop everything below {k}"),
        _keep("v >= {k}"),
        ("above", "at_most"),
        lambda vs, k: [v for v in vs if v >= k],
        LIMIT,
    ),
    "above": Op(
        F,
        ("keep the values above {k}", "keep only what is more than {k}", "drop everything of {k} or less"),
        _keep("v > {k}"),
        ("at_least", "below"),
        lambda vs, k: [v for v in vs if v > k],
        LIMIT,
    ),
    "at_most": Op(
        F,
        ("keep the values of {k} or less", "keep only what is at most {k}", "drop everything above {k}"),
        _keep("v <= {k}"),
        ("below", "at_least"),
        lambda vs, k: [v for v in vs if v <= k],
        LIMIT,
    ),
    "below": Op(
        F,
        ("keep the values below {k}", "keep only what is less than {k}", "drop everything of {k} or more"),
        _keep("v < {k}"),
        ("at_most", "above"),
        lambda vs, k: [v for v in vs if v < k],
        LIMIT,
    ),
    "multiples": Op(
        F,
        ("keep the multiples of {k}", "keep only what {k} divides evenly", "drop everything that {k} does not divide"),
        _keep("v % {k} == 0"),
        ("non_multiples",),
        lambda vs, k: [v for v in vs if v % k == 0],
        COUNT,
    ),
    "non_multiples": Op(
        F,
        ("drop the multiples of {k}", "keep only what {k} does not divide evenly", "drop everything that {k} divides"),
        _keep("v % {k} != 0"),
        ("multiples",),
        lambda vs, k: [v for v in vs if v % k],
        COUNT,
    ),
    "head": Op(
        F,
        ("keep the first {k} values", "take only the {k} leading values", "cut the list after its first {k} values"),
        (
            "return values[:{k}]",
            "return [values[i] for i in range(min({k}, len(values)))]",
            "return list(values)[:{k}]",
        ),
        ("tail", "skip"),
        lambda vs, k: vs[:k],
        COUNT,
    ),
    "tail": Op(
        F,
        ("keep the last {k} values", "take only the {k} trailing values", "cut everything before the last {k} values"),
        ("return values[-{k}:]", "return values[max(0, len(values) - {k}):]", "return list(values)[-{k}:]"),
        ("head", "skip"),
        lambda vs, k: vs[-k:],
        COUNT,
    ),
    "skip": Op(
        F,
        ("leave out the first {k} values", "drop the {k} leading values", "start the list after its first {k} values"),
        ("return values[{k}:]", "return [values[i] for i in range({k}, len(values))]", "return list(values)[{k}:]"),
        ("head", "tail"),
        lambda vs, k: vs[k:],
        COUNT,
    ),
    "odd_places": Op(
        F,
        ("keep the first, third, fifth value and so on", "keep every other value, beginning with the first one"),
        ("return values[::2]", "return [v for i, v in enumerate(values) if i % 2 == 0]"),
        ("even_places",),
        lambda vs, _: vs[0::2],
    ),
    "even_places": Op(
        F,
        ("keep the second, fourth, sixth value and so on", "keep every other value, beginning with the second one"),
        ("return values[1::2]", "return [v for i, v in enumerate(values) if i % 2 == 1]"),
        ("odd_places",),
        lambda vs, _: vs[1::2],
    ),
    "times": Op(
        M,
        ("multiply each value by {k}", "scale every value by {k}", "replace each value by {k} times it"),
        _each("v * {k}"),
        ("plus",),
        lambda vs, k: [v * k for v in vs],
        SMALL,
    ),
    "plus": Op(
        M,
        ("add {k} to each value", "raise every value by {k}", "replace each value by itself plus {k}"),
        _each("v + {k}"),
        ("times", "minus"),
        lambda vs, k: [v + k for v in vs],
        SMALL,
    ),
    "minus": Op(
        M,
        ("subtract {k} from each value", "lower every value by {k}", "replace each value by itself minus {k}"),
        _each("v - {k}"),
        ("from", "plus"),
        lambda vs, k: [v - k for v in vs],
        SMALL,
    ),
    "from": Op(
        M,
        ("subtract each value from {k}", "replace each value by {k} minus it", "turn every value v into {k} - v"),
        _each("{k} - v"),
        ("minus",),
        lambda vs, k: [k - v for v in vs],
        SMALL,
    ),
    "quotient": Op(
        M,
        ("divide each value by {k}, rounding down", "replace each value by how often {k} goes into it, rounded down"),
        _each("v // {k}"),
        ("remainder",),
        lambda vs, k: [v // k for v in vs],
        COUNT,
    ),
    "remainder": Op(
        M,
        ("replace each value by its remainder modulo {k}", "take every value modulo {k}"),
        _each("v % {k}"),
        ("quotient",),
        lambda vs, k: [v % k for v in vs],
        SMALL,
    ),
    "ascending": Op(
        O,
        ("sort the values in ascending order", "order the list from small to large"),
        ("return sorted(values)", "ordered = list(values)\n    ordered.sort()\n    return ordered"),
        ("descending",),
        lambda vs, _: sorted(vs),
    ),
    "descending": Op(
        O,
        ("sort the values in descending order", "order the list from large to small"),
        (
            "return sorted(values, reverse=True)",
            "ordered = list(values)\n    ordered.sort(reverse=True)\n    return ordered",
        ),
        ("ascending",),
        lambda vs, _: sorted(vs, reverse=True),
    ),
    "total": Op(
        R,
        ("return the sum of what is left", "add everything up and return the total"),
        _fold("sum(values)"),
        ("count", "mean_down"),
        lambda vs, _: sum(vs),
    ),
    "count": Op(
        R,
        ("return how many values are left", "return the number of remaining values"),
        _fold("len(values)"),
        ("total",),
        lambda vs, _: len(vs),
    ),
    "largest": Op(
        R,
        ("return the largest value", "return the maximum"),
        _fold("max(values)"),
        ("smallest", "span"),
        lambda vs, _: max(vs, default=0),
    ),
    "smallest": Op(
        R,
        ("return the smallest value", "return the minimum"),
        _fold("min(values)"),
        ("largest", "span"),
        lambda vs, _: min(vs, default=0),
    ),
    "span": Op(
        R,
        ("return the largest value minus the smallest", "return the distance between maximum and minimum"),
        _fold("max(values) - min(values)"),
        ("largest", "smallest"),
        lambda vs, _: max(vs) - min(vs) if vs else 0,
    ),
    "mean_down": Op(
        R,
        ("return the mean, rounded down", "return the average, rounded down to a whole number"),
        _fold("sum(values) // len(values)"),
        ("mean_up", "total"),
        lambda vs, _: sum(vs) // len(vs) if vs else 0,
    ),
    "mean_up": Op(
        R,
        ("return the mean, rounded up", "return the average, rounded up to a whole number"),
        _fold("-(-sum(values) // len(values))"),
        ("mean_down", "total"),
        lambda vs, _: -(-sum(vs) // len(vs)) if vs else 0,
    ),
    "ends": Op(
        R,
        ("return the first value minus the last", "return the difference of the first value and the last one"),
        _fold("values[0] - values[-1]"),
        ("ends_back", "span"),
        lambda vs, _: vs[0] - vs[-1] if vs else 0,
    ),
    "ends_back": Op(
        R,
        ("return the last value minus the first", "return the difference of the last value and the first one"),
        _fold("values[-1] - values[0]"),
        ("ends", "span"),
        lambda vs, _: vs[-1] - vs[0] if vs else 0,
    ),
}
