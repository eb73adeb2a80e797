"""Pictures of what happened during training, for each row of a table."""

import textwrap
from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tipx.display.palette import DASHES, GREY, ORANGE, PALETTE, QUADRANTS
from tipx.errors import ReportError
from tipx.report.keys import label
from tipx.report.metrics import metric
from tipx.report.spec import FigureSpec
from tipx.report.table import Table
from tipx.runs import metric_keys as keys
from tipx.runs.reader import StoredRun

WIDE, MOST = 4, 16
"""Panels in one line, and in one figure: the first rows of a long table."""
TALL = 17
"""Entries in one column of a legend."""
SMOOTH = 10
"""Steps of a rolling mean."""
TOKENS = 1500
"""Of one kind in a scatter: more would hide each other."""


def groups(table: Table) -> dict[str, list[StoredRun]]:
    """The runs behind each row (and column, but for its benchmark), by what they are called; each once."""
    found: dict[str, dict[Any, StoredRun]] = {}
    places = zip(table.column_keys, zip(*[c.values for c in table.columns], strict=True), strict=True)  # noqa: PD011
    varying = [i for i, (key, seen) in enumerate(places) if key != "benchmark" and len({*seen}) > 1]
    for row in table.rows:
        for column in table.columns:
            name = label([*row, *(one for i, one in enumerate(column.values) if i in varying)])
            for one in table.cell(row, column).measured:
                found.setdefault(name, {})[one.run.path] = one.run
    return {name: list(runs.values()) for name, runs in found.items()}


def series(runs: Sequence[StoredRun], key: str) -> pd.DataFrame:
    """Mean, standard error and number of runs at each step that all of them have."""
    lines = [pd.Series(run.rows.series(key)) for run in runs]
    frame = pd.concat([line.astype(float) for line in lines if len(line)], axis=1, join="inner").sort_index()
    return pd.DataFrame({"mean": frame.mean(axis=1), "se": frame.sem(axis=1).fillna(0), "n": frame.shape[1]})


def logged(runs: Sequence[StoredRun], key: str) -> bool:
    return any(key in run.rows.names for run in runs)


def curves(table: Table, one: FigureSpec) -> Figure:
    """A line for each row against the step, with the standard error over seeds as a band."""
    name = one.value or table.report.values[0]  # noqa: PD011 - no frame
    found = groups(table)
    drawn = [key for key in keys_of(table, name) if any(logged(runs, key) for runs in found.values())]
    if not drawn:
        raise ReportError(
            f"figures: curves of {name!r}: no run logged it while training "
            f"(loop.eval_every=50 would); name a key of metrics.jsonl, e.g. value: {keys.REVERSE_KL.of('all')}"
        )
    figure = Figure(figsize=(1.0 + 3.6 * len(drawn) + 1.5 * ceil(len(found) / TALL), 3.6), layout="constrained")
    for axes, key in zip(figure.subplots(1, len(drawn), squeeze=False)[0], drawn, strict=True):
        scale = 100 if keys.group(key) == keys.EVAL else 1
        for i, (name, runs) in enumerate(found.items()):
            if logged(runs, key):
                draw_band(axes, series(runs, key), scale, name, i)
        axes.set_xlabel("step")
        axes.set_title(f"{key}, %" if scale > 1 else key)
    legend(figure, figure.axes[0])
    most = max(len(runs) for runs in found.values())
    bands = f"bands: ± 1 standard error over {most} seeds" if most > 1 else "one seed"
    titled(figure, table.report.title, bands)
    return figure


def keys_of(table: Table, name: str) -> list[str]:
    """Keys of metrics.jsonl: one for each benchmark if the value is measured on them."""
    if keys.is_key(name):
        return [name]
    if metric(name).source == "heldout":
        return [keys.held_out(name)]
    names = {m.benchmark: None for cell in table.filled for m in cell.measured if m.benchmark}
    return [keys.evaluation(benchmark, name) for benchmark in names]


