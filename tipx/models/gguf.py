"""Converts GGUF files to plain transformers folders, once, in the user's cache.

transformers reads GGUF files, but slowly: most of a minute for a model that loads in a second from safetensors. It may
also keep the weights quantised, and such a model cannot be saved again. So a GGUF model is loaded once and saved: in
its own dtype, or in the requested dtype if it is quantised. Configuration and tokenizer have a cache folder of their
own, which is made in seconds.
"""

import errno
import hashlib
import json
import shutil
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import torch
import transformers
from filelock import FileLock
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    modeling_gguf_pytorch_utils,
)
from transformers.utils.logging import set_tqdm_hook

from tipx.display.console import console
from tipx.display.progress import bar
from tipx.errors import ModelError, TipxError
from tipx.files.atomic import MANIFEST, cache_dir, write_folder
from tipx.files.untrusted import bounded_resources, error_text, is_foreign, printable_text
from tipx.models.folder import FLOAT_TYPES, GGUF_FACTS, BrokenModel, read_json

SUFFIX = ".gguf"
MAGIC = b"GGUF"
SIZE_FIELDS = (
    ".block_count",
    ".embedding_length",
    ".feed_forward_length",
    ".vocab_size",
    ".head_count",
    ".expert_count",
)
"""Ends of the names of the fields that describe sizes of tensors."""
NO_TOKENIZER = "Cannot build a tokenizer", "for a LLaMa tokenizer"
"""What transformers says of a file without one, from 5.17 on and before."""
SECONDS, MEMORY = 120.0, 2**32
LAYOUT = 2
"""Raise this number when the content of a cache folder changes, so that older folders are not used."""


def convert_settings(file: Path, key: str) -> Path:
    """The cache folder with the configuration, the tokenizer and the facts about the weights of `file`.

    It is made in seconds, if it is not there. Raises ModelError, which names `key`, if the file cannot be read or holds
    no tokenizer, and RunFailed if the disk is full.
    """
    return fill_cache_folder(file, "head", key, lambda folder: write_settings(file, folder), "converted model")


def convert_model(file: Path, dtype: str, key: str) -> Path:
    """The cache folder with the whole model of `file`. It is made, with a message, if it is not there.

    Weights of a floating-point dtype keep it. Quantised weights are dequantised to `dtype`. Raises the errors of
    `convert_settings`, and ModelError if the disk has no room for the model.
    """
    settings = convert_settings(file, key)
    facts = read_json(settings / GGUF_FACTS)
    target = str(facts["dtype"] or dtype)

    def fill(folder: Path) -> None:
        announce_conversion(file, cache_folder(file, target), target, facts, key)
        write_model(file, target, int(facts["tensors"]), folder)

    return fill_cache_folder(file, target, key, fill, "converted model")


def fill_cache_folder(file: Path, kind: str, key: str, fill: Callable[[Path], None], what: str) -> Path:
    """A folder of the cache, filled by `fill` if it is not there yet."""
    folder = cache_folder(file, kind)
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

    def fill_or_explain(aside: Path) -> None:
        with translate_errors(file, key):
            fill(aside)

    # If several processes need the folder, one converts and the others wait.
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if not (folder / MANIFEST).exists():
            write_folder(folder, fill_or_explain, what=what)
    return folder


def cache_folder(file: Path, kind: str) -> Path:
    """The cache folder for a file. A changed file at the same path, or another transformers, has another folder."""
    status = file.stat()
    facts = [str(file.resolve()), status.st_size, status.st_mtime_ns, kind, transformers.__version__, LAYOUT]
    return cache_dir() / "gguf" / f"{file.stem}-{hashlib.sha256(repr(facts).encode()).hexdigest()[:12]}"


@contextmanager
def translate_errors(file: Path, key: str) -> Iterator[None]:
    """Inside, an error of a library that reads the file becomes a ModelError of one line."""
    try:
        yield
    except TipxError:
        raise
    except Exception as error:
        if not is_foreign(error) or (isinstance(error, OSError) and error.errno == errno.ENOSPC):
            raise
        reason, remedy = (
            error_text(error),
            f"give the original model's folder: {key}=/models/{printable_text(file.stem)}",
        )
        shown = printable_text(str(file))
        if any(words in str(error) for words in NO_TOKENIZER):
            text = f"{key}: {shown} holds no tokenizer that transformers can read ({reason}); {remedy}"
        else:
            text = f"{key}: {shown} cannot be read as a GGUF model ({reason}); fetch it again, or {remedy}"
        raise ModelError(text) from error


def load_options(file: Path) -> dict[str, Any]:
    return {"gguf_file": file.name, "trust_remote_code": False, "local_files_only": True}


def write_settings(file: Path, folder: Path) -> None:
    """Write the configuration, the tokenizer and the facts about the weights of `file` to `folder`."""
    dtype, tensors, elements = read_facts(file)
    with redirect_bars(lambda _: None):
        tokenizer = AutoTokenizer.from_pretrained(file.parent, **load_options(file))
        config: PreTrainedConfig = AutoConfig.from_pretrained(file.parent, **load_options(file))
    config.dtype = getattr(torch, dtype or "float32")
    tokenizer.save_pretrained(folder)
    config.save_pretrained(folder)
    GenerationConfig.from_model_config(config).save_pretrained(folder)
    (folder / GGUF_FACTS).write_text(json.dumps({"dtype": dtype, "tensors": tensors, "elements": elements}))


