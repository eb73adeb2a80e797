"""The first line of a report: the table in one sentence, by hand."""

from collections.abc import Callable
from math import sqrt
from pathlib import Path

import pytest

from tests.report.by_hand import copy_first, p_of_t, set_lines, set_model, set_scores, to_held_out
from tipx.report import Table

Sweep = Callable[..., list[Path]]
Make = Callable[..., Table]
GRID = [["selector=full"], ["selector=soft_or", "ratio=0.5"], ["selector=random", "ratio=0.2"]]
HALF_AN_HOUR = [{"time/eval_s": 600.0}, {}, {"time/rollout_s": 700.0}, {"time/train_s": 500.0}]


def build(sweep: Sweep, seeds: int, means: tuple[float, ...]) -> list[Path]:
    """Runs with these means, each of 30 minutes."""
    runs = sweep(grid=GRID, seeds=seeds)
    for run, mean in zip(runs, means, strict=True):
        set_scores(run, [mean - 0.25, mean, mean, mean + 0.25])
        set_lines(run, HALF_AN_HOUR)
    return runs


@pytest.fixture
def opening(table: Make, tmp_path: Path) -> Callable[..., str]:
    def opening(more: str = "baseline: {selector: full}", values: str = "mean") -> str:
        file = tmp_path / "mine.yaml"
        file.write_text(f"title: x\nrows: [selector, ratio]\nvalues: [{values}]\n{more}\n")
        return table(str(file), sweeps=("controls",), partial=True).opening

    return opening


def test_a_rule_that_is_better(sweep: Sweep, opening: Callable[..., str], runs_dir: Path) -> None:
    # soft_or - full is 10, 12 and 14 points: t = 12 / (2 / sqrt(3)) with 2 degrees of freedom, and two rows by Holm.
    runs = build(sweep, 3, (0.5, 0.5, 0.5, 0.6, 0.62, 0.64, 0.4, 0.5, 0.6))
    for run in runs:
        copy_first(run, mean=0.25)
    set_model(runs_dir, "embedded:teacher", runs[0], mean=0.75)
    p = 2 * p_of_t(12 / (2 / sqrt(3)), 2)
    assert opening() == (
        "arithmetic mean@4, %: teacher 75.0, start 25.0; best: soft_or 0.5 with 62.0 ± 1.2, better than full "
        f"(p = {p:.2g}); 3 seeds; 4.5 machine hours"
    )


def test_a_rule_that_cannot_be_told_apart(sweep: Sweep, opening: Callable[..., str]) -> None:
    build(sweep, 3, (0.5, 0.5, 0.5, 0.4, 0.5, 0.75, 0.4, 0.4, 0.4))
    assert "best: soft_or 0.5 with 55.0 ± 10.4, not told apart from full (p = " in opening()
    assert "best: soft_or 0.5 with 55.0 ± 10.4, no baseline to test against; 3 seeds; 4.5" in opening("")


def test_the_baseline_is_best(sweep: Sweep, opening: Callable[..., str]) -> None:
    build(sweep, 3, (0.6, 0.6, 0.6, 0.5, 0.6, 0.6, 0.3, 0.31, 0.32))
    assert "; best: full with 60.0 ± 0.0, the baseline, not told apart from soft_or 0.5; 3 seeds;" in opening()


def test_the_baseline_is_better_than_all(sweep: Sweep, opening: Callable[..., str]) -> None:
    build(sweep, 3, (0.6, 0.6, 0.6, 0.3, 0.31, 0.32, 0.3, 0.31, 0.32))
    assert "; best: full with 60.0 ± 0.0, the baseline, better than the others; " in opening()


@pytest.mark.parametrize(
    ("means", "said"),
    [
        ((0.5, 0.6, 0.4), "best: soft_or 0.5 with 60.0 ± 10.2, one seed, so not tested against full; 1 seed; "),
        ((0.6, 0.5, 0.4), "best: full with 60.0 ± 10.2, the baseline; the others were not tested against it; 1 seed; "),
    ],
)
def test_one_seed(means: tuple[float, ...], said: str, sweep: Sweep, opening: Callable[..., str]) -> None:
    build(sweep, 1, means)
    assert said in opening()


def test_what_was_not_measured(sweep: Sweep, opening: Callable[..., str]) -> None:
    build(sweep, 1, (0.5, 0.6, 0.4))
    assert opening().startswith("arithmetic mean@4, %: teacher not measured, start not measured; best: ")


def test_held_out_texts(sweep: Sweep, opening: Callable[..., str]) -> None:
    for run, perplexity in zip(build(sweep, 1, (0.5,) * 3), (9.0, 8.0, 10.0), strict=True):
        to_held_out(run, perplexity=perplexity, reverse_kl=perplexity)
        copy_first(run, perplexity=20.0, reverse_kl=2.0)
    # Less is better; the teacher's own divergence is 0 by definition.
    assert opening("", "perplexity").startswith(
        "held-out perplexity: teacher 4.000, start 20.000; best: soft_or 0.5 with 8.000, no baseline"
    )
    assert opening("", "reverse_kl").startswith("held-out reverse KL, nats: start 2.000; best: soft_or")


def test_rows_of_two_students(sweep: Sweep, table: Make, tmp_path: Path) -> None:
    sweep(grid=[["model.student.keep_layers=[0]"], ["model.student.keep_layers=[0,1]"]], seeds=1)
    own = tmp_path / "mine.yaml"
    own.write_text("title: x\nrows: [model.student.keep_layers]\n")
    assert "teacher not measured, no common start; best: " in table(str(own), sweeps=("controls",)).opening


def test_several_benchmarks(sweep: Sweep, opening: Callable[..., str]) -> None:
    sweep(grid=GRID, benchmarks=("arithmetic", "math500"))
    assert opening().startswith("arithmetic mean@4, % (the first of 2 such columns): teacher not ")


def test_a_table_without_a_better_end(sweep: Sweep, opening: Callable[..., str]) -> None:
    for run in sweep(grid=GRID, seeds=2):
        set_lines(run, [{}, *[{"select/kept_frac": 0.2, "time/train_s": 15.0}] * 3])
    assert opening("", "kept") == "2 seeds; 4.5 machine minutes"


def test_the_time_of_all_processes(sweep: Sweep, opening: Callable[..., str]) -> None:
    runs = sweep(grid=GRID[:1], seeds=2, start={"processes": 8})
    for run in runs:
        set_lines(run, HALF_AN_HOUR)
    assert opening("", "mean").endswith("; 2 seeds; 8.0 machine hours")
    set_lines(runs[0], [{}] * 4)
    assert opening("", "mean").endswith("; at least 4.0 machine hours")
    set_lines(runs[1], [{}] * 4)
    assert opening("", "mean").endswith("; run times not logged")


def test_fewer_seeds_in_some_rows(sweep: Sweep, opening: Callable[..., str]) -> None:
    (*_, last) = build(sweep, 2, (0.5,) * 6)
    (last / "summary.json").unlink()
    assert "; 1 to 2 seeds; " in opening()
