"""The prediction as tables, files and a picture."""

import json
import textwrap
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from tipx.display.fit import FittedTable
from tipx.display.palette import BLUE, GREEN, GREY, ORANGE
from tipx.display.plots import STYLE
from tipx.display.tables import show_frame
from tipx.errors import ConfigError
from tipx.files.atomic import claim_place, disk_errors, write_text
from tipx.memory.devices import DeviceSpec
from tipx.memory.duration import PARTS as TIMED
from tipx.memory.layout import Layout
from tipx.memory.predict import PARTS, PHASES
from tipx.memory.table import PAPER_COLUMN

# Hatches tell the parts apart where colours cannot.
LOOKS = {
    "weights": (BLUE, ""),
    "gradients": ("#56B4E9", "//"),
    "optimizer": (GREY, ""),
    "activations": (GREEN, "\\\\"),
    "vocabulary": (ORANGE, "xx"),
    "KV cache": ("#CC79A7", ".."),
    "kept states": ("#F0E442", "--"),
    "engine": ("#D55E00", "oo"),
}

NAMES = ("model", "selector", "ratio", "strategy", "implementation")
SHORT = {
    "peak/gradients": "grads",
    "peak/optimizer": "optim",
    "peak/activations": "activ.",
    "peak/vocabulary": "vocab",
    "peak/KV cache": "KV",
    "peak/kept states": "kept",
}
"""Headings that fit a terminal of 80 characters."""


def memory_tables(frame: pd.DataFrame, layout: Layout) -> list[FittedTable]:
    """Peaks of the phases with the paper's column if it has one, and what each peak consists of; GiB."""
    which = [c for c in NAMES if len(frame[c].unique()) > 1 or c == "ratio"]
    there = [c for c in (*PHASES, "peak", "left", PAPER_COLUMN) if frame[c].notna().any()]
    phases = round_numbers(frame[[*which, *there]])
    used = [f"peak/{part}" for part in PARTS if part != "engine" or frame["peak/engine"].any()]
    parts = round_numbers(frame[[*which, "at", *used]])
    parts.columns = [SHORT.get(str(name), str(name).removeprefix("peak/")) for name in parts.columns]
    return [
        show_frame(phases, f"predicted peak of one device, GiB ({describe_memory(frame, layout)})"),
        show_frame(parts, "what it consists of, GiB"),
        *([show_cpu(frame[[*which, *CPU]])] if layout.device == "cuda" else []),
    ]


CPU = {
    "cpu/load": "a process while it loads",
    "cpu/rest": "offloaded by a process",
    "cpu/save": "the main process while it saves",
}


def show_cpu(frame: pd.DataFrame) -> FittedTable:
    """What the CPU's memory is needed for."""
    return show_frame(round_numbers(frame).rename(columns=CPU), "memory of the CPU, GiB")


def time_tables(frame: pd.DataFrame, name: str, device: DeviceSpec) -> list[FittedTable]:
    """Hours of a run and seconds of a step by phase, and what a phase consists of."""
    frame = frame[frame["implementation"] == frame["implementation"].iloc[0]]
    which = [c for c in NAMES if len(frame[c].unique()) > 1 or c == "ratio"]
    phases = {f"{phase}, s": frame[[f"step/{part}_s" for part in parts]].sum(axis=1) for phase, parts in TIMED.items()}
    totals = frame[["step_s", "evaluations_h", "run_h"]].rename(columns=TOTALS)
    parts = frame[[*which, *(f"step/{part}_s" for parts in TIMED.values() for part in parts)]]
    parts.columns = [str(column).removeprefix("step/").removesuffix("_s") for column in parts.columns]
    said = f"predicted time on {name} ({device.source}; {device.efficiency:.0%} of its peaks)"
    if steps := int(frame["measured_steps"].max()):
        said = f"time by {steps} measured steps of the run"
    return [
        show_frame(round_numbers(pd.concat([frame[which], pd.DataFrame(phases), totals], axis=1)), said),
        show_frame(round_numbers(parts), "seconds of a step's parts"),
    ]


