"""What is drawn: heights, errors, bands and places, against arithmetic done here."""

import io
import json
import re
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.container import BarContainer
from matplotlib.figure import Figure

from tests.report.by_hand import set_lines, set_result, set_scores
from tipx.errors import ReportError
from tipx.report import Table
from tipx.report.figures import draw as draw_figures
from tipx.report.output import save
from tipx.report.spec import FigureSpec

Sweep = Callable[..., list[Path]]
Make = Callable[..., Table]
Draw = Callable[..., Figure]
GRID = [
    ["selector=full"],
    ["selector=random", "ratio=0.2"],
    ["selector=random", "ratio=0.5"],
    ["selector=random", "ratio=0.1"],
]
SCORES = ((0.5, 0.625), (0.25, 0.5), (0.375, 0.375), (0.125, 0.25))
"""Means of two seeds: 0.5625 +- 0.0625, 0.375 +- 0.125, 0.375 +- 0, 0.1875 +- 0.0625."""


@pytest.fixture
def made(sweep: Sweep) -> list[Path]:
    runs = sweep(grid=GRID, seeds=2)
    for run, score in zip(runs, [one for pair in SCORES for one in pair], strict=True):
        set_scores(run, [score, score])
    return runs


@pytest.fixture
def draw(table: Make, tmp_path: Path) -> Draw:
    """The only figure of a report with that one."""

    def build(figure: str, sweep: str = "controls", more: str = "") -> Figure:
        own = tmp_path / "mine.yaml"
        own.write_text(f"title: mine\nrows: [selector, ratio]\nfigures: [{{{figure}}}]\n{more}")
        (found,) = draw_figures(table(str(own), sweeps=(sweep,))).values()
        return found

    return build


def ends(container: Any) -> list[tuple[float, float]]:
    """(low, high) of each error bar."""
    return [tuple(segment[:, -1].tolist()) for segment in container.lines[2][0].get_segments()]


def test_bars(made: list[Path], draw: Draw) -> None:
    assert len(made) == 8
    axes = draw("kind: bars").axes[0]
    assert [bar.get_height() for bar in axes.patches] == [56.25, 37.5, 37.5, 18.75]
    bars = [container for container in axes.containers if container.get_label().startswith(("full", "random"))]
    assert [bar.get_label() for bar in bars] == ["full", "random 0.5", "random 0.2", "random 0.1"]
    assert [ends(bar.errorbar) for bar in bars] == [[(50, 62.5)], [(37.5, 37.5)], [(25, 50)], [(12.5, 25)]]
    assert [text.get_text() for text in axes.texts] == ["56.2", "37.5", "37.5", "18.8"]
    assert axes.get_ylabel() == "mean@4, %"


def test_many_bars_lie(sweep: Sweep, table: Make, tmp_path: Path) -> None:
    for i, run in enumerate(sweep(grid=GRID[:1], seeds=8)):
        set_scores(run, [i / 8, i / 8 + 0.0625])
    own = tmp_path / "mine.yaml"
    own.write_text("title: x\nrows: [seed]\nfigures: [{kind: bars}]\n")
    (figure,) = draw_figures(table(str(own), sweeps=("controls",))).values()
    axes = figure.axes[0]
    # Numbers from high to low; two problems 1/16 apart: standard deviation 1 / 16 / sqrt(2), over sqrt(2).
    places = [100 * (i / 8 + 1 / 32) for i in range(7, -1, -1)]
    assert [bar.get_width() for bar in axes.patches] == places
    assert [label.get_text() for label in axes.get_yticklabels()] == ["7", "6", "5", "4", "3", "2", "1", "0"]
    bars = [container.errorbar for container in axes.containers if isinstance(container, BarContainer)]
    (sizes,) = {tuple(np.ptp(bar.lines[2][0].get_segments()[0], axis=0).tolist()) for bar in bars}
    assert sizes == pytest.approx((6.25, 0))


