"""The learning curve of runs at any stage of their life: drawn without a warning, and saved as a PNG."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from tipx.display.plots import as_png, learning_curve
from tipx.runs.directory import Run
from tipx.runs.reader import StoredRun

DIVERGENCE = {"select/reverse_kl_all": 0.5, "select/reverse_kl_kept": 0.75, "select/reverse_kl_dropped": 0.25}
QUADRANTS = {"quadrant/q1_frac": 0.25, "quadrant/q2_frac": 0.25, "quadrant/q3_frac": 0.125, "quadrant/q4_frac": 0.375}
STEP = {"train/loss": 0.5, "select/kept_frac": 0.2, **DIVERGENCE, **QUADRANTS}
EVAL = {"eval/arithmetic/mean": 0.25, "eval/arithmetic/mean_se": 0.0125, "eval/arithmetic/greedy": 0.375}
NO_ERROR = {"eval/arithmetic/mean": 1.0, "eval/arithmetic/mean_se": None}

HELD = {"heldout/perplexity": 25.0, "heldout/perplexity_se": 1.5, "heldout/reverse_kl": 2.5}
HELD |= {"heldout/reverse_kl_se": None, "heldout/teacher_perplexity": 4.5}

RUNS: dict[str, list[dict[str, Any]]] = {
    "without evaluations": [{"step": s, **STEP} for s in range(1, 31)],
    "held-out texts alone": [{"step": 0, **HELD}, {"step": 1, **STEP}, {"step": 2, **STEP, **HELD}],
    "held-out texts and accuracy": [{"step": 0, **HELD, **EVAL}, {"step": 1, **STEP, **HELD, **EVAL}],
    "one step": [{"step": 1, **STEP}],
    "one step and its evaluations": [{"step": 0, **EVAL}, {"step": 1, **STEP, **EVAL}],
    "evaluated": [{"step": 0, **EVAL}, *({"step": s, **STEP} for s in range(1, 9)), {"step": 9, **STEP, **EVAL}],
    "evaluated on one problem": [{"step": 0, **NO_ERROR}, {"step": 1, **STEP, **NO_ERROR}],
    "only evaluated": [{"step": 0, **EVAL}],
    "all kept": [{"step": s, **{k: v for k, v in STEP.items() if "dropped" not in k}} for s in (1, 2)],
    "not monitored": [{"step": s, "train/loss": 0.5, "select/kept_frac": 1.0} for s in (1, 2)],
    "monitored every other step": [{"step": s, "train/loss": 0.5, **(STEP if s % 2 else {})} for s in range(1, 9)],
    "no divergence at all": [{"step": s, **STEP, **dict.fromkeys(DIVERGENCE, 0.0)} for s in (1, 2)],
}


def make(path: Path, rows: list[dict[str, Any]]) -> Run:
    run = Run.create(path, {}, {})
    for row in rows:
        run.log(row)
    return run


def panels(figure: Figure) -> list[Any]:
    return figure.axes


def drawn(figure: Figure) -> dict[str, list[str]]:
    """Title of each panel and the labels in its legend."""
    legends = {axes.get_title(loc="left"): axes.get_legend() for axes in figure.axes}
    return {
        title: [text.get_text() for text in legend.get_texts()] if legend else [] for title, legend in legends.items()
    }


@pytest.mark.parametrize("name", RUNS)
def test_every_run_can_be_drawn_and_saved(name: str, tmp_path: Path) -> None:
    run = make(tmp_path / "tiny-soft_or-0badcafe", RUNS[name])
    run.save_picture("curve.png", as_png(learning_curve(StoredRun(run))))
    image = Image.open(tmp_path / "tiny-soft_or-0badcafe" / "curve.png")
    assert (image.format, image.width > 1000, image.height > 300) == ("PNG", True, True)
    # A picture, not a blank page.
    assert len(np.unique(np.asarray(image.convert("L")))) > 10


def test_what_is_drawn_is_what_was_logged(tmp_path: Path) -> None:
    figure = learning_curve(StoredRun(make(tmp_path / "r", RUNS["evaluated"])))
    accuracy, divergence, quadrants = panels(figure)
    assert drawn(figure) == {
        "accuracy": ["arithmetic, greedy", "arithmetic, sampled"],
        "reverse KL, nats a token": ["kept", "all", "dropped"],
        "share of tokens by quadrant": ["Q1 unsure, wrong", "Q2 unsure, agreeing", "Q3 sure, wrong", "Q4 solved"],
    }
    (sampled,) = accuracy.containers
    assert np.asarray(sampled.lines[0].get_xydata()).tolist() == [[0, 0.25], [9, 0.25]]
    (bars,) = sampled.lines[2]
    np.testing.assert_allclose(bars.get_segments()[0][:, 1], [0.2375, 0.2625])
    assert {tuple(line.get_ydata()) for line in divergence.lines} == {(0.75,) * 9, (0.5,) * 9, (0.25,) * 9}
    assert divergence.get_yscale() == "log"
    # The four shares are stacked up to one.
    top = quadrants.collections[-1].get_paths()[0].vertices
    assert float(np.asarray(top)[:, 1].max()) == 1.0
    assert figure.get_suptitle() == "r"


def test_only_what_was_logged_is_drawn(tmp_path: Path) -> None:
    assert drawn(learning_curve(StoredRun(make(tmp_path / "a", RUNS["not monitored"])))) == {
        "accuracy": [],
        "reverse KL, nats a token": [],
        "share of tokens by quadrant": [],
    }
    labels = drawn(learning_curve(StoredRun(make(tmp_path / "b", RUNS["all kept"]))))["reverse KL, nats a token"]
    assert labels == ["kept", "all"]


def test_the_thick_line_is_the_mean_of_the_last_ten_steps(tmp_path: Path) -> None:
    run = make(tmp_path / "r", [{"step": s, "select/div_all": float(s)} for s in range(1, 21)])
    faint, thick = panels(learning_curve(StoredRun(run)))[1].lines
    assert list(faint.get_ydata()) == [float(s) for s in range(1, 21)]
    # Step 1: 1. Step 4: (1 + 2 + 3 + 4) / 4. Step 20: (11 + ... + 20) / 10.
    assert [thick.get_ydata()[i] for i in (0, 3, 19)] == [1, 2.5, 15.5]


def test_drawing_leaves_matplotlibs_settings_alone(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    learning_curve(StoredRun(make(tmp_path / "r", RUNS["evaluated"])))
    assert dict(mpl.rcParams) == before


def test_without_accuracy_the_perplexity_of_held_out_texts_is_drawn(tmp_path: Path) -> None:
    figures = {
        n: drawn(learning_curve(StoredRun(make(tmp_path / n, RUNS[n])))) for n in RUNS if n.startswith("held-out")
    }
    assert sorted(figures["held-out texts alone"]["perplexity of held-out texts"]) == ["student", "teacher"]
    assert "accuracy" in figures["held-out texts and accuracy"]
    assert all("held-out texts" in figure["reverse KL, nats a token"] for figure in figures.values())
