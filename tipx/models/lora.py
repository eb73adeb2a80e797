"""LoRA: adapters of low rank are trained in place of the student's own weights, which stay as they were.

peft adds them to the model that transformers loaded (`add_adapter`), so that its class, its parts and `generate` stay
what they are. A checkpoint then holds the adapters alone, in a folder of their own that peft loads, too, and says which
model they belong to (`Base`): adapters on another model would compute something, and it would be wrong.
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass as validated
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.integrations.peft import MIN_PEFT_VERSION
from transformers.pytorch_utils import Conv1D
from transformers.utils.peft_utils import check_peft_version

from tipx.adapters import OWN, is_adapted
from tipx.errors import ModelError
from tipx.files.atomic import make_folder, write_json
from tipx.files.untrusted import error_text, printable_text
from tipx.models.folder import ADAPTER, BrokenModel, check_file, list_weight_files, read_json
from tipx.models.locate import silence_libraries
from tipx.models.pruning import Layers
from tipx.models.sharded import save_model
from tipx.spec import Count, Int, PathText, Seed, Words, spec

FOLDER, WEIGHTS, BASE = "adapter", "adapter_model.safetensors", "base.json"
"""The adapters' folder in a checkpoint, and two files in it. The third is `ADAPTER`, peft's own settings."""
NAME, PREFIX = ".default", "base_model.model."
"""peft's name of the only adapter in a model, and what stands before every name in peft's files."""
ALL = "all-linear"
INSTALL = "pip install 'tipx[lora]'"
SAMPLES, BLOCK = 256, 2**12
"""Blocks of a weight file that are read for its fingerprint, and their bytes."""
HEADER = 2**20
"""Bytes at the beginning of a weight file that are read, too: names, types and shapes of the weights."""

Rank = Annotated[Int, Field(ge=1, le=2**16)]


@spec
class LoRA:
    """Adapters of low rank that are trained in place of the student's own weights. The names are peft's."""

    r: Rank | None
    """Rank: a layer of shape (out, in) gets r x (out + in) weights that are trained. null trains the student itself."""
    lora_alpha: Count
    """The adapters' product counts lora_alpha / r times."""
    target_modules: Literal["all-linear"] | list[Words]
    """Names of the layers that get adapters, as [q_proj, v_proj]. all-linear is every linear layer but the LM head,
    which gets none."""
    use_rslora: bool
    """true: the adapters' product counts lora_alpha / sqrt(r) times."""
    seed: Seed
    """Seed of the random half of the adapters. The other half begins at 0, so training begins at the student."""


def import_peft(key: str) -> Any:
    """The package. Raises ModelError where it is missing, or too old for transformers."""
    try:
        with silence_libraries():
            package = import_module("peft")
        check_peft_version(min_version=MIN_PEFT_VERSION)
    except ModuleNotFoundError as error:
        raise ModelError(f"{key}: peft is not installed, which adds the adapters; type: {INSTALL}") from error
    except (ImportError, ValueError) as error:
        raise ModelError(f"{key}: the installed peft cannot be used ({error_text(error)}); type: {INSTALL}") from error
    return package


# --- which layers get adapters ---------------------------------------------------------------------------------------


def find_targets(model: PreTrainedModel, lora: LoRA, key: str) -> dict[str, nn.Module]:
    """The layers that get adapters, by name. Raises ModelError, with the names that exist, if one is not there.

    The LM head gets none, because tipx multiplies with its matrix alone; nor does an embedding, which may be the same
    matrix.
    """
    head = model.get_output_embeddings()
    modules = {name: module for name, module in model.named_modules() if name}
    linear: dict[str, nn.Module] = {
        name: layer for name, layer in modules.items() if isinstance(layer, nn.Linear | Conv1D) and layer is not head
    }
    names = list(dict.fromkeys(name.rpartition(".")[2] for name in linear))
    there = f"there are {', '.join(names)}: type {key}.target_modules=[{','.join(names[:2])}]"
    if not linear:
        raise ModelError(f"{key}: a {type(model).__name__} has no linear layer besides its LM head; type {key}.r=null")
    if lora.target_modules == ALL:
        return linear
    targets = dict[str, nn.Module]()
    for target in lora.target_modules:
        matches = {name: module for name, module in modules.items() if f".{name}".endswith(f".{target}")}
        shown = f"{key}.target_modules: {printable_text(repr(target))}"
        if not matches:
            raise ModelError(f"{shown} is the name of no layer of a {type(model).__name__}; {there}")
        if not matches.keys() <= linear.keys():
            what = "the LM head, which gets no adapter" if head in matches.values() else "not a linear layer"
            raise ModelError(f"{shown} is {what}; {there}")
        targets |= matches
    return {name: module for name, module in linear.items() if name in targets}


