"""Every kind of breaking difference between two JSON Schemas is found, and no additive one is taken for one."""

import json
from typing import Any

import pytest

from schemas import StepEvent
from schemas.export import CONTRACTS, Part, Schema, breaking, schema_text

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "integer", "minimum": 0, "maximum": 9}
NULL: Schema = {"type": "null"}
COLOURS: Schema = {"type": "string", "enum": ["red", "green"]}


def of(properties: dict[str, Any], *required: str, **more: Any) -> Schema:
    """Return the schema of a message with these properties."""
    base = {"type": "object", "properties": properties, "additionalProperties": False}
    return base | ({"required": list(required)} if required else {}) | more


def either(*alternatives: Schema, **more: Any) -> Schema:
    return {"anyOf": list(alternatives)} | more


def defined(definition: Schema, **more: Any) -> Schema:
    return of({"a": {"$ref": "#/$defs/A"} | more}, **{"$defs": {"A": definition}})


def array(items: Part, **more: Any) -> Schema:
    return {"type": "array", "items": items} | more


NODE = of({"name": TEXT, "next": either({"$ref": "#/$defs/A"}, NULL)}, "name")

BREAKING: dict[str, tuple[Schema, Schema, list[str]]] = {
    "removed property": (of({"a": TEXT, "b": TEXT}), of({"a": TEXT}), ["/b: the property was removed"]),
    "renamed property": (of({"a": TEXT}), of({"b": TEXT}), ["/a: the property was removed"]),
    "new required property": (of({"a": TEXT}), of({"a": TEXT, "b": TEXT}, "b"), ["/b: the new property is required"]),
    "lost default": (of({"a": TEXT | {"default": "x"}}), of({"a": TEXT}, "a"), ["/a: the property is required now"]),
    "changed default": (
        of({"a": TEXT | {"default": "x"}}),
        of({"a": TEXT | {"default": "y"}}),
        ['/a: the default "x" became "y"'],
    ),
    "default of another type": (
        of({"a": {"default": 1}}),
        of({"a": {"default": True}}),
        ["/a: the default 1 became true"],
    ),
    "changed type": (
        of({"a": TEXT}),
        of({"a": NUMBER}),
        ["/a: the type string is no longer accepted, but the type integer"],
    ),
    "integers become numbers": (
        of({"a": {"type": "integer"}}),
        of({"a": {"type": "number"}}),
        ["/a: the type integer is no longer accepted, but the type number"],
    ),
    "null refused": (
        of({"a": either(TEXT, NULL)}),
        of({"a": TEXT}),
        ["/a: the type null is no longer accepted, but the type string"],
    ),
    "one of a list of types refused": (
        of({"a": {"type": ["string", "null"]}}),
        of({"a": {"type": ["string"]}}),
        ["/a: the type null is no longer accepted, but the type string"],
    ),
    "anything becomes a type": (
        of({"a": {}}),
        of({"a": TEXT}),
        ["/a: the type any is no longer accepted, but the type string"],
    ),
    "removed member": (
        of({"a": COLOURS}),
        of({"a": {"type": "string", "enum": ["red", "blue"]}}),
        ["/a: the value 'green' is no longer accepted, but the value 'red' or the value 'blue'"],
    ),
    "text becomes a closed set": (
        of({"a": TEXT}),
        of({"a": {"type": "string", "const": "red"}}),
        ["/a: the type string is no longer accepted, but the value 'red'"],
    ),
    "another constant": (
        of({"a": {"type": "integer", "const": 1}}),
        of({"a": {"type": "integer", "const": 2}}),
        ["/a: the value 1 is no longer accepted, but the value 2"],
    ),
    "higher minimum": (of({"a": NUMBER}), of({"a": NUMBER | {"minimum": 1}}), ["/a: minimum 0 became 1"]),
    "lower maximum": (of({"a": NUMBER}), of({"a": NUMBER | {"maximum": 8}}), ["/a: maximum 9 became 8"]),
    "new minimum": (
        of({"a": {"type": "number"}}),
        of({"a": {"type": "number", "exclusiveMinimum": 0}}),
        ["/a: exclusiveMinimum None became 0"],
    ),
    "new shortest length": (of({"a": TEXT}), of({"a": TEXT | {"minLength": 1}}), ["/a: minLength None became 1"]),
    "shorter length": (
        of({"a": TEXT | {"maxLength": 256}}),
        of({"a": TEXT | {"maxLength": 255}}),
        ["/a: maxLength 256 became 255"],
    ),
    "new pattern": (of({"a": TEXT}), of({"a": TEXT | {"pattern": "^a"}}), ["/a: pattern None became '^a'"]),
    "another pattern": (
        of({"a": TEXT | {"pattern": "^a"}}),
        of({"a": TEXT | {"pattern": "^b"}}),
        ["/a: pattern '^a' became '^b'"],
    ),
    "new format": (of({"a": TEXT}), of({"a": TEXT | {"format": "uri"}}), ["/a: format None became 'uri'"]),
    "keyword not known here": (of({"a": {}}), of({"a": {"not": TEXT}}), ["/a: not None became {'type': 'string'}"]),
    "tightened in one alternative": (
        of({"a": either(NUMBER, NULL)}),
        of({"a": either(NUMBER | {"maximum": 5}, NULL)}),
        ["/a: maximum 9 became 5"],
    ),
    "tightened in a list": (
        of({"a": array(NUMBER)}),
        of({"a": array(NUMBER | {"minimum": 3})}),
        ["/a/[]: minimum 0 became 3"],
    ),
    "shorter list": (of({"a": array({})}), of({"a": array({}, maxItems=3)}), ["/a: maxItems None became 3"]),
    "list of anything becomes a list of text": (
        of({"a": {"type": "array"}}),
        of({"a": array(TEXT)}),
        ["/a/[]: the type any is no longer accepted, but the type string"],
    ),
    "unknown keys refused": (
        {"type": "object"},
        {"type": "object", "additionalProperties": False},
        ["/*: additionalProperties are refused now"],
    ),
    "other values of a mapping": (
        of({"a": {"type": "object", "additionalProperties": {"type": "number"}}}),
        of({"a": {"type": "object", "additionalProperties": TEXT}}),
        ["/a/*: the type number is no longer accepted, but the type string"],
    ),
    "anything in a mapping becomes text": (
        of({"a": {"type": "object", "additionalProperties": True}}),
        of({"a": {"type": "object", "additionalProperties": TEXT}}),
        ["/a/*: the type any is no longer accepted, but the type string"],
    ),
    "removed property of a definition": (
        defined(of({"b": TEXT, "c": TEXT})),
        defined(of({"b": TEXT})),
        ["/a/c: the property was removed"],
    ),
    "removed member of a definition": (
        defined(COLOURS),
        defined({"type": "string", "enum": ["red"]}),
        ["/a: the value 'green' is no longer accepted, but the value 'red'"],
    ),
    "definition that stands in two places": (
        of({"a": {"$ref": "#/$defs/A"}, "b": {"$ref": "#/$defs/A"}}, **{"$defs": {"A": NUMBER}}),
        of({"a": {"$ref": "#/$defs/A"}, "b": {"$ref": "#/$defs/A"}}, **{"$defs": {"A": NUMBER | {"maximum": 1}}}),
        ["/a: maximum 9 became 1", "/b: maximum 9 became 1"],
    ),
    "tightened beside a reference": (defined(NUMBER), defined(NUMBER, maximum=1), ["/a: maximum 9 became 1"]),
    "tightened beside alternatives": (
        of({"a": either(TEXT, {"type": "string", "format": "uri"})}),
        of({"a": either(TEXT, {"type": "string", "format": "uri"}, maxLength=1)}),
        ["/a: maxLength None became 1", "/a: maxLength None became 1"],
    ),
    "true for one": (
        of({"a": {"enum": [1]}}),
        of({"a": {"enum": [True]}}),
        ["/a: the value 1 is no longer accepted, but the value True"],
    ),
    "definition written out and tightened": (
        defined(NUMBER),
        of({"a": NUMBER | {"maximum": 1}}),
        ["/a: maximum 9 became 1"],
    ),
    "definition that holds itself": (
        defined(NODE),
        defined(of({"name": TEXT | {"maxLength": 1}, "next": either({"$ref": "#/$defs/A"}, NULL)}, "name")),
        ["/a/name: maxLength None became 1"],
    ),
}

