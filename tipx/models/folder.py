"""Reads and checks a model folder as data, before transformers reads it.

The checks are cheap and find most broken folders. Every function raises BrokenModel, whose text names the file and says
what is wrong with it.
"""

import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open

from tipx.files.untrusted import printable_text

GGUF_FACTS = "gguf.json"
"""tipx writes the facts about a GGUF file's weights here, in the folder with its configuration and tokenizer."""
CONFIG, ADAPTER = "config.json", "adapter_config.json"
SAFETENSORS, SAFETENSORS_INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED, PICKLED_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
WEIGHT_FILES = (SAFETENSORS, SAFETENSORS_INDEX, PICKLED, PICKLED_INDEX)
"""In the order in which transformers looks for them."""
SMALL_JSON = (
    CONFIG,
    ADAPTER,
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "preprocessor_config.json",
    "processor_config.json",
    SAFETENSORS_INDEX,
    PICKLED_INDEX,
)
"""JSON files that are read whole before anything else."""
LARGE_JSON = ("tokenizer.json", "vocab.json")
"""JSON files of megabytes. They are read here only to find out which file is broken."""
OTHER_FILES = ("tokenizer.model", "merges.txt", "vocab.txt", "chat_template.jinja", SAFETENSORS, PICKLED)
FLOAT_TYPES = {"F64": "float64", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}
MAX_JSON_BYTES = 2**27
MAX_LAYERS = 10_000
"""More than any model has. transformers makes lists of that length before it looks at a weight."""
KERNEL_SETTINGS = ("attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation")
"""Settings that may name a repository of the hub. transformers then runs compiled code from there."""


class BrokenModel(ValueError):
    """A model folder that cannot be used. The text names the file."""


class WeightCounts(NamedTuple):
    """The number of tensors on disk (None if not known), and the largest number of elements that they may have."""

    tensors: int | None
    elements: int


def read_checked_config(folder: Path, *, code: bool) -> dict[str, Any]:
    """The content of config.json, after a check of all small files. `code` says that the folder's code may run."""
    for name in (*SMALL_JSON, *LARGE_JSON, *OTHER_FILES):
        check_file(folder / name)
    whole = any((folder / name).exists() for name in WEIGHT_FILES)
    if (folder / ADAPTER).exists():
        situation = "beside a model" if whole else "and no model"
        raise BrokenModel(
            f"it holds a LoRA adapter ({ADAPTER}) {situation}: merge it into its base model first, in Python with "
            "peft: AutoPeftModelForCausalLM.from_pretrained(FOLDER).merge_and_unload().save_pretrained(MERGED), and "
            "put the tokenizer's files beside it"
        )
    if not (folder / CONFIG).exists():
        raise BrokenModel(f"there is no {CONFIG} in it")
    contents = {name: read_json(folder / name) for name in SMALL_JSON if (folder / name).exists()}
    for index in (SAFETENSORS_INDEX, PICKLED_INDEX):
        if index in contents:
            find_shards(folder, index, contents[index])
    config = contents[CONFIG]
    for key, value in walk_items(config):
        if key.endswith(("layer", "layers")) and isinstance(value, int | float) and value > MAX_LAYERS:
            raise BrokenModel(f"{CONFIG}: {key} is {value}, and no model has more than {MAX_LAYERS}")
        if key in KERNEL_SETTINGS and not code and "/" in str(value):
            raise BrokenModel(
                f"{CONFIG}: {key} names {printable_text(repr(value))}, which transformers would fetch from the hub and "
                "run; remove the line"
            )
    return config


def check_file(path: Path) -> None:
    """Raises BrokenModel if the path exists but is not a readable file. Reading a device or a pipe may never end."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink():
            raise BrokenModel(f"{path.name} is a link to nothing") from None
        return
    except OSError as error:
        raise BrokenModel(f"{path.name} cannot be read ({error.strerror})") from error
    if not stat.S_ISREG(mode):
        raise BrokenModel(f"{path.name} is not a file")
    if not os.access(path, os.R_OK):
        raise BrokenModel(f"{path.name} cannot be read (Permission denied)")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file."""
    if (size := path.stat().st_size) > MAX_JSON_BYTES:
        raise BrokenModel(f"{path.name} is too long ({size} bytes)")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:  # bytes that are not UTF-8 are a ValueError, too
        raise BrokenModel(f"{path.name} is not a valid JSON file: {printable_text(str(error))}") from error
    if not isinstance(value, dict):
        raise BrokenModel(f"{path.name} holds {printable_text(json.dumps(value))[:40]}, expected an object in braces")
    return value