def announce_conversion(file: Path, folder: Path, dtype: str, facts: Mapping[str, Any], key: str) -> None:
    """Print what will be written and how much. Raises ModelError if the disk has no room for it."""
    size, free = int(facts["elements"]) * getattr(torch, dtype).itemsize, shutil.disk_usage(folder.parent).free
    output = f"{format_bytes(size)} in {dtype}{'' if facts['dtype'] else ', dequantised,'}"
    console(stderr=True).print(
        f"converting {file} ({format_bytes(file.stat().st_size)}), once: writes {output} to {folder}; TIPX_CACHE=PATH "
        "chooses another place",
        soft_wrap=True,
        highlight=False,
    )
    if size > free:
        raise ModelError(
            f"{key}: {file.name} converted takes {format_bytes(size)}, and {folder.parent} has {format_bytes(free)} "
            "left; free space, or give another folder: TIPX_CACHE=/path tipx ..."
        )


def format_bytes(size: int) -> str:
    return f"{size / 1e9:.3g} GB" if size >= 1e8 else f"{size / 1e6:.3g} MB"


def write_model(file: Path, dtype: str, tensors: int, folder: Path) -> None:
    """Write the model and the tokenizer of `file` to `folder`, with one progress bar."""
    with bar(f"converting {file.name}", 2 * tensors) as tick, redirect_bars(tick):
        tokenizer = AutoTokenizer.from_pretrained(file.parent, **load_options(file))
        packed = AutoModelForCausalLM.from_pretrained(
            file.parent, dtype=getattr(torch, dtype), **load_options(file), **dequantize_options()
        )
        without_quantization(packed).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@contextmanager
def redirect_bars(tick: Callable[[int], None]) -> Iterator[None]:
    """Inside, transformers draws no progress bars. Instead `tick` is called for each step of any of them."""

    def make_bar(_: object, args: Any, kwargs: Any) -> LibraryBar:
        return LibraryBar(tick, *args, **kwargs)

    reader: Any = modeling_gguf_pytorch_utils
    saved_hook, saved_tqdm = set_tqdm_hook(make_bar), reader.tqdm
    reader.tqdm = partial(LibraryBar, tick)  # this module uses tqdm without the hook
    try:
        yield
    finally:
        set_tqdm_hook(saved_hook)
        reader.tqdm = saved_tqdm


class LibraryBar:
    """Takes the place of tqdm, with the methods that transformers uses."""

    def __init__(self, tick: Callable[[int], None], iterable: Iterable[Any] = (), **_: object) -> None:
        self.tick, self.iterable = tick, iterable

    def __iter__(self) -> Iterator[Any]:
        for item in self.iterable:
            yield item
            self.tick(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def update(self, n: int = 1) -> None:
        self.tick(n)

    def close(self) -> None: ...

    def set_postfix(self, *_: object, **__: object) -> None: ...


def read_facts(file: Path) -> tuple[str | None, int, int]:
    """(dtype of the weights, number of tensors, number of elements) of a GGUF file.

    The dtype is None if the weights are quantised, or if no single dtype holds all of them. Raises BrokenModel if the
    file's fields describe more than the file holds.
    """
    from gguf import GGUFReader

    if not stat.S_ISREG(file.stat().st_mode):
        raise BrokenModel("it is not a file")
    with file.open("rb") as opened:
        if opened.read(len(MAGIC)) != MAGIC:
            raise BrokenModel("it is not a GGUF file")
    with bounded_resources(SECONDS, MEMORY):
        reader = GGUFReader(file)
        tensors, size = len(reader.tensors), file.stat().st_size
        for name, field in reader.fields.items():
            if not name.endswith(SIZE_FIELDS) or len(field.data) != 1:
                continue
            value = field.contents()
            most = tensors if name.endswith(".block_count") else 8 * size
            if isinstance(value, int | float) and value > most:
                raise BrokenModel(f"{name} is {value}, and it holds {tensors} tensors in {size} bytes")
        return find_lossless_dtype(reader.tensors), tensors, sum(int(tensor.n_elements) for tensor in reader.tensors)


def find_lossless_dtype(tensors: Sequence[Any]) -> str | None:
    """The dtype of most weights, if it holds all others without loss (norms are often in float32). Else None."""
    from gguf import dequantize

    sizes: Counter[str] = Counter()
    for tensor in tensors:
        sizes[tensor.tensor_type.name] += int(tensor.n_elements)
    most = sizes.most_common(1)[0][0] if sizes else ""
    if most not in FLOAT_TYPES or not sizes.keys() <= FLOAT_TYPES.keys():
        return None
    dtype = getattr(torch, FLOAT_TYPES[most])
    for tensor in tensors:
        if tensor.tensor_type.name != most:
            values = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
            if not torch.equal(values.to(dtype).to(values.dtype), values):
                return None
    return FLOAT_TYPES[most]


def dequantize_options() -> dict[str, Any]:
    """The option that makes transformers dequantise the weights. Versions without GgufConfig always do."""
    config = getattr(transformers, "GgufConfig", None)
    return {} if config is None else {"quantization_config": config(dequantize=True)}


def without_quantization(packed: PreTrainedModel) -> PreTrainedModel:
    """The same weights in a model whose configuration does not say that it is quantised, so that it can be saved."""
    facts = {name: value for name, value in packed.config.to_dict().items() if name != "quantization_config"}
    with torch.device("meta"):
        model: PreTrainedModel = type(packed)(type(packed.config).from_dict(facts))
    model.load_state_dict(packed.state_dict(), assign=True)
    model.tie_weights()
    model.generation_config = packed.generation_config
    return model
