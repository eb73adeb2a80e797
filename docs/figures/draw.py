"""Draw the pictures of docs/concepts: opd.svg, quadrants.svg, scatter.png and picks.svg.

    python docs/figures/draw.py

Every number in them is of one real step: the first of a run of the embedded pair, which is trained here in a temporary
folder and takes seconds. Text has 10 points or more in a picture of 6 inches, so that a telephone shows it.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

import tipx
from tipx.notebook.loaded import LoadedRun

FOLDER = Path(__file__).parent
WIDTH = 6.0  # inches
RATIO = 0.2
ROLLOUT = 48
"""The response that is shown token by token: it is short, and one of its numbers is wrong."""
STRIP = slice(14, 23)
"""The part of it that fits beside words: "then 83 + 7 = 89 ."."""
RULES = (
    "full",
    "soft_or",
    "entropy_sampling",
    "entropy_top",
    "q3_only",
    "q3_reverse",
    "div_only",
    "bottom_soft_or",
    "shuffled",
    "random",
    "prefix",
    "q1",
    "q2",
    "q3",
    "q4",
)
QUADRANTS = {
    1: ("Q1", "unsure and wrong", "much to learn", "#0072b2", "#b9dcf1"),
    2: ("Q2", "unsure, but agreeing", "several good ways to go on", "#009e73", "#c3ebdd"),
    3: ("Q3", "sure and wrong", "entropy alone misses it", "#d55e00", "#fbc59b"),
    4: ("Q4", "solved", "little to learn", "#6d6d6d", "#ececec"),
}
"""Name, meaning, remark, and the inspector's colours: of marks and of areas."""
MASKS = {name.lower(): dark for name, _, _, dark, _ in QUADRANTS.values()}
INK, SOFT, KEPT, DROPPED = "#1d2126", "#5a6370", "#1d2126", "#ececec"
STYLE: Any = {"font.size": 10, "svg.hashsalt": "tipx", "axes.edgecolor": SOFT, "savefig.facecolor": "white"}


def train_one_step(folder: Path) -> LoadedRun:
    """The first step of the embedded pair, with every statistic of its tokens."""
    words = ["experiment=tiny", "loop.steps=1", "loop.sample_every=1", "loop.eval_every=0", f"runs_dir={folder}"]
    subprocess.run([sys.executable, "-m", "tipx", "train", *words, "hardware.device=cpu"], check=True)
    return tipx.load_run(next(folder.glob("solo/*")))


