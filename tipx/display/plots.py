"""Pictures of runs; reads files, needs neither torch nor hydra."""

import io
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from tipx.display.palette import BLUE, GREEN, GREY, ORANGE, QUADRANTS
from tipx.runs import metric_keys as keys
from tipx.runs.reader import StoredRun

STYLE: Any = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "figure.dpi": 150,
    "text.parse_math": False,  # names are names, also with a dollar
    "pdf.fonttype": 42,  # text that can be searched
    "hatch.linewidth": 0.6,
}


def learning_curve(run: StoredRun) -> Figure:
    """Accuracy, divergence of kept and dropped tokens, and quadrant shares, against the step."""
    frame = pd.DataFrame({key: pd.Series(run.rows.series(key)) for key in run.rows.names if is_drawn(key)})
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 3.2), layout="constrained")
        accuracy, divergence, quadrants = figure.subplots(1, 3)
        measured = any(keys.group(column) == keys.EVAL for column in frame.columns)
        if keys.PERPLEXITY in frame and not measured:
            draw_perplexity(accuracy, frame)
        else:
            draw_accuracy(accuracy, frame)
        draw_divergence(divergence, frame)
        draw_quadrants(quadrants, frame)
        for axes in (accuracy, divergence, quadrants):
            axes.set_xlabel("step")
        figure.suptitle(run.name, x=0.005, ha="left", fontsize=9, color=GREY)
    return figure


def is_drawn(key: str) -> bool:
    """Whether a key of metrics is in a learning curve."""
    return keys.group(key) in (keys.EVAL, keys.HELDOUT) or key in QUADRANTS or bool(keys.REVERSE_KL.part_of(key))


def as_png(figure: Figure) -> bytes:
    """A figure as the content of a PNG file."""
    held = io.BytesIO()
    figure.savefig(held, format="png")
    return held.getvalue()


def draw_accuracy(axes: Any, frame: pd.DataFrame) -> None:
    """Sampled accuracy with one standard error over problems, and greedy."""
    axes.set_title("accuracy")
    axes.set_ylim(0, 1)
    for column, name in [(c, name) for c in frame.columns if (name := keys.EVAL_MEAN.part_of(c))]:
        seen = frame[column].dropna()
        # One problem has no standard error: None in the file, NaN to matplotlib.
        errors = frame.get(keys.EVAL_MEAN_SE.of(name), pd.Series(dtype=float)).reindex(seen.index).astype(float)
        axes.errorbar(seen.index, seen, yerr=errors, color=BLUE, marker="o", ms=4, capsize=2, label=f"{name}, sampled")
        greedy = frame.get(keys.EVAL_GREEDY.of(name), pd.Series(dtype=float)).dropna()
        if len(greedy):
            axes.plot(greedy.index, greedy, color=GREY, marker="s", ms=3, ls="--", label=f"{name}, greedy")
    if axes.has_data():
        axes.legend(loc="lower right")


def draw_perplexity(axes: Any, frame: pd.DataFrame) -> None:
    """Of held-out texts, with one standard error over texts, and the teacher's: for a run without accuracy."""
    axes.set_title("perplexity of held-out texts")
    draw_with_errors(axes, frame, keys.PERPLEXITY, BLUE, "student")
    axes.axhline(frame[keys.TEACHER_PERPLEXITY].dropna().iloc[0], color=GREY, ls="--", label="teacher")
    axes.set_ylim(bottom=0)
    axes.legend(loc="best")


def draw_with_errors(axes: Any, frame: pd.DataFrame, column: str, colour: str, label: str) -> None:
    """A measured value at the steps where it was, with its standard error."""
    seen = frame[column].dropna()
    errors = frame.get(keys.standard_error(column), pd.Series(dtype=float)).reindex(seen.index).astype(float)
    axes.errorbar(seen.index, seen, yerr=errors, color=colour, marker="o", ms=4, capsize=2, label=label)


def draw_divergence(axes: Any, frame: pd.DataFrame) -> None:
    """Mean reverse KL; a faint line for each step, a rolling mean over it."""
    axes.set_title("reverse KL, nats a token")
    lines = {
        keys.REVERSE_KL.of("kept"): ("kept", ORANGE),
        keys.REVERSE_KL.of("all"): ("all", BLUE),
        keys.REVERSE_KL.of("dropped"): ("dropped", GREY),
    }
    there = [column for column in lines if column in frame]
    for column in there:
        label, colour = lines[column]
        values = frame[column].dropna()
        axes.plot(values.index, values, color=colour, alpha=0.25, lw=0.8)
        axes.plot(values.index, values.rolling(10, min_periods=1).mean(), color=colour, label=label)
    if keys.HELDOUT_REVERSE_KL in frame:
        draw_with_errors(axes, frame, keys.HELDOUT_REVERSE_KL, GREEN, "held-out texts")
    if axes.has_data():
        axes.legend(loc="best", frameon=True, framealpha=0.8)
    if (frame[there] > 0).any(axis=None):
        axes.set_yscale("log")


def draw_quadrants(axes: Any, frame: pd.DataFrame) -> None:
    """Share of response tokens in each quadrant."""
    axes.set_title("share of tokens by quadrant")
    axes.set_ylim(0, 1)
    columns = [c for c in QUADRANTS if c in frame]
    if columns:
        shares = frame[columns].dropna().rolling(10, min_periods=1).mean()
        labels, colours = zip(*(QUADRANTS[c] for c in columns), strict=True)
        axes.stackplot(shares.index, *(shares[c] for c in columns), labels=labels, colors=colours, alpha=0.8)
        axes.legend(loc="lower left", fontsize=7, frameon=True, framealpha=0.8)