def count_weights(lora: LoRA, targets: Mapping[str, nn.Module]) -> int:
    """The number of weights of the adapters for these layers."""
    return sum((lora.r or 0) * sum(module.weight.shape) for module in targets.values())  # type: ignore[arg-type, misc]


def describe_targets(model: PreTrainedModel, lora: LoRA, key: str) -> str:
    """Which layers get adapters, and how many weights are trained. Raises ModelError."""
    targets = find_targets(model, lora, key)
    names = dict.fromkeys(name.rpartition(".")[2] for name in targets)
    trained = count_weights(lora, targets)
    total = trained + sum(parameter.numel() for parameter in model.parameters())
    return (
        f"rank {lora.r} on {len(targets)} layers ({', '.join(names)}): {trained:,} of {total:,} weights are trained "
        f"({trained / total:.2%})"
    )


def add_adapter(model: PreTrainedModel, lora: LoRA, key: str) -> None:
    """Add adapters to the model, in fp32, and freeze everything else. Raises ModelError.

    They are the same on every process and device: their random half is drawn on the CPU, from the seed alone. Layers
    that are to be removed must be gone, and the model must not be sharded or wrapped yet: the gradients of adapters
    that come later would be averaged by nobody.
    """
    peft = import_peft(key)
    config = peft.LoraConfig(
        r=lora.r,
        lora_alpha=lora.lora_alpha,
        target_modules=list(find_targets(model, lora, key)),  # of all-linear, peft makes more in some models of experts
        use_rslora=lora.use_rslora,
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
    )
    with silence_libraries(), torch.random.fork_rng(devices=[]):
        model.add_adapter(config)
    draws = torch.Generator().manual_seed(lora.seed)
    for module in model.modules():
        if hasattr(module, "lora_A"):
            for part, begin in ((module.lora_A, partial(draw_uniform, generator=draws)), (module.lora_B, torch.zeros)):
                begin_weight(part, begin)  # type: ignore[arg-type]
    model.eval()


def draw_uniform(size: torch.Size, generator: torch.Generator) -> Tensor:
    """As peft begins the matrix A, and torch a linear layer."""
    return nn.init.kaiming_uniform_(torch.empty(size), a=math.sqrt(5), generator=generator)


def begin_weight(part: nn.ModuleDict, begin: Callable[[torch.Size], Tensor]) -> None:
    """Give one matrix its first values, in fp32. peft makes it in the type of its layer, and without data on meta."""
    for linear in part.values():
        was: Any = linear.weight
        device = torch.device("cpu") if was.is_meta else was.device
        linear.weight = nn.Parameter(begin(was.shape).to(device))


# --- which model they belong to --------------------------------------------------------------------------------------


@validated(frozen=True, config=ConfigDict(extra="forbid"))
class Base:
    """The model that adapters belong to. `sha256` is a fingerprint of its weights, None if they are not here yet."""

    path: PathText
    revision: Words | None
    keep_layers: Layers | None
    sha256: str | None


