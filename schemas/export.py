"""The committed form of the contracts: one JSON Schema a contract and version, and what may not change in it.

    python -m schemas.export            rewrite schemas/json, unless a difference is breaking (exit 2)
    python -m schemas.export --check    change nothing; exit 1 when the files are not what the models say

Rules: within a version every message that was accepted stays accepted and keeps its meaning; what is added is
optional, and a closed set only grows. Readers refuse unknown keys, so they are upgraded before senders use them.
Keywords that this file does not know may be dropped, never added or changed.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .control import PipelineEvent, Promotion, RetrainRequest
from .dead_letter import DeadLetter
from .fields import SCHEMA_VERSION, Contract
from .step import OutcomeEvent, StepEvent
from .trajectory import Trajectory
from .verdict import Feedback, Label, Verdict

Schema = dict[str, Any]
Part = Schema | bool
"""JSON Schema also writes "anything" as true and "nothing" as false."""

FOLDER = Path(__file__).parent / "json"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
CONTRACTS: tuple[type[Contract], ...] = (
    StepEvent,
    OutcomeEvent,
    Trajectory,
    Verdict,
    Label,
    Feedback,
    Promotion,
    RetrainRequest,
    PipelineEvent,
    DeadLetter,
)

_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_WORDS = ("$defs", "$schema", "title", "description", "examples", "deprecated", "default")
_COMPARED = ("type", "const", "properties", "required", "additionalProperties", "items")
_KNOWN = {*_LOWER, *_UPPER, *_WORDS, *_COMPARED}


def file_name(contract: type[Contract]) -> str:
    """Return the name of the file that holds the contract's JSON Schema: `<Name>.v<version>.json`."""
    field = contract.model_fields.get("schema_version")
    return f"{contract.__name__}.v{field.default if field else SCHEMA_VERSION}.json"


def schema_text(contract: type[Contract]) -> str:
    """Return the contract's JSON Schema as it is committed."""
    schema = {"$schema": DIALECT} | contract.model_json_schema()
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def breaking(old: Schema, new: Schema) -> list[str]:
    """Name every difference by which a message that `old` accepts is refused by `new`, or read otherwise."""
    return list(_Comparison(old, new).differences("", old, new))


class _Branch(NamedTuple):
    """One of the alternatives that a schema accepts: of one type, or one value of a closed set."""

    ref: str | None
    schema: Schema

    @property
    def accepts_anything(self) -> bool:
        return not set(self.schema) - set(_WORDS)

    def __str__(self) -> str:
        if "const" in self.schema:
            return f"the value {self.schema['const']!r}"
        return f"the type {self.schema.get('type', 'any')}"


class _Comparison:
    """Two schemas and the definitions they refer to; `_open` are the pairs of definitions being compared."""

    def __init__(self, old: Schema, new: Schema) -> None:
        self._old: Schema = old.get("$defs", {})
        self._new: Schema = new.get("$defs", {})
        self._open: set[tuple[str, str]] = set()

    def differences(self, path: str, old: Part, new: Part) -> Iterator[str]:
        """Hold every alternative of `old` against the one of `new` that comes closest."""
        accepted = list(_branches(new, self._new))
        for branch in _branches(old, self._old):
            among = [other for other in accepted if _accepts(other, branch)]
            if among:
                yield from min((list(self._within(path, branch, other)) for other in among), key=len)
            else:
                now = " or ".join(map(str, accepted)) or "nothing"
                yield f"{path or '/'}: {branch} is no longer accepted, but {now}"

    def _within(self, path: str, old: _Branch, new: _Branch) -> Iterator[str]:
        pair = (old.ref or "", new.ref or "")
        if new.accepts_anything or pair in self._open:
            return
        if all(pair):
            self._open.add(pair)
        yield from _constraints(path, old.schema, new.schema)
        yield from _required(path, old.schema, new.schema)
        yield from self._properties(path, old.schema, new.schema)
        yield from self._rest(f"{path}/*", "additionalProperties", old.schema, new.schema)
        yield from self._rest(f"{path}/[]", "items", old.schema, new.schema)
        self._open.discard(pair)

    def _properties(self, path: str, old: Schema, new: Schema) -> Iterator[str]:
        now = new.get("properties", {})
        for name, was in old.get("properties", {}).items():
            if name not in now:
                yield f"{path}/{name}: the property was removed"
                continue
            yield from self.differences(f"{path}/{name}", was, now[name])
            before, after = (json.dumps(schema.get("default")) for schema in (was, now[name]))
            if "default" in was and "default" in now[name] and before != after:
                yield f"{path}/{name}: the default {before} became {after}"

    def _rest(self, path: str, keyword: str, old: Schema, new: Schema) -> Iterator[str]:
        was, now = old.get(keyword, True), new.get(keyword, True)
        if was is False or now is True:
            return
        if now is False:
            yield f"{path}: {keyword} are refused now"
        else:
            yield from self.differences(path, was, now)


