"""The picture: peak memory against tokens, and time against the share of tokens kept."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from bench.cases import ALL_TOKENS, FULL, LIGER, LIGER_SMALL, OURS, PAPER, TRL, TRL_TILES, TRL_WIDE
from bench.grid import Row
from bench.report import Key, middle

# Okabe and Ito's colours, told apart by colour-blind readers, and a marker for each; ours are solid, others dashed.
STYLE = {
    ALL_TOKENS: ("#000000", "o"),
    OURS["both"]: ("#0072B2", "o"),
    OURS["entropy"]: ("#56B4E9", "s"),
    OURS["random"]: ("#009E73", "^"),
    FULL: ("#D55E00", "D"),
    PAPER: ("#E69F00", "P"),
    TRL: ("#CC79A7", "X"),
    TRL_WIDE: ("#CC79A7", ">"),
    TRL_TILES: ("#CC79A7", "<"),
    "TRL, GKDTrainer's loss": ("#CC79A7", "*"),
    LIGER: ("#7F7F7F", "s"),
    LIGER_SMALL: ("#7F7F7F", "^"),
}


def draw(rows: list[Row], out: Path) -> None:
    """bench.png and bench.svg."""
    found = middle(rows)
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 6.2), layout="constrained")
    memory(left, found)
    time(right, found)
    handles: dict[str, Any] = {}
    for axes in (left, right):
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, frameon=False)
    for kind in ("png", "svg"):
        figure.savefig(out / f"bench.{kind}", dpi=150)
    plt.close(figure)


def plain(axis: Axes, ticks: list[float], which: str) -> None:
    """These ticks, as plain numbers."""
    low, high = getattr(axis, f"get_{which}lim")()
    line = getattr(axis, f"{which}axis")
    line.set_ticks([tick for tick in ticks if low <= tick <= high])
    line.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    line.set_minor_formatter(NullFormatter())
    line.set_tick_params(which="minor", size=0)
    axis.grid(visible=True, which="major", alpha=0.3)


def style(name: str) -> dict[str, Any]:
    colour, marker = STYLE[name]
    ours = name.startswith("tipx")
    return {"color": colour, "marker": marker, "ls": "-" if ours else "--", "lw": 2 if ours else 1.2, "ms": 7}


def memory(axes: Axes, found: dict[Key, Row]) -> None:
    """MiB against tokens: at ratio 0.5 what selects, over every token what does not."""
    for name in STYLE:
        ratio = 0.5 if any(case == name and r == 0.5 for case, _, r in found) else 1
        mine = sorted((n, row) for (case, n, r), row in found.items() if case == name and r == ratio)
        points = [(n, row.mib, row.result is None) for n, row in mine if row.mib]
        if points:
            axes.plot([n for n, _, _ in points], [mib for _, mib, _ in points], label=name, **style(name))
        for n, mib, guessed in points:
            if guessed:
                axes.plot(n, mib, ls="", marker="o", ms=15, mfc="none", mec="#777777")
    axes.set(xscale="log", yscale="log", xlabel="response tokens", ylabel="peak memory, MiB")
    title = "Peak memory of loss and backward\n(half of the tokens kept by what can select; ringed: extrapolated)"
    axes.set_title(title, fontsize=10)
    plain(axes, sorted({n for _, n, _ in found}), "x")
    plain(axes, [m * 10**e for e in range(6) for m in (1, 2, 5)], "y")


def time(axes: Axes, found: dict[Key, Row]) -> None:
    """CPU time against the ratio, divided by TRL's best tiles where TRL was measured, else by ours over all tokens."""
    tokens = max((n for (case, n, _), row in found.items() if case == ALL_TOKENS and row.result), default=0)
    at = {(case, r): row.result.cpu_s for (case, n, r), row in found.items() if n == tokens and row.result}
    bases = [name for name in (TRL_TILES, TRL_WIDE) if (name, 1) in at] or [ALL_TOKENS]
    unit = min(bases, key=lambda name: at.get((name, 1), float("inf")))
    if (unit, 1) not in at:
        return
    ratios = sorted({r for _, r in at})
    for name in STYLE:
        points = sorted((r, s / at[unit, 1]) for (case, r), s in at.items() if case == name)
        if name in OURS.values() and (ALL_TOKENS, 1) in at:
            points.append((1, at[ALL_TOKENS, 1] / at[unit, 1]))  # a rule that keeps all is no rule
        elif [r for r, _ in points] == [1]:
            # Without selection every share costs the same: a thin line as wide as the picture.
            axes.axhline(points[0][1], color=STYLE[name][0], ls="--", lw=0.8, alpha=0.5)
        if points:
            axes.plot(*zip(*points, strict=True), label=name, **style(name))
    axes.set(xscale="log", yscale="log", xlabel="share of tokens kept", ylabel=f"CPU time / ({unit}, all tokens)")
    title = f"Time of loss and backward, {tokens:,} tokens, one thread\n(thin lines: no selection, all tokens)"
    axes.set_title(title, fontsize=10)
    plain(axes, ratios, "x")
    plain(axes, [0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10], "y")