def test_against_ratio(made: list[Path], draw: Draw) -> None:
    assert len(made) == 8
    axes = draw("kind: against_ratio").axes[0]
    level, line = axes.lines[0], axes.containers[0]
    assert list(level.get_ydata()) == [56.25, 56.25]
    low, high = axes.patches[0].get_extents().transformed(axes.transData.inverted()).intervaly
    assert (low, high) == pytest.approx((50, 62.5))
    # From left to right, whatever the order of the rows.
    assert list(line.lines[0].get_xdata()) == [10, 20, 50]
    assert list(line.lines[0].get_ydata()) == [18.75, 37.5, 37.5]
    assert ends(line) == [(12.5, 25), (25, 50), (37.5, 37.5)]
    assert line.get_label() == "random"


def remark(figure: Figure) -> str:
    return figure.get_suptitle().splitlines()[-1]


def test_what_the_errors_are(sweep: Sweep, draw: Draw) -> None:
    sweep("two", grid=GRID[:2], seeds=2)
    sweep("one", grid=GRID[:2], seeds=1)
    assert remark(draw("kind: bars", "two")) == "± 1 standard error over 2 seeds"
    assert remark(draw("kind: bars", "one")) == "± 1 standard error over problems, one seed"


def test_what_the_errors_are_where_seeds_are_missing(sweep: Sweep, table: Make) -> None:
    sweep(grid=GRID, seeds=3, skip=(4, 5))
    assert remark(draw_figures(table(partial=True))["bars-mean"]) == "± 1 standard error over 1-3 seeds"


def test_curves(sweep: Sweep, draw: Draw) -> None:
    made = sweep(grid=GRID[:1], seeds=2)
    # Step 1 is not logged by the second, and step 3 by neither: the mean is over both or not at all.
    values: tuple[Sequence[float | None], ...] = ((0.25, 0.5, 0.75, None), (0.75, None, 1.0, None))
    for run, line in zip(made, values, strict=True):
        set_lines(run, [{} if v is None else {"eval/arithmetic/mean": v, "select/reverse_kl_all": v} for v in line])
    axes = draw("kind: curves, value: mean").axes[0]
    (line,), (band,) = axes.lines, axes.collections
    assert list(line.get_xdata()) == [0, 2]
    assert list(line.get_ydata()) == [50, 87.5]
    # Of two values the error is half their distance.
    corners = {(float(x), float(y)) for x, y in band.get_paths()[0].vertices}
    assert corners == {(0, 25), (0, 75), (2, 75), (2, 100)}
    assert axes.get_title("left") == "eval/arithmetic/mean, %"
    other = draw("kind: curves, value: select/reverse_kl_all").axes[0]
    assert list(other.lines[0].get_ydata()) == [0.5, 0.875]
    assert other.get_title("left") == "select/reverse_kl_all"


def test_long_curves_are_smoothed(sweep: Sweep, draw: Draw) -> None:
    (run,) = sweep(grid=GRID[:1], seeds=1)
    set_lines(run, [{"select/reverse_kl_all": float(i)} for i in range(60)])
    (line,) = draw("kind: curves, value: select/reverse_kl_all").axes[0].lines
    # Over the ten steps up to each: 0, 0.5, 1, ..., and from the tenth on i - 4.5.
    assert list(line.get_ydata()) == [i / 2 for i in range(10)] + [i - 4.5 for i in range(10, 60)]


def test_curves_that_nobody_logged(sweep: Sweep, draw: Draw) -> None:
    sweep(grid=GRID[:1])
    with pytest.raises(ReportError, match="curves of 'mean': no run logged it while training"):
        draw("kind: curves, value: mean")


def test_quadrants(sweep: Sweep, draw: Draw) -> None:
    made = sweep(grid=GRID[:1], seeds=2)
    shares = ((0.5, 0.25, 0.125, 0.125), (0.25, 0.25, 0.25, 0.25))
    for run, four in zip(made, shares, strict=True):
        set_lines(run, [{}, *[{f"quadrant/q{q}_frac": share for q, share in enumerate(four, 1)}] * 3])
    axes = draw("kind: quadrants").axes[0]
    tops = [max(float(y) for _, y in area.get_paths()[0].vertices) for area in axes.collections]
    # 0.375, 0.25, 0.1875 and 0.1875, one on top of the other.
    assert tops == pytest.approx([0.375, 0.625, 0.8125, 1])
    assert axes.get_title("left") == "full (n=2)"