def _branches(schema: Part, definitions: Schema, ref: str | None = None) -> Iterator[_Branch]:
    """Follow references and alternatives down to single types and values."""
    if isinstance(schema, bool):
        yield from [_Branch(None, {})] if schema else []
        return
    siblings = {key: value for key, value in schema.items() if key not in {"$ref", "anyOf", "oneOf", "enum"}}
    if "$ref" in schema:
        ref = schema["$ref"]
        yield from _branches(definitions[ref.removeprefix("#/$defs/")] | siblings, definitions, ref)
    elif alternatives := schema.get("anyOf") or schema.get("oneOf"):
        for alternative in alternatives:
            yield from _branches(alternative | siblings, definitions)
    elif "enum" in schema:
        yield from (_Branch(ref, siblings | {"const": value}) for value in schema["enum"])
    elif isinstance(schema.get("type"), list):
        yield from (_Branch(ref, siblings | {"type": one}) for one in schema["type"])
    else:
        yield _Branch(ref, schema)


def _accepts(new: _Branch, old: _Branch) -> bool:
    if new.accepts_anything:
        return True
    if "const" in new.schema and json.dumps(new.schema["const"]) != json.dumps(old.schema.get("const")):
        return False
    return "type" not in new.schema or new.schema["type"] == old.schema.get("type")


def _constraints(path: str, old: Schema, new: Schema) -> Iterator[str]:
    for keyword, value in new.items():
        was = old.get(keyword)
        tighter = keyword in _LOWER and (was is None or value > was)
        tighter |= keyword in _UPPER and (was is None or value < was)
        if tighter or (keyword not in _KNOWN and value != was):
            yield f"{path or '/'}: {keyword} {was!r} became {value!r}"


def _required(path: str, old: Schema, new: Schema) -> Iterator[str]:
    for name in new.get("required", []):
        if name not in old.get("properties", {}):
            yield f"{path}/{name}: the new property is required"
        elif name not in old.get("required", []):
            yield f"{path}/{name}: the property is required now"


def _refusals(folder: Path) -> Iterator[str]:
    """Name what the models would break of the committed files."""
    for contract in CONTRACTS:
        committed = folder / file_name(contract)
        if committed.exists():
            found = breaking(json.loads(committed.read_text("utf-8")), json.loads(schema_text(contract)))
            yield from (f"{committed.name}: {difference}" for difference in found)
    names = {contract.__name__ for contract in CONTRACTS}
    for path in sorted(folder.glob("*.json")):
        if path.name.split(".")[0] not in names:
            yield f"{path.name}: the contract was removed"


def _outdated(folder: Path) -> Iterator[type[Contract]]:
    for contract in CONTRACTS:
        path = folder / file_name(contract)
        if not path.exists() or path.read_text("utf-8") != schema_text(contract):
            yield contract


def main(arguments: Sequence[str] | None = None, folder: Path = FOLDER) -> int:
    """Rewrite the files of `folder`, or only compare them; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m schemas.export", description="Write the JSON Schemas.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when the files are outdated")
    check: bool = parser.parse_args(arguments).check
    refusals, outdated = list(_refusals(folder)), list(_outdated(folder))
    for refusal in refusals:
        sys.stderr.write(f"breaking: {refusal}\n")
    if check:
        for contract in outdated:
            sys.stderr.write(f"{file_name(contract)} is not what the model says; run python -m schemas.export\n")
        return 1 if refusals or outdated else 0
    if refusals:
        sys.stderr.write("nothing was written; undo this, or add a new schema_version beside the old one\n")
        return 2
    _write(folder, outdated)
    return 0


def _write(folder: Path, outdated: Sequence[type[Contract]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for contract in outdated:
        (folder / file_name(contract)).write_text(schema_text(contract), "utf-8")
        sys.stdout.write(f"wrote {file_name(contract)}\n")


if __name__ == "__main__":
    sys.exit(main())
