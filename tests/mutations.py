"""Valid records made invalid, or otherwise valid, in every way a broken sender may: the same for the same seed."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

EXAMPLES = Path(__file__).parents[1] / "schemas" / "examples" / "step-events" / "v1"
Mutate = Callable[[Random, bytes, list[bytes]], bytes]
_NUMBERS = (
    b"9" * 400, b"-1e999", b"1e-999", b"0.1e+400", b"18446744073709551616", b"-9223372036854775809", b"NaN",
    b"Infinity", b"-0", b"00", b"1_0", b"2147483648", b"9" * 5_000,
)  # fmt: skip
_TEXTS = (
    rb"\ud800", rb"\udfff\ud800", rb"\u0000", b"\xed\xa0\x80", b"\xff", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\x00",
    b"\x7f", "\u2028\u202e\ufeff".encode(), rb"\x41", rb"\u12", b'"', b"\\", b"\n", b"\r\n", b"\xef\xbb\xbf", b"'",
)  # fmt: skip
_VALUES = (
    b"null", b"true", b"[]", b"{}", b'""', b"[[]]", b'{"":{}}', b'{"a":1,"a":2}', b'"2026-03-01T12:00:00Z"', b"1",
    b'"' + b"x" * 300 + b'"', b'"9999-12-31T23:59:59.999999-23:59"', b'"0001-01-01T00:00:00+23:59"',
    b'"1970-01-01T00:00:00Z"', b'"2026-02-30T00:00:00Z"', b'"outcome"', b"-1", b"1.0", b"2", b"2",
)  # fmt: skip


def _flip(random: Random, value: bytes, _: list[bytes]) -> bytes:
    flipped = bytearray(value)
    for _flip in range(random.randint(1, 4)):
        flipped[random.randrange(len(flipped))] ^= 1 << random.randrange(8)
    return bytes(flipped)


def _cut(random: Random, value: bytes, _: list[bytes]) -> bytes:
    start, end = sorted(random.randrange(len(value) + 1) for _ in range(2))
    return random.choice((value[:end], value[start:], value[:start] + value[end:]))


def _repeat(random: Random, value: bytes, _: list[bytes]) -> bytes:
    start, end = sorted(random.randrange(len(value) + 1) for _ in range(2))
    return value[:end] + value[start:end] * random.randint(1, 3) + value[end:]


def _splice(random: Random, value: bytes, others: list[bytes]) -> bytes:
    other = random.choice(others)
    return value[: random.randrange(len(value) + 1)] + other[random.randrange(len(other) + 1) :]


def _insert(random: Random, value: bytes, _: list[bytes]) -> bytes:
    at = random.randrange(len(value) + 1)
    return value[:at] + random.choice((*_TEXTS, *_NUMBERS, *_VALUES)) + value[at:]


def _nest(random: Random, value: bytes, _: list[bytes]) -> bytes:
    depth = random.choice((2, 127, 128, 129, 199, 200, 201, 1_000, 20_000))
    opened, closed = random.choice(((b"[", b"]"), (b'{"a":', b"}")))
    return _replace_a_value(random, value, opened * depth + b"1" + closed * random.choice((depth, depth - 1, 0)))


def _replace(random: Random, value: bytes, others: list[bytes]) -> bytes:
    return _replace_a_value(random, value, random.choice((*_NUMBERS, *_VALUES, random.choice(others))))


def _write_twice(random: Random, value: bytes, _: list[bytes]) -> bytes:
    keys = _keys(value)
    if not keys:
        return value
    key = json.dumps(random.choice(keys)).encode()
    return value.replace(b"{", b"{" + key + random.choice((b":", b" :", b"\n:")) + random.choice(_VALUES) + b",", 1)


def _replace_a_value(random: Random, value: bytes, by: bytes) -> bytes:
    """Put other bytes in a top-level value's place, or add them under a key of the contract or none."""
    parsed = _parsed(value)
    key = random.choice([*parsed, "tool", "attributes", "outcome", "usage", "schema_version", "nobody's"])
    written = {name: json.dumps(one).encode() for name, one in parsed.items()} | {key: by}
    return b"{" + b",".join(json.dumps(name).encode() + b":" + one for name, one in written.items()) + b"}"


def _keys(value: bytes) -> list[str]:
    return list(_parsed(value))


def _parsed(value: bytes) -> dict[str, object]:
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


_MUTATIONS: tuple[Mutate, ...] = (_flip, _cut, _repeat, _splice, _insert, _nest, _replace, _write_twice)


def mutated(count: int, seed: int) -> Iterator[tuple[bytes, bool]]:
    """Yield records, most of them mutated once and some up to four times, and whether each is sent as NDJSON."""
    random = Random(seed)
    seeds = [line for path in sorted(EXAMPLES.iterdir()) for line in _lines(path)]
    short = [one for one in seeds if b"\n" not in one]
    for _ in range(count):
        value = _renamed(random, random.choice(seeds), count)
        for _times in range(random.choice((0, 1, 1, 1, 1, 2, 4))):
            value = random.choice(_MUTATIONS)(random, value, seeds) or b" "
        ndjson = random.random() < 0.2
        if ndjson and random.random() < 0.5:
            value = random.choice((b"\n", b"\r\n", b"\n\n")).join((random.choice(short), value, random.choice(short)))
        yield value, ndjson


def _renamed(random: Random, value: bytes, count: int) -> bytes:
    """Give half of the events to trajectories of some steps each; the others meet in those of the examples."""
    parsed = _parsed(value)
    if random.random() < 0.3:
        return value
    parsed |= {"trajectory_id": f"t-{random.randrange(count // 20 + 1)}", "event_id": f"e-{random.randrange(20)}"}
    return json.dumps(parsed, ensure_ascii=random.random() < 0.5).encode()


def _lines(path: Path) -> list[bytes]:
    whole = path.read_bytes()
    lines = whole.splitlines() if path.suffix == ".ndjson" else [whole, json.dumps(json.loads(whole)).encode()]
    return [line for line in lines if line]
