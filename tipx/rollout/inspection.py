"""Whether a server's model has the student's shape: read from what vLLM prints of it, before a weight is sent.

Weights of another shape kill the server, and those of another depth are taken without a word.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from transformers import PreTrainedModel

from tipx.adapters import base_name

LINE = re.compile(r"( *)\((\w+(?:-\d+)?)\): (?:\d+ x )?(\w+)\(([^()]*)\)")
FACT = re.compile(r"(\w+)=(\d+)")
FUSED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
"""Matrices that vLLM keeps in one, one above the other."""
Shape = tuple[int, ...]


def compare_shapes(text: str, ours: Mapping[str, Shape]) -> list[str]:
    """Where the model that vLLM prints as `text` differs from the student, a few words each; empty if nowhere."""
    theirs = dict(read_shapes(text))
    there, here = count_layers(theirs), count_layers(ours)
    if there != here:
        return [f"it has {there} layers, the student {here}"]
    return [
        f"its {name} is {show_shape(theirs[name])}, the student's {show_shape(shape)}"
        for name, shape in ours.items()
        if name in theirs and theirs[name] != shape
    ]


def read_shapes(text: str) -> Iterator[tuple[str, Shape]]:
    """Name and (rows, columns) of each matrix, and (size,) of each norm, that vLLM's inspection of a model names.

    Indentation says what is part of what, and `(0-27): 28 x Layer` stands for 28 layers.
    """
    path: list[tuple[int, str]] = []
    for line in text.splitlines():
        if not (match := LINE.match(line)):
            continue
        depth, name, kind = len(match[1]), match[2], match[3]
        facts = {key: int(value) for key, value in FACT.findall(match[4])}
        path = [*(step for step in path if step[0] < depth), (depth, name)]
        if shape := module_shape(kind, facts):
            for full in spell_out([step for _, step in path]):
                yield full, shape


def module_shape(kind: str, facts: Mapping[str, int]) -> Shape:
    """The shape of a module's weight, over all of its parts; () for what has none that is told."""
    parts = facts.get("tp_size", 1)
    if "num_embeddings" in facts:
        return facts.get("org_vocab_size", facts["num_embeddings"]), facts["embedding_dim"]
    if {"in_features", "out_features"} <= facts.keys():
        return facts["out_features"], facts["in_features"]
    if {"in_features", "output_features"} <= facts.keys():
        if kind.startswith("QKV") and parts > 1:  # keys and values may be there several times
            return ()
        rows, columns = facts["output_features"], facts["in_features"]
        return (rows, columns * parts) if kind.startswith("Row") else (rows * parts, columns)
    return (facts["hidden_size"],) if "hidden_size" in facts else ()


def spell_out(path: list[str]) -> Iterator[str]:
    """The dotted names that a path stands for: one for each number of a range in it."""
    for place, step in enumerate(path):
        if match := re.fullmatch(r"(\d+)-(\d+)", step):
            for number in range(int(match[1]), int(match[2]) + 1):
                yield from spell_out([*path[:place], str(number), *path[place + 1 :]])
            return
    yield ".".join(path)


def list_shapes(model: PreTrainedModel) -> Iterator[tuple[str, Shape]]:
    """The same of the student, with the matrices that vLLM fuses fused."""
    shapes: dict[str, Any] = {
        plain.removesuffix(".weight"): tuple(value.shape)
        for name, value in model.named_parameters(remove_duplicate=False)
        if (plain := base_name(name)) is not None and plain.endswith(".weight")
    }
    for name, shape in shapes.items():
        yield name, shape
        for fused, (first, *others) in FUSED.items():
            if name.endswith(f".{first}"):
                stem = name.removesuffix(first)
                parts = [shape, *(shapes[f"{stem}{other}"] for other in others if f"{stem}{other}" in shapes)]
                yield f"{stem}{fused}", (sum(rows for rows, _ in parts), shape[1])


def count_layers(shapes: Mapping[str, Shape]) -> int:
    """Layers among dotted names: of the longest numbered list, one more than its last number."""
    numbers = [int(step) for name in shapes for step in name.split(".") if step.isdecimal()]
    return max(numbers, default=-1) + 1


def show_shape(shape: Shape) -> str:
    return " x ".join(map(str, shape))
