"""GGUF files as plain transformers folders: converted once, kept in the user's cache.

transformers reads GGUF, but takes most of a minute for what a safetensors folder gives in a second, and may keep the
weights packed; a model so loaded cannot be saved again. So it is loaded once, in the dtype asked for, and saved.
"""

import hashlib
import stat
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from filelock import FileLock
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from tipx.errors import ModelError
from tipx.files import MANIFEST, cache_dir, write_folder
from tipx.folder import Broken
from tipx.untrusted import bounded, foreign, printable, said

SUFFIX = ".gguf"
MAGIC = b"GGUF"
SIZES = (".block_count", ".embedding_length", ".feed_forward_length", ".vocab_size", ".head_count", ".expert_count")
"""Ends of the names of what a file says of its tensors."""
SECONDS, MEMORY = 120.0, 2**32
LAYOUT = 1
"""Counted up when what is written changes, so that older folders are not taken for it."""


def converted(file: Path, dtype: str, key: str) -> Path:
    """The folder with the model and tokenizer of `file`; made if it is not there yet.

    Raises ModelError, naming `key`, if the file cannot be read or holds no tokenizer; RunFailed if the disk is full.
    """
    folder = place(file, dtype)
    if (folder / MANIFEST).exists():
        return folder
    if find_spec("gguf") is None:
        raise ModelError(f"{key}: {file} needs the package gguf; type: pip install gguf")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(
            f"{key}: cannot write {folder.parent} ({error.strerror}), where {file.name} is to be converted; give "
            "another folder: TIPX_CACHE=/path tipx ..."
        ) from error
    # Of several processes that need it, one converts.
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if not (folder / MANIFEST).exists():
            write_folder(folder, lambda aside: convert(file, dtype, key, aside), what="converted model")
    return folder


def place(file: Path, dtype: str) -> Path:
    """Where the converted file goes: other bytes at the same path, or another transformers, are another folder."""
    seen = file.stat()
    facts = [str(file.resolve()), seen.st_size, seen.st_mtime_ns, dtype, transformers.__version__, LAYOUT]
    return cache_dir() / "gguf" / f"{file.stem}-{hashlib.sha256(repr(facts).encode()).hexdigest()[:12]}"


def convert(file: Path, dtype: str, key: str, folder: Path) -> None:
    """Write the model and tokenizer of `file` to `folder`; raises ModelError."""
    options: dict[str, Any] = {"gguf_file": file.name, "trust_remote_code": False, "local_files_only": True}
    try:
        check_facts(file)
        tokenizer = AutoTokenizer.from_pretrained(file.parent, **options)
        packed = AutoModelForCausalLM.from_pretrained(file.parent, dtype=getattr(torch, dtype), **options, **dense())
        model = plain(packed)
    except Exception as error:
        if not foreign(error):
            raise
        reason, remedy = said(error), f"give the original model's folder: {key}=/models/{printable(file.stem)}"
        shown = printable(str(file))
        if "build a tokenizer" in str(error):
            text = f"{key}: {shown} holds no tokenizer that transformers can read ({reason}); {remedy}"
        else:
            text = f"{key}: {shown} cannot be read as a GGUF model ({reason}); fetch it again, or {remedy}"
        raise ModelError(text) from error
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def check_facts(file: Path) -> None:
    """Raises Broken where the sizes that a file names are not those of its weights; what it is built for comes next."""
    from gguf import GGUFReader

    if not stat.S_ISREG(file.stat().st_mode):
        raise Broken("it is no file")
    with file.open("rb") as opened:
        if opened.read(len(MAGIC)) != MAGIC:
            raise Broken("it is not a GGUF file")
    with bounded(SECONDS, MEMORY):
        reader = GGUFReader(file)
        tensors, size = len(reader.tensors), file.stat().st_size
        for name, field in reader.fields.items():
            if not name.endswith(SIZES) or len(field.data) != 1:
                continue
            value = field.contents()
            most = tensors if name.endswith(".block_count") else 8 * size
            if isinstance(value, int | float) and value > most:
                raise Broken(f"{name} is {value}, and it holds {tensors} tensors in {size} bytes")


def dense() -> dict[str, Any]:
    """What makes transformers unpack the weights; before 5.2x it knew nothing else."""
    config = getattr(transformers, "GgufConfig", None)
    return {} if config is None else {"quantization_config": config(dequantize=True)}


def plain(packed: PreTrainedModel) -> PreTrainedModel:
    """The same weights in a model that does not think it is quantised, and so can be saved."""
    facts = {name: value for name, value in packed.config.to_dict().items() if name != "quantization_config"}
    with torch.device("meta"):
        model: PreTrainedModel = type(packed)(type(packed.config).from_dict(facts))
    model.load_state_dict(packed.state_dict(), assign=True)
    model.tie_weights()
    model.generation_config = packed.generation_config
    return model