ADDITIVE: dict[str, tuple[Schema, Schema]] = {
    "nothing": (of({"a": TEXT}, "a"), of({"a": TEXT}, "a")),
    "new optional property": (of({"a": TEXT}), of({"a": TEXT, "b": either(TEXT, NULL, default=None)})),
    "required becomes optional": (of({"a": TEXT}, "a"), of({"a": TEXT | {"default": ""}})),
    "new member": (of({"a": COLOURS}), of({"a": {"type": "string", "enum": ["blue", "green", "red"]}})),
    "constant becomes a set": (
        of({"a": {"type": "integer", "const": 1}}),
        of({"a": {"type": "integer", "enum": [1, 2]}}),
    ),
    "closed set becomes text": (of({"a": COLOURS}), of({"a": TEXT})),
    "null allowed": (of({"a": TEXT}), of({"a": either(TEXT, NULL)})),
    "another alternative": (of({"a": either(TEXT, NULL)}), of({"a": either(NULL, NUMBER, TEXT)})),
    "anything allowed": (of({"a": TEXT}), of({"a": {"title": "A"}})),
    "wider bounds": (of({"a": NUMBER}), of({"a": {"type": "integer", "minimum": -1, "maximum": 10}})),
    "no bounds": (of({"a": NUMBER}), of({"a": {"type": "integer"}})),
    "longer": (of({"a": TEXT | {"maxLength": 1}}), of({"a": TEXT | {"maxLength": 2}})),
    "no pattern": (of({"a": TEXT | {"pattern": "^a"}}), of({"a": TEXT})),
    "unknown keys allowed": (of({"a": TEXT}), of({"a": TEXT}, additionalProperties=True)),
    "unknown keys of a type allowed": (of({"a": TEXT}), of({"a": TEXT}, additionalProperties=NUMBER)),
    "list of text becomes a list of anything": (of({"a": array(TEXT)}), of({"a": array(True)})),
    "empty list": (of({"a": array(False)}), of({"a": array(TEXT)})),
    "words": (of({"a": TEXT | {"title": "A"}}), of({"a": TEXT | {"title": "B", "description": "b"}}, title="T")),
    "renamed definition": (
        defined(COLOURS),
        of({"a": {"$ref": "#/$defs/B"}}, **{"$defs": {"B": COLOURS}}),
    ),
    "definition written out": (defined(NUMBER), of({"a": NUMBER})),
    "new optional property of a definition that holds itself": (
        defined(NODE),
        defined(of({**NODE["properties"], "more": TEXT}, "name")),
    ),
}


@pytest.mark.parametrize(("old", "new", "found"), BREAKING.values(), ids=BREAKING)
def test_a_breaking_difference_is_named(old: Schema, new: Schema, found: list[str]) -> None:
    assert breaking(old, new) == found


@pytest.mark.parametrize(("old", "new"), ADDITIVE.values(), ids=ADDITIVE)
def test_an_additive_difference_breaks_nothing(old: Schema, new: Schema) -> None:
    assert breaking(old, new) == []


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
def test_a_contract_breaks_nothing_of_itself_and_every_property_taken_away_is_found(contract: type[StepEvent]) -> None:
    schema = json.loads(schema_text(contract))
    assert breaking(schema, schema) == []
    for name in schema["properties"]:
        less = schema | {"properties": {key: value for key, value in schema["properties"].items() if key != name}}
        assert f"/{name}: the property was removed" in breaking(schema, less)