def walk_items(tree: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value of nested objects, at any depth."""
    waiting = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping):
            yield from ((str(key), value) for key, value in part.items())
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


def find_shards(folder: Path, index: str, content: Mapping[str, Any]) -> list[Path]:
    """The files that an index names. They must lie in the folder itself."""
    weight_map = content.get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise BrokenModel(f"{index}: weight_map is not the name of a file for each weight")
    names = sorted(set(weight_map.values()))
    for name in names:
        if PurePosixPath(name).name != name or "\\" in name:
            raise BrokenModel(f"{index} names {printable_text(repr(name))}, which is outside the folder")
        check_file(folder / name)
        if not (folder / name).exists():
            raise BrokenModel(f"{index} names {printable_text(repr(name))}, which is not there")
    return [folder / name for name in names]


def list_parts(folder: Path, name: str) -> list[Path]:
    """The files that hold the weights, where the first file that transformers looks for is `name`: it, or its parts."""
    return find_shards(folder, name, read_json(folder / name)) if name.endswith(".json") else [folder / name]


def list_weight_files(folder: Path, names: Sequence[str] = WEIGHT_FILES) -> list[Path]:
    """The weight files that transformers reads in a folder; [] if none of `names` is there."""
    first = next((name for name in names if (folder / name).exists()), None)
    return [] if first is None else list_parts(folder, first)


def count_weights(folder: Path, config: Mapping[str, Any]) -> WeightCounts | None:
    """The counts of the weights on disk. None if there are no weights.

    The headers of safetensors files say the numbers of elements. For other files, and for quantised weights, which pack
    several elements into one, the size in bytes gives an upper bound (one bit for each element if quantised).
    """
    named = config.get("transformers_weights")
    names = (named,) if isinstance(named, str) and PurePosixPath(named).name == named else WEIGHT_FILES
    first = next((name for name in names if (folder / name).exists()), None)
    if first is None:
        facts = read_json(folder / GGUF_FACTS) if (folder / GGUF_FACTS).exists() else {}
        complete = all(type(facts.get(name)) is int for name in ("tensors", "elements"))
        return WeightCounts(facts["tensors"], facts["elements"]) if complete else None
    files = list_parts(folder, first)
    size = sum(file.stat().st_size for file in files)
    packed = any(key == "quantization_config" and value for key, value in walk_items(config))
    if first in (PICKLED, PICKLED_INDEX):
        return WeightCounts(None, 8 * size if packed else size)
    shapes = [shape for file in files for shape in read_tensor_sizes(file)]
    return WeightCounts(len(shapes), 8 * size if packed else sum(shapes))


def read_tensor_sizes(file: Path) -> list[int]:
    """The number of elements of each tensor of a safetensors file. Raises BrokenModel if the file is cut short."""
    try:
        with safe_open(file, framework="pt") as opened:
            return [prod(opened.get_slice(name).get_shape()) for name in opened.keys()]  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise BrokenModel(
            f"{file.name} is cut short or is not a safetensors file ({printable_text(str(error))})"
        ) from error


def read_first_dtype(folder: Path) -> str | None:
    """torch's name for the dtype of the first floating-point tensor. None if there is no safetensors file."""
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt") as opened:
                kinds = [opened.get_slice(name).get_dtype() for name in opened.keys()]  # noqa: SIM118 - no mapping
        except (SafetensorError, OSError) as error:
            raise BrokenModel(
                f"{file.name} is cut short or is not a safetensors file ({printable_text(str(error))})"
            ) from error
        if floats := [FLOAT_TYPES[kind] for kind in kinds if kind in FLOAT_TYPES]:
            return floats[0]
    return None


def find_fault(folder: Path) -> str | None:
    """The fault of the first broken file, None if there is none. Reads every JSON file and every header of weights."""
    try:
        for name in (*SMALL_JSON, *LARGE_JSON):
            if (folder / name).exists():
                read_json(folder / name)
        for file in sorted(folder.glob("*.safetensors")):
            read_tensor_sizes(file)
    except (ValueError, OSError) as error:
        return str(error)
    return None
