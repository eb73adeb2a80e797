"""Loads a model whose weights are shared out over processes, and writes one.

No process ever holds such a model whole. It is built without memory, its shards are made, and each process reads its
own slices of the safetensors files.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from accelerate import init_empty_weights
from huggingface_hub import snapshot_download
from torch import Tensor
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.checkpoint.state_dict_loader import load
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from tipx.models.folder import SAFETENSORS, SAFETENSORS_INDEX, list_weight_files
from tipx.models.locate import LocatedModel
from tipx.sharding import plain_class


def build_empty(config: PreTrainedConfig, dtype: str, attn: str | None, *, code: bool) -> PreTrainedModel:
    """A model of this configuration, without memory for its weights. Its buffers are there."""
    with init_empty_weights(include_buffers=False):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            config, dtype=getattr(torch, dtype), attn_implementation=attn, trust_remote_code=code
        )
    model.tie_weights()  # before they are shared out: tied weights must be one parameter of one group
    return model


def allocate_shards(model: PreTrainedModel, device: torch.device) -> None:
    """Memory for this process's shards, in place, with nothing in it yet."""

    def allocate(value: Tensor) -> Tensor:
        return torch.empty_like(value, device=device) if value.is_meta else value.to(device)

    model._apply(allocate)  # noqa: SLF001 - what `to_empty` does, which would empty the buffers too


def find_weight_files(located: LocatedModel, revision: str | None) -> list[Path]:
    """The safetensors files of a model, fetched where it is one of the hub; [] if its weights are in other files."""
    folder = located.folder
    if folder is None or not Path(located.name_or_path).is_dir():
        patterns = ["*.safetensors", SAFETENSORS_INDEX]
        folder = Path(snapshot_download(located.name_or_path, revision=revision, allow_patterns=patterns))
    return list_weight_files(folder, (SAFETENSORS, SAFETENSORS_INDEX))


@contextmanager
def open_slices(files: list[Path]) -> Iterator[HuggingFaceStorageReader]:
    """A reader of these files alone: a folder may hold others that repeat the same names."""
    with TemporaryDirectory(prefix="tipx-weights-") as view:
        for file in files:
            (Path(view) / file.name).symlink_to(file.resolve())
        yield HuggingFaceStorageReader(view)


def read_slices(wanted: dict[str, Tensor], files: list[Path]) -> bool:
    """Fill this process's shards from the files; False, and nothing is read, where a name or shape is another one.

    `wanted` is by the names in the files. transformers renames the weights of some models while it loads them.
    """
    if not files:
        return False
    with open_slices(files) as reader:
        there = reader.read_metadata().state_dict_metadata
        if any(name not in there or there[name].size != value.shape for name, value in wanted.items()):  # type: ignore[union-attr]
            return False
        load(dict(wanted), storage_reader=reader)
    return True


def take_whole(model: PreTrainedModel, whole: PreTrainedModel | None) -> None:
    """Share out the weights of a model that the main process has whole, and no other; all must call it."""
    state = {} if whole is None else whole.state_dict()
    set_model_state_dict(model, state, options=StateDictOptions(full_state_dict=True, broadcast_from_rank0=True))


def save_model(model: PreTrainedModel, folder: Path, whole: Mapping[str, Tensor] | None) -> None:
    """Write a transformers folder. `whole` are the weights of a sharded model, which has only a part of them."""
    if whole is None:
        model.save_pretrained(folder)
        return
    # A sharded model would give the folder its own class's name.
    with torch.device("meta"):
        plain: Any = plain_class(model)(model.config)
    plain.generation_config = model.generation_config
    plain.save_pretrained(folder, state_dict=dict(whole))