def saved(run: Path, step: int, kept: Sequence[float]) -> None:
    """Tokens of a step: the i-th has entropy i, and divergence 0 or 10 i."""
    stats = {"student_entropy": list(range(len(kept))), "reverse_kl": [10.0 * i for i in range(len(kept))]}
    line = {"prompt": "", "response": "", "tokens": [0] * len(kept), "weights": list(kept), "stats": stats}
    (run / "rollouts" / f"{step:06d}.jsonl").write_text(json.dumps(line) + "\n")


def test_scatter(sweep: Sweep, draw: Draw) -> None:
    (run,) = sweep(grid=GRID[1:2], seeds=1)
    saved(run, 2, [1, 1, 1, 1])
    saved(run, 3, [0, 1, 0, 0])
    axes = draw("kind: scatter").axes[0]
    assert axes.get_title("left") == "random 0.2 (25% of 4 kept)"
    found = [
        c.get_offsets().tolist() for c in axes.collections if isinstance(c, PathCollection) and len(c.get_offsets())
    ]
    # Dropped ones first, below the kept; a divergence of 0 has no place on a logarithmic axis.
    assert found == [[[0, 1e-6], [2, 20], [3, 30]], [[1, 10]]]


def test_the_papers_numbers_are_diamonds(sweep: Sweep, draw: Draw) -> None:
    more = {"base": ["experiment=qwen3"], "typed": False, "benchmarks": ("math500",), "n": 16, "seeds": 2}
    rules = [["selector=full"], ["selector=entropy_sampling", "ratio=0.5"]]
    for run in sweep(grid=rules, **more):
        set_result(run, mean=0.75)
    axes = draw("kind: bars", more="paper: [3]\n").axes[0]
    assert [line.get_ydata().tolist() for line in axes.lines if line.get_marker() == "D"] == [[76.7], [78.6]]
    axes = draw("kind: against_ratio", more="paper: [3]\n").axes[0]
    diamonds = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines if line.get_marker() == "D"]
    assert diamonds == [([50], [78.6])]


@pytest.mark.usefixtures("made")
def test_the_figure_of_the_documentation(table: Make) -> None:
    page = Path(__file__).parents[2] / "docs" / "howto" / "extend.md"
    (code,) = re.findall(r"^   (def dots.*?)^   ```", page.read_text(), re.DOTALL | re.MULTILINE)
    names = dict(vars(import_module("tipx.report.figures")))  # where the page puts it
    exec(code.replace("\n   ", "\n"), names)
    axes = names["dots"](table("controls"), FigureSpec(kind="bars", value="mean")).axes[0]
    dots = {
        text.get_text(): line.get_ydata().tolist()
        for text, line in zip(axes.get_xticklabels(), axes.lines, strict=True)
    }
    assert dots == {"full": [50, 62.5], "random 0.2": [25, 50], "random 0.5": [37.5, 37.5], "random 0.1": [12.5, 25]}


@pytest.mark.usefixtures("made")
def test_each_format_is_drawn_once_and_as_it_would_be_alone(
    table: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, drawn = table("controls"), list[Figure]()
    alone = {}
    for name, figure in draw_figures(made).items():
        held = io.BytesIO()
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # stays as laid out, and draws twice
        figure.savefig(held, format="png", dpi=200)
        alone[name] = held.getvalue()
    figures, plain = draw_figures(made), Figure.draw
    monkeypatch.setattr(Figure, "draw", lambda figure, *args: drawn.append(figure) or plain(figure, *args))
    save(made, figures, tmp_path / "out", "made")
    assert alone
    assert len(drawn) == 5 * len(figures)  # to lay out, for the page, and for each of the three files
    assert {name: (tmp_path / "out" / f"{name}.png").read_bytes() for name in figures} == alone