def fingerprint_weights(place: Path) -> str:
    """A sha256 of names, sizes and parts of the weight files in a folder, or of one file.

    Of each file it reads the beginning, where safetensors has names, types and shapes of the weights, and 256 blocks of
    4 KiB at equal distances: less than 2 MiB. Another training changes nearly every byte and is noticed. A change of a
    few weights of a large file may not be.
    """
    digest = hashlib.sha256()
    for file in [place] if place.is_file() else list_weight_files(place):
        size = file.stat().st_size
        digest.update(f"{file.name} {size}\n".encode())
        with file.open("rb") as handle:
            digest.update(handle.read(HEADER))
            for sample in range(SAMPLES):
                handle.seek(size * sample // SAMPLES)
                digest.update(handle.read(BLOCK))
    return digest.hexdigest()


def check_base(expected: Base, given: Base, folder: Path) -> None:
    """Raises ModelError unless both are the same model. `expected` is what the adapters in `folder` belong to."""
    there = asdict(given)
    if given.sha256 is None:
        there["sha256"] = expected.sha256
    for name, was in asdict(expected).items():
        if was != there[name]:
            raise ModelError(
                f"{folder} holds adapters of another base: its {name} was {printable_text(repr(was))}, and is "
                f"{there[name]!r}; put back the model that they were trained on, or train anew with --fresh"
            )


def check_same_adapters(saved: LoRA, wanted: LoRA, folder: Path) -> None:
    """Raises ModelError unless saved adapters are of the wanted rank and scale."""
    for name in ("r", "lora_alpha", "use_rslora"):
        was, now = getattr(saved, name), getattr(wanted, name)
        if was != now:
            raise ModelError(f"{folder} holds adapters of {name}={was}, not {name}={now}; train anew with --fresh")


# --- in a folder -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SavedAdapter:
    """Adapters in a checkpoint: their folder, what they are, and what they belong to."""

    folder: Path
    lora: LoRA
    base: Base


def save_student(
    model: PreTrainedModel, folder: Path, state: Mapping[str, Tensor] | None = None, base: Base | None = None
) -> None:
    """Write the student into a checkpoint: a model folder, or, of a student with adapters, configuration and adapters.

    `state` holds the whole weights by name where the model's own are shared out over processes. `base` is needed with
    adapters.
    """
    if not is_adapted(model):
        save_model(model, folder, state)
        return
    if base is None:
        raise ValueError("adapters are saved with what they belong to")
    model.config.save_pretrained(folder)
    if model.generation_config is not None:
        model.generation_config.save_pretrained(folder)
    write_adapter(model, folder / FOLDER, state, base)


def write_adapter(model: PreTrainedModel, folder: Path, state: Mapping[str, Tensor] | None, base: Base) -> None:
    """Write the adapters as peft does, and their base: `PeftModel.from_pretrained(BASE, FOLDER)` loads them."""
    make_folder(folder)
    weights = {
        saved_name(name): value.detach().to("cpu", copy=True).contiguous()
        for name, value in (model.state_dict() if state is None else state).items()
        if OWN in name
    }
    save_file(weights, folder / WEIGHTS, {"format": "pt"})
    config: Any = model.peft_config[NAME.removeprefix(".")]
    settings = config.to_dict() | {"inference_mode": True, "revision": base.revision}
    # A set has no order, and would make another file each time.
    settings["target_modules"] = sorted(targets) if isinstance(targets := config.target_modules, set) else targets
    write_json(folder / ADAPTER, json.loads(json.dumps(settings, default=list)))
    write_json(folder / BASE, asdict(base))


def saved_name(name: str) -> str:
    """The name in peft's files of a weight of an adapter."""
    return PREFIX + name.replace(f"{NAME}.", ".")


def read_adapter(folder: Path) -> SavedAdapter | None:
    """The adapters of a checkpoint, without their weights. None for a folder that holds no such checkpoint.

    Raises BrokenModel if their files are not as tipx wrote them.
    """
    place = folder / FOLDER
    if not os.path.isfile(place / BASE):  # noqa: PTH113 - it says no of a place that may not be looked at
        return None
    for name in (ADAPTER, WEIGHTS):
        check_file(place / name)
        if not (place / name).exists():
            raise BrokenModel(f"{FOLDER}/{name} is not there")
    settings, base = read_json(place / ADAPTER), read_json(place / BASE)
    names = ("r", "lora_alpha", "target_modules", "use_rslora")
    try:
        lora = LoRA(**{name: settings[name] for name in names}, seed=0)
        return SavedAdapter(place, lora, Base(**base))
    except (KeyError, TypeError, ValidationError) as error:
        reason = error_text(error)
        raise BrokenModel(f"{FOLDER}/{ADAPTER} and {BASE} are not as tipx wrote them ({reason})") from error


def load_adapter(model: PreTrainedModel, saved: SavedAdapter, key: str) -> None:
    """Add saved adapters to the model that they belong to; they can be trained on. Raises ModelError."""
    add_adapter(model, saved.lora, key)
    file = saved.folder / WEIGHTS
    try:
        weights = load_file(file)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file} cannot be read ({error_text(error)}); take another checkpoint") from error
    ours = dict(list_own(model))
    expected = {name: value.shape for name, value in ours.items()}
    if expected != {name: value.shape for name, value in weights.items()}:
        raise ModelError(f"{file} does not fit its base {saved.base.path!r}; take another checkpoint")
    with torch.no_grad():
        for name, parameter in ours.items():
            parameter.copy_(weights[name])


def list_own(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The weights of the adapters, by their names in peft's files."""
    return ((saved_name(name), value) for name, value in model.named_parameters() if OWN in name)