def draw_band(axes: Any, line: pd.DataFrame, scale: float, name: str, i: int) -> None:
    """Smoothed if there is a value for every step."""
    if len(line) > 4 * SMOOTH:
        line = line.rolling(SMOOTH, min_periods=1).mean()
    mean, error = line["mean"] * scale, line["se"] * scale
    colour, dash = PALETTE[i % len(PALETTE)], DASHES[i // len(PALETTE) % len(DASHES)]
    axes.plot(line.index, mean, color=colour, ls=dash, lw=1.4, label=name, marker="o" if len(line) < 15 else None, ms=3)
    axes.fill_between(line.index, mean - error, mean + error, color=colour, alpha=0.18, lw=0)


def legend(figure: Figure, axes: Any) -> None:
    """Beside the axes: no bar and no line is covered."""
    handles, texts = axes.get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside right upper", ncols=ceil(len(texts) / TALL), fontsize=7.5)


def titled(figure: Figure, title: str, remark: str) -> None:
    """Above everything, in lines that end before the figure does."""
    wide = int(figure.get_figwidth() * 11)
    text = "\n".join([*textwrap.wrap(title, wide), *textwrap.wrap(remark, wide)])
    figure.suptitle(text, x=0.01, ha="left", fontsize=9)


def panels(count: int, height: float) -> tuple[Figure, list[Any]]:
    """A grid of equal axes."""
    wide = min(count, WIDE)
    figure = Figure(figsize=(max(4.0, 2.5 * wide), height * ceil(count / wide) + 0.7), layout="constrained")
    grid = figure.subplots(ceil(count / wide), wide, squeeze=False, sharex=True, sharey=True)
    for axes in grid.flat[count:]:
        axes.set_axis_off()
    for axes in grid.flat[:count]:
        axes.tick_params(labelbottom=True)  # also where nothing is below
    return figure, list(grid.flat[:count])


def quadrants(table: Table, _: FigureSpec) -> Figure:
    """Shares of tokens in the four quadrants over training, a panel for each row; mean over seeds."""
    found = {name: runs for name, runs in groups(table).items() if logged(runs, keys.QUADRANT_FRAC.of("q1"))}
    if not found:
        raise ReportError("figures: quadrants: no run logged them; set loop.monitor_every=1")
    figure, axes = panels(min(len(found), MOST), 2.2)
    for one, (name, runs) in zip(axes, found.items(), strict=False):
        lines = [series(runs, key)["mean"].rolling(SMOOTH, min_periods=1).mean() for key in QUADRANTS]
        colours = [colour for _, colour in QUADRANTS.values()]
        one.stackplot(
            lines[0].index, *lines, colors=colours, labels=[text for text, _ in QUADRANTS.values()], alpha=0.85
        )
        one.set_title(f"{name} (n={len(runs)})", fontsize=8)
        one.set_ylim(0, 1)
        one.set_xlabel("step")
    axes[0].set_ylabel("share of tokens")
    handles, texts = axes[0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside lower center", ncols=4, fontsize=8)
    titled(figure, table.report.title, "shares of tokens in the quadrants, mean over n seeds")
    return figure


def scatter(table: Table, _: FigureSpec) -> Figure:
    """Entropy against divergence of the tokens of one run of each row, kept ones coloured; at its last saved step."""
    rows = list(groups(table).items())[: 2 * MOST]
    found = {name: tokens for name, runs in rows if (tokens := last_tokens(runs[0])) is not None}
    if not found:
        raise ReportError(
            "figures: scatter: no run saved rollouts with entropy and divergence; set loop.sample_every=50"
        )
    figure, axes = panels(min(len(found), MOST), 2.4)
    for one, (name, tokens) in zip(axes, found.items(), strict=False):
        share = tokens["kept"].mean()
        for kept, colour, marker in ((False, GREY, "x"), (True, ORANGE, "o")):
            part = tokens[tokens["kept"] == kept].iloc[:TOKENS]
            one.scatter(
                part["entropy"],
                part["divergence"],
                s=7,
                c=colour,
                marker=marker,
                alpha=0.6,
                lw=0.6 if marker == "x" else 0,
            )
        one.set_title(f"{name} ({share:.0%} of {len(tokens)} kept)", fontsize=8)
        one.set_yscale("log")
        one.set_xlabel("student's entropy, nats")
    axes[0].set_ylabel("reverse KL, nats")
    for colour, marker, text in ((ORANGE, "o", "kept"), (GREY, "x", "dropped")):
        axes[0].scatter([], [], c=colour, marker=marker, label=text)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    titled(figure, table.report.title, "tokens of one run each, at its last saved step")
    return figure


def last_tokens(run: StoredRun) -> pd.DataFrame | None:
    """Entropy, reverse KL and whether it was kept, of each saved token; None without them."""
    steps = run.sampled_steps
    lines = run.samples(steps[-1]) if steps else []
    lines = [line for line in lines if {"student_entropy", "reverse_kl"} <= line["stats"].keys()]
    if not lines:
        return None
    frame = pd.DataFrame(
        {
            "entropy": np.concatenate([line["stats"]["student_entropy"] for line in lines]),
            "divergence": np.concatenate([line["stats"]["reverse_kl"] for line in lines]),
            "kept": np.concatenate([line["weights"] for line in lines]) > 0,
        }
    )
    return frame.assign(divergence=frame["divergence"].clip(lower=1e-6))
