"""How the commonest tokens of each quadrant come and go over training."""

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from tipx.display.palette import GREY
from tipx.display.plots import STYLE
from tipx.inspect.quadrants import NAMES

LINES = 6


def over_training(frame: pd.DataFrame, title: str) -> Figure:
    """Shares of single tokens in their quadrant, at every sampled step of `tokens.counts`."""
    single = frame[frame["n"] == 1]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 5.6), layout="constrained")
        # Where they are in the page: unsure above, wrong to the right.
        for axes, q in zip(figure.subplots(2, 2, sharex=True).flat, (2, 1, 4, 3), strict=True):
            part = single[single["quadrant"] == q]
            axes.set_title(f"Q{q} {NAMES[q]}")
            axes.set_ylabel("share of the quadrant")
            wide = part.pivot_table(index="step", columns="tokens", values="count", aggfunc="sum", fill_value=0)
            shares = wide.div(wide.sum(axis=1), axis=0)
            for name in wide.sum().sort_values(ascending=False, kind="stable").index[:LINES]:
                # A token may look like a formula, or begin with an underscore, which hides a label.
                label = str(name).replace("$", r"\$")
                axes.plot(shares.index, shares[name], marker="o", ms=3, lw=1.2, label=f"“{label}”")
            axes.set_ylim(bottom=0)
            if axes.has_data():
                axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
        for axes in figure.axes[2:]:
            axes.set_xlabel("step")
        figure.suptitle(title, x=0.005, ha="left", fontsize=9, color=GREY)
    return figure
