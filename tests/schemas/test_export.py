"""The committed JSON Schemas are current; the exporter writes what is added and refuses what breaks."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from schemas import StepEvent
from schemas.export import CONTRACTS, FOLDER, file_name, main, schema_text

ROOT = FOLDER.parents[1]


def test_the_committed_schemas_are_current_and_no_file_is_left_over() -> None:
    assert {path.name: path.read_text("utf-8") for path in FOLDER.iterdir()} == {
        file_name(contract): schema_text(contract) for contract in CONTRACTS
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    assert main([], tmp_path) == 0
    return tmp_path


def change(path: Path, **properties: Any) -> str:
    """Give the committed schema other properties, as if the model had lost or changed them since."""
    schema = json.loads(path.read_text("utf-8"))
    schema["properties"] |= properties
    path.write_text(json.dumps(schema), "utf-8")
    return path.read_text("utf-8")


def test_the_files_are_sorted_and_indented(folder: Path) -> None:
    text = (folder / "StepEvent.v1.json").read_text("utf-8")
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def test_what_is_current_is_not_written_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main([], folder) == 0
    assert main(["--check"], folder) == 0
    assert capsys.readouterr() == ("", "")


def test_a_breaking_difference_is_refused_and_nothing_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = change(folder / "StepEvent.v1.json", colour={"type": "string"}, content={"type": "number"})
    (folder / "Label.v1.json").unlink()
    assert main([], folder) == 2
    said = capsys.readouterr().err
    assert "StepEvent.v1.json: /colour: the property was removed" in said
    assert "StepEvent.v1.json: /content: the type number is no longer accepted" in said
    assert "schema_version" in said
    assert (folder / "StepEvent.v1.json").read_text("utf-8") == kept
    assert not (folder / "Label.v1.json").exists()


def test_an_additive_difference_is_written(folder: Path) -> None:
    path = folder / "StepEvent.v1.json"
    schema = json.loads(path.read_text("utf-8"))
    del schema["properties"]["usage"]
    path.write_text(json.dumps(schema), "utf-8")
    assert main(["--check"], folder) == 1
    assert main([], folder) == 0
    assert path.read_text("utf-8") == schema_text(StepEvent)


def test_a_check_writes_nothing_and_names_what_is_outdated(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "Label.v1.json").unlink()
    assert main(["--check"], folder) == 1
    assert "Label.v1.json is not what the model says" in capsys.readouterr().err
    assert not (folder / "Label.v1.json").exists()


@pytest.mark.parametrize(("arguments", "code"), [([], 2), (["--check"], 1)])
def test_a_contract_that_is_gone_is_refused(
    folder: Path, arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "Blame.v1.json").write_text("{}", "utf-8")
    assert main(arguments, folder) == code
    assert "Blame.v1.json: the contract was removed" in capsys.readouterr().err


def test_an_older_version_of_a_contract_stays_where_it_is(folder: Path) -> None:
    (folder / "StepEvent.v0.json").write_text("{}", "utf-8")
    assert main([], folder) == 0
    assert (folder / "StepEvent.v0.json").read_text("utf-8") == "{}"


def test_the_command_checks_the_tree() -> None:
    command = [sys.executable, "-m", "schemas.export", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