TOTALS = {"step_s": "step, s", "evaluations_h": "evaluations, h", "run_h": "run, h"}


def round_numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """Numbers as text of four characters or so: the embedded pair's are small, and a 70 B teacher's large."""
    return frame.map(lambda x: f"{x:.3g}" if isinstance(x, float) and 0 < x < 10 else f"{x:.1f}" if is_number(x) else x)


def is_number(x: object) -> bool:
    return isinstance(x, float) and not pd.isna(x)


def describe_memory(frame: pd.DataFrame, layout: Layout) -> str:
    """The layout in a few words."""
    first = frame.iloc[0]
    words = [str(name) for name in frame["model"].unique()]
    words += [f"{first.tokens} tokens a sequence", f"micro-batch {first.micro_batch}"]
    words += [f"checkpointing {'on' if first.gradient_checkpointing else 'off'}", layout.device]
    words += [f"{first.processes} processes"] if first.processes > 1 else []
    words += [f"weights shared by {first.sharers:.0f}"] if pd.notna(first.sharers) else []
    words += [] if layout.rollout else ["rollouts elsewhere"]
    words += ["teacher offloaded"] if first.offload == "cpu" else []
    return ", ".join(words)


KINDS = ("csv", "json", "png")


def make_folder(out: Path) -> None:
    """Raises ConfigError for a place that is no folder and cannot become one."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out}: expected a folder, got a file; give another name")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot make that folder ({error.strerror}); give another") from error
    claim_place(out, [f"memory.{kind}" for kind in KINDS])


def save_report(out: Path, frame: pd.DataFrame, layout: Layout) -> list[Path]:
    """memory.csv, memory.json and memory.png in `out`, which is there."""
    paths = [out / f"memory.{kind}" for kind in KINDS]
    records = frame.astype(object).where(frame.notna(), None).to_dict("records")
    write_text(paths[0], str(frame.to_csv(None, index=False)))
    write_text(paths[1], json.dumps({"unit": "GiB", "layout": vars(layout), "rows": records}, indent=1) + "\n")
    with disk_errors(paths[2]):
        draw_memory(frame, describe_memory(frame, layout)).savefig(paths[2], format="png")
    return paths


def draw_memory(frame: pd.DataFrame, title: str) -> Figure:
    """A bar a row, made of the parts of its peak; the paper's measured peak as a diamond."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.5, 1.6 + 0.42 * len(frame)), layout="constrained")
        axes = figure.subplots()
        places = list(range(len(frame)))
        left = pd.Series(0.0, index=frame.index)
        for part, (colour, hatch) in LOOKS.items():
            width = frame[f"peak/{part}"]
            if (width > 0.005 * frame["peak"]).any():
                axes.barh(places, width, left=left, color=colour, hatch=hatch, edgecolor="white", lw=0.5, label=part)
            left = left + width
        paper = frame[PAPER_COLUMN].astype(float)
        ends = frame["peak"].where(frame["peak"] >= paper.fillna(0), paper)  # beside the bar and the diamond
        for place, end, peak, phase in zip(places, ends, frame["peak"], frame["at"], strict=True):
            axes.annotate(f"{peak:.3g}, {phase}", (end, place), (6, 0), textcoords="offset points", va="center")
        if paper.notna().any():
            axes.plot(paper, places, "D", color="black", mec="white", ms=6, ls="", label="measured in the paper, GB")
        axes.set_yticks(places, [case_label(row, frame) for _, row in frame.iterrows()])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlim(0, 1.25 * max(frame["peak"].max(), paper.max() if paper.notna().any() else 0))
        axes.set_xlabel("GiB of one device at the highest moment of a step, and the phase that has it")
        axes.set_title(textwrap.fill(title, 80))
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
    return figure


def case_label(row: Any, frame: pd.DataFrame) -> str:
    """What a bar is, as far as it differs from the others."""
    words = [str(row[c]) for c in NAMES if c != "ratio" and len(frame[c].unique()) > 1]
    return " ".join([*words, f"ratio {row['ratio']:g}"])
