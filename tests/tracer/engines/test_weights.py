"""Models and adapters on disk: made once, held against each other, merged as they would act."""

import json
from pathlib import Path

import pytest

from schemas.errors import AdapterError, EngineError
from tests.tracer.engines.adapters import lora, rewritten, tiny_model
from tracer.engines import weights
from tracer.engines.weights import adapter_id, check, located, merged

pytest.importorskip("peft", reason="SKIPPED, NOT TESTED HERE: peft is not installed; install agentracer[model,train]")
pytestmark = [
    pytest.mark.model,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lora(tmp_path_factory.mktemp("adapter"), base)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "agentracer" / "models"


def test_a_merged_model_answers_as_base_and_adapter_together_do(base: Path, adapter: Path) -> None:
    import torch  # noqa: PLC0415  heavy
    from peft import PeftModel  # noqa: PLC0415  heavy
    from transformers import AutoModelForCausalLM  # noqa: PLC0415  heavy

    ids = torch.tensor([[1, 5, 9, 33, 2]])
    plain = AutoModelForCausalLM.from_pretrained(base)(ids).logits
    apart = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)(ids).logits
    ours = AutoModelForCausalLM.from_pretrained(merged(base, adapter))(ids).logits
    assert torch.allclose(ours, apart, atol=1e-5)
    assert not torch.allclose(ours, plain, atol=1e-3)


def test_a_merge_is_made_once_and_another_adapter_makes_another(base: Path, adapter: Path, tmp_path: Path) -> None:
    first = merged(base, adapter)
    made = (first / "model.safetensors").stat().st_ino
    assert merged(base, adapter) == first
    assert (first / "model.safetensors").stat().st_ino == made
    assert merged(base, lora(tmp_path / "other", base, seed=1)) != first
    assert {path.name[0] for path in first.parent.iterdir()} == {"m"}, "no draft is left"


def test_only_the_last_merges_stay_in_the_cache(base: Path, adapter: Path, tmp_path: Path, cache: Path) -> None:
    first = merged(base, adapter)
    folders = [merged(base, rewritten(adapter, tmp_path / str(alpha), lora_alpha=alpha)) for alpha in range(5)]
    assert not first.exists()
    assert set(cache.iterdir()) == set(folders[-weights.KEPT_MERGES :])


def test_an_adapters_id_is_that_of_its_bytes(adapter: Path, tmp_path: Path) -> None:
    copy = rewritten(adapter, tmp_path / "copy")
    (copy / "adapter_config.json").write_bytes((adapter / "adapter_config.json").read_bytes())
    assert adapter_id(copy) == adapter_id(adapter)
    assert adapter_id(rewritten(adapter, tmp_path / "other", lora_alpha=99)) != adapter_id(adapter)


def test_an_adapter_that_fits_is_accepted_up_to_its_rank(base: Path, adapter: Path) -> None:
    check(base, adapter)
    check(base, adapter, max_rank=4)
    with pytest.raises(AdapterError, match="has rank 4, more than 3; raise the setting of the largest rank"):
        check(base, adapter, max_rank=3)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"bias": "all"}, "sets 'bias' to 'all'; train it without"),
        ({"use_dora": True}, "sets 'use_dora' to True"),
        ({"modules_to_save": ["lm_head"]}, "sets 'modules_to_save'"),
        ({"rank_pattern": {"q_proj": 8}}, "has a rank or an alpha of its own for some layers"),
        ({"lora_alpha": None}, "no readable adapter_config.json"),
        ({"r": "many"}, "no readable adapter_config.json"),
    ],
)
def test_an_adapter_of_another_kind_is_refused(
    base: Path, adapter: Path, tmp_path: Path, fields: dict[str, object], says: str
) -> None:
    with pytest.raises(AdapterError, match=says):
        merged(base, rewritten(adapter, tmp_path / "bad", **fields))


def test_an_adapter_for_another_base_model_is_refused(base: Path, adapter: Path, tmp_path: Path) -> None:
    config = json.loads((base / "config.json").read_text())
    other = tiny_model(tmp_path / "other", hidden_size=64, intermediate_size=config["intermediate_size"])
    with pytest.raises(AdapterError, match=r"for another base model: its matrices for .* make .*, the base model's is"):
        merged(other, adapter)
    shallow = tiny_model(tmp_path / "shallow", num_hidden_layers=1)
    with pytest.raises(AdapterError, match=r"for another base model: 'shallow' has no 'model\.layers\.1"):
        merged(shallow, adapter)


@pytest.mark.parametrize("kept", [0, 4, 9, 200, -1])
def test_a_file_that_is_cut_off_is_refused(base: Path, adapter: Path, tmp_path: Path, kept: int) -> None:
    bad = rewritten(adapter, tmp_path / "bad")
    file = bad / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(AdapterError, match="is corrupt or not there"):
        merged(base, bad)


def test_weights_that_are_no_numbers_are_refused(base: Path, adapter: Path, tmp_path: Path) -> None:
    bad = rewritten(adapter, tmp_path / "bad")
    file = bad / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"\x00\x00\xc0\x7f")
    with pytest.raises(AdapterError, match="numbers that are not finite"):
        merged(base, bad)


def test_a_folder_without_an_adapter_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"no adapter at .* \('adapter_config\.json'\)|is no adapter"):
        merged(base, tmp_path)


def test_a_refused_adapter_leaves_nothing_in_the_cache(base: Path, tmp_path: Path, cache: Path) -> None:
    with pytest.raises(AdapterError):
        merged(base, tmp_path)
    assert not cache.exists() or not list(cache.iterdir())


def test_a_folder_is_taken_as_it_is(base: Path) -> None:
    assert located(str(base)) == base.resolve()


@pytest.mark.parametrize("model", ["/no/such/folder", "./nothing", "some/deep/path"])
def test_a_folder_that_is_not_there_is_one_error(model: str) -> None:
    with pytest.raises(EngineError, match=f"no model at '{model}': it has no config.json"):
        located(model)


def test_a_cache_that_can_not_be_written_is_one_error(
    base: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    with pytest.raises(EngineError, match=r"can't make 'merged-.*; make room there or set XDG_CACHE_HOME"):
        merged(base, adapter)