def make_figure(height: float) -> tuple[Figure, Axes]:
    """An empty picture whose axes are in inches from the lower left."""
    figure = plt.figure(figsize=(WIDTH, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(0, height))
    axes.axis("off")
    return figure, axes


def draw_box(axes: Axes, x: float, y: float, width: float, height: float, text: str) -> None:
    """A box with its lower left corner at (x, y)."""
    style: dict[str, Any] = {"boxstyle": "round,pad=0,rounding_size=0.08", "fc": "#eef5fa", "ec": "#0072b2", "lw": 1.2}
    axes.add_patch(FancyBboxPatch((x, y), width, height, **style))
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", color=INK, linespacing=1.35)


def draw_arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    arrow: dict[str, Any] = {"arrowstyle": "-|>", "color": INK, "lw": 1.2, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=end, xytext=start, arrowprops=arrow)


def draw_cells(axes: Axes, x: float, y: float, width: float, texts: list[str], fills: list[str]) -> None:
    """A row of cells, one a token."""
    for i, (text, fill) in enumerate(zip(texts, fills, strict=True)):
        axes.add_patch(Rectangle((x + i * width, y), width, 0.3, fc=fill, ec="white", lw=1.5))
        ink = "white" if np.dot(mpl.colors.to_rgb(fill), (0.3, 0.6, 0.1)) < 0.55 else INK
        axes.text(x + (i + 0.5) * width, y + 0.15, text, ha="center", va="center_baseline", color=ink)


def shade(values: pd.Series, colours: str) -> list[str]:
    """A colour for each value, on a logarithmic scale from 0.001 to 20 nats."""
    norm, scale = LogNorm(1e-3, 20, clip=True), mpl.colormaps[colours]
    return [mpl.colors.to_hex(scale(0.05 + 0.85 * float(norm(value)))) for value in values]


def draw_opd(run: LoadedRun, tokens: pd.DataFrame) -> Figure:
    """One step of on-policy distillation from top to bottom, with a piece of a real response."""
    figure, axes = make_figure(7.3)
    part = tokens[tokens["rollout"] == ROLLOUT].iloc[STRIP]
    kept = run.apply_rule(f"selector=soft_or ratio={RATIO}")[part.index] > 0
    left, width, middle = 1.05, 0.42, 2.94
    labels: dict[str, Any] = {"ha": "right", "va": "center", "color": SOFT}

    draw_box(axes, 0.5, 6.62, 4.88, 0.5, "The student samples a response to each prompt")
    draw_arrow(axes, (middle, 6.62), (middle, 6.33))
    draw_cells(axes, left, 6.0, width, part["text"].tolist(), [DROPPED] * len(part))
    axes.text(left - 0.1, 6.15, "tokens", **labels)
    for x, text in ((0.5, "The student scores\neach token: $P_S$"), (3.04, "The teacher scores\neach token: $P_T$")):
        draw_arrow(axes, (x + 1.17, 5.95), (x + 1.17, 5.63))
        draw_box(axes, x, 5.0, 2.34, 0.63, text)
        draw_arrow(axes, (x + 1.17, 5.0), (x + 1.17, 4.68))
    rows = (("entropy", "student_entropy", "Blues"), ("divergence", "reverse_kl", "Oranges"))
    for y, (label, name, colours) in zip((4.33, 3.97), rows, strict=True):
        draw_cells(axes, left, y, width, [f"{value:.1f}" for value in part[name]], shade(part[name], colours))
        axes.text(left - 0.1, y + 0.15, label, **labels)
    draw_arrow(axes, (middle, 3.92), (middle, 3.63))
    draw_box(axes, 0.5, 3.0, 4.88, 0.63, "The selector weighs the tokens:\na score of each, and a pick by a budget")
    draw_arrow(axes, (middle, 3.0), (middle, 2.7))
    fills = [KEPT if flag else DROPPED for flag in kept]
    draw_cells(axes, left, 2.36, width, [str(int(flag)) for flag in kept], fills)
    axes.text(left - 0.1, 2.51, "weights", **labels)
    draw_arrow(axes, (middle, 2.31), (middle, 2.02))
    loss = r"Loss: mean of $D(P_S, P_T)$ over the kept tokens"
    draw_box(axes, 0.5, 1.5, 4.88, 0.52, loss)
    draw_arrow(axes, (middle, 1.5), (middle, 1.19))
    draw_box(axes, 0.5, 0.56, 4.88, 0.63, "The optimizer updates the student;\nthe teacher never changes")
    axes.plot([5.38, 5.7, 5.7], [0.875, 0.875, 6.87], color=INK, lw=1.2)
    draw_arrow(axes, (5.7, 6.87), (5.38, 6.87))
    axes.text(5.84, 3.8, "the next step, with the new student", rotation=90, ha="center", va="center", color=SOFT)
    axes.text(0.5, 0.24, f"Entropy and divergence in nats. Weights: soft_or, ratio {RATIO:g}.", va="center", color=SOFT)
    return figure


def draw_quadrants() -> Figure:
    """The four quadrants as areas."""
    figure, axes = make_figure(4.4)
    x_0, y_0, width, height = 0.75, 0.62, 2.5, 1.8
    for number, (name, meaning, remark, dark, light) in QUADRANTS.items():
        x = x_0 + (number in (1, 2)) * (width + 0.08)
        y = y_0 + (number in (1, 3)) * (height + 0.08)
        axes.add_patch(Rectangle((x, y), width, height, fc=light, ec="none"))
        middle = x + width / 2
        axes.text(middle, y + 1.25, name, ha="center", va="center", fontsize=20, fontweight="bold", color=dark)
        axes.text(middle, y + 0.78, meaning, ha="center", va="center", fontsize=12, color=INK)
        axes.text(middle, y + 0.42, remark, ha="center", va="center", color=SOFT)
    ends = (x_0 + 2 * width + 0.08, y_0 + 2 * height + 0.08)
    draw_arrow(axes, (x_0, y_0 - 0.1), (ends[0], y_0 - 0.1))
    draw_arrow(axes, (x_0 - 0.1, y_0), (x_0 - 0.1, ends[1]))
    for x, text in ((x_0 + width / 2, "low"), (x_0 + 1.5 * width, "high")):
        axes.text(x, y_0 - 0.26, text, ha="center", va="center", color=SOFT)
    axes.text(x_0 + width, 0.14, "entropy of the student", ha="center", va="center", color=INK)
    for y, text in ((y_0 + height / 2, "low"), (y_0 + 1.5 * height, "high")):
        axes.text(x_0 - 0.26, y, text, ha="center", va="center", rotation=90, color=SOFT)
    upright: dict[str, Any] = {"ha": "center", "va": "center", "rotation": 90, "color": INK}
    axes.text(0.18, y_0 + height, "divergence from the teacher", **upright)
    return figure


def draw_scatter(tokens: pd.DataFrame) -> Figure:
    """Every token of the step by entropy and divergence."""
    figure, axes = plt.subplots(figsize=(WIDTH, 4.9), layout="constrained")
    entropy, divergence = tokens["student_entropy"], tokens["reverse_kl"]
    corners = {1: (1, 1), 2: (1, 0), 3: (0, 1), 4: (0, 0)}
    for number, (name, meaning, _, dark, _) in QUADRANTS.items():
        inside = tokens["quadrant"] == number
        axes.scatter(entropy[inside], divergence[inside], s=9, c=dark, lw=0, alpha=0.6)
        x, y = corners[number]
        text = f"{name}: {inside.mean():.0%}\n{meaning}"
        place: dict[str, Any] = {"xy": (x, y), "xycoords": "axes fraction", "xytext": (5 - 10 * x, 5 - 10 * y)}
        style: dict[str, Any] = {
            "ha": "right" if x else "left",
            "va": "top" if y else "bottom",
            "color": dark,
            "fontweight": "bold",
        }
        axes.annotate(text, **place, **style, textcoords="offset points")
    axes.axvline(entropy.median(), c=INK, lw=0.9, ls="--")
    axes.axhline(divergence.median(), c=INK, lw=0.9, ls="--")
    axes.set(xscale="log", yscale="log", xlabel="entropy of the student, nats")
    axes.set(ylabel="reverse KL to the teacher, nats", ylim=(2e-5, 2e2))
    axes.set_title(f"{len(tokens):,} tokens of one step; dashed: the medians", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def draw_picks(run: LoadedRun, tokens: pd.DataFrame) -> Figure:
    """What each rule keeps of one response."""
    part = tokens[tokens["rollout"] == ROLLOUT]
    left, row, top = 1.42, 0.235, 0.7
    width = (WIDTH - left - 0.05) / len(part)
    height = top + row * (len(RULES) + 2) + 0.12 + 0.4
    figure, axes = make_figure(height)
    y = height - top
    for i, text in enumerate(part["text"]):
        axes.text(left + (i + 0.5) * width, y + 0.05, text, rotation=90, ha="center", va="bottom", color=INK)
    for label, name, colours in (("entropy", "student_entropy", "Blues"), ("divergence", "reverse_kl", "Oranges")):
        y -= row
        axes.text(left - 0.08, y + row / 2, label, ha="right", va="center", color=SOFT)
        for i, fill in enumerate(shade(part[name], colours)):
            axes.add_patch(Rectangle((left + i * width, y), width, row, fc=fill, ec="white", lw=1))
    y -= 0.12
    for rule in RULES:
        y -= row
        kept = run.apply_rule(f"selector={rule} ratio={RATIO}")[part.index] > 0
        axes.text(left - 0.08, y + row / 2, rule, ha="right", va="center", color=INK)
        colour = MASKS.get(rule, KEPT)
        for i, flag in enumerate(kept):
            fill = colour if flag else DROPPED
            axes.add_patch(Rectangle((left + i * width, y), width, row, fc=fill, ec="white", lw=1))
    axes.add_patch(Rectangle((left, 0.12), 0.18, 0.18, fc=KEPT, ec="none"))
    axes.text(left + 0.26, 0.21, "kept", va="center", color=INK)
    budget = f"ratio {RATIO:g}: {int(len(part) * RATIO)} of {len(part)} tokens; q1 to q4: no budget"
    axes.text(left + 0.75, 0.21, budget, va="center", color=SOFT)
    return figure


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, mpl.rc_context(STYLE):
        run = train_one_step(Path(folder))
        tokens = run.tokens()
        pictures = {
            "opd.svg": draw_opd(run, tokens),
            "quadrants.svg": draw_quadrants(),
            "scatter.png": draw_scatter(tokens),
            "picks.svg": draw_picks(run, tokens),
        }
        for name, figure in pictures.items():
            stamp = {"Date": None} if name.endswith(".svg") else {"Software": None}
            figure.savefig(FOLDER / name, dpi=150, metadata=stamp)


if __name__ == "__main__":
    main()
