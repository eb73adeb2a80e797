"""Predictions as rows, one for each combination of overrides and implementation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from tipx import config
from tipx.errors import ConfigError
from tipx.memory.architectures import load_architecture
from tipx.memory.devices import GIB, DeviceSpec
from tipx.memory.duration import predict_time
from tipx.memory.layout import Implementation, Layout, kept_share
from tipx.memory.predict import PARTS, PHASES, Prediction, predict_memory
from tipx.models.pair import ModelSource, Pair
from tipx.report import paper_numbers as paper
from tipx.runs.directory import Run
from tipx.runs.mark import is_run
from tipx.runs.place import run_path
from tipx.runs.reader import StoredRun
from tipx.train.experiment import Experiment

SHAPE = (
    "model_type",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "tie_word_embeddings",
)
PAPER_COLUMN = "paper, GB"


def memory_frame(
    overrides: Sequence[str],
    layout: Layout,
    implementation: Implementation | Literal["both"],
    config_dir: Path | None = None,
    device: DeviceSpec | None = None,
) -> pd.DataFrame:
    """One row a combination, GiB, with the paper's measured peak if it has one. Raises ConfigError, ModelError.

    With a device also seconds and hours on it.
    """
    rows = []
    hows: tuple[Implementation, ...] = ("materialise", "tiled") if implementation == "both" else (implementation,)
    for words in config.expand_overrides(overrides, config_dir):
        cfg, chosen = config.compose_with_choices(words, "train", config_dir)
        exp = config.build(cfg, config_dir)
        if not isinstance(exp, Experiment):
            raise ConfigError(f"{' '.join(words)}: no training run; expected overrides of `tipx train`")
        times = time_cells(exp, layout, device, run_path(config.resolve(cfg), chosen)) if device else {}
        for how in hows:
            row = {"model": chosen["model"], "selector": chosen["selector"], "ratio": exp.ratio}
            row |= {"strategy": exp.hardware.strategy, "implementation": how}
            row |= prediction_cells(predict_memory(exp, layout, how), layout) | {"offload": exp.model.teacher.offload}
            papers = papers_models(chosen["model"], exp.model)
            row[PAPER_COLUMN] = paper_gb(chosen["model"], chosen["selector"], kept_share(exp)) if papers else None
            rows.append(row | times)
    return pd.DataFrame(rows)


def prediction_cells(prediction: Prediction, layout: Layout) -> dict[str, Any]:
    """Peaks of the phases, the highest of them, what it consists of, what it leaves, and what the CPU holds; GiB."""
    phases = {name: sum(parts.values()) / GIB for name, parts in prediction.phases.items()}
    at_peak = prediction.phases[prediction.highest]
    return (
        {name: phases.get(name) for name in PHASES}
        | {"peak": prediction.peak / GIB, "at": prediction.highest}
        | {"left": None if layout.memory is None else (layout.memory - prediction.peak) / GIB}
        | {f"peak/{part}": at_peak[part] / GIB for part in PARTS}
        | {f"cpu/{when}": size / GIB for when, size in prediction.cpu.items()}
        | {
            "processes": prediction.sizes.processes,
            "sharers": None if prediction.sizes.sharing is None else prediction.sizes.sharing.size,
            "tokens": prediction.sizes.length,
            "micro_batch": prediction.sizes.micro_batch,
            "gradient_checkpointing": prediction.sizes.checkpointing,
        }
    )


def time_cells(exp: Experiment, layout: Layout, device: DeviceSpec, run: Path) -> dict[str, Any]:
    """Seconds of a step and its parts, and hours of all; corrected by the steps that `run` has made so far."""
    time = predict_time(exp, layout, device)
    if is_run(run):
        time = time.correct(StoredRun(Run(run)).rows)
    parts = {f"step/{name}_s": seconds for name, seconds in time.parts.items()}
    hours = {"evaluations_h": None if time.evaluation_s is None else time.evaluations_h, "run_h": time.run_h}
    return parts | {"step_s": time.step_s} | hours | {"measured_steps": time.measured_steps}


def paper_gb(model: str, selector: str, ratio: float) -> float | None:
    """The paper's measured peak of that rule, or of every token where all are kept; None where it has none."""
    found = paper.fact(model, selector, ratio, None, "memory")
    return None if found is None else found.value


def papers_models(model: str, pair: Pair) -> bool:
    """Whether a pair is that of the shipped preset `model`, wherever it lies: of the same sizes, with all layers."""
    if model not in {key[0] for key in paper.facts()}:
        return False
    preset: Experiment = config.build(config.load([f"model={model}"], "train"))
    theirs: dict[str, ModelSource] = {"teacher": preset.model.teacher, "student": preset.model.student}
    ours: dict[str, ModelSource] = {"teacher": pair.teacher, "student": pair.student}
    return all(model_shape(role, ours[role]) == model_shape(role, theirs[role]) for role in theirs)


def model_shape(role: str, source: ModelSource) -> list[Any]:
    """What a model's memory depends on."""
    found = load_architecture(role, source).get_text_config()
    return [getattr(found, name, None) for name in SHAPE]
