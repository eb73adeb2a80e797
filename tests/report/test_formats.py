"""One table of known numbers in Markdown, LaTeX, CSV, for the terminal, and as a page."""

import csv as plain_csv
import json
import re
from collections.abc import Callable
from math import sqrt
from pathlib import Path

import pytest

from tests.report.by_hand import set_lines, set_scores
from tipx.report import Table
from tipx.report.formats import csv, latex, markdown, terminal
from tipx.report.page import page

Sweep = Callable[..., list[Path]]
Make = Callable[..., Table]
GRID = [["selector=full"], ["selector=soft_or", "ratio=0.5"], ["selector=random", "ratio=0.2"]]
MOVES = (0, 0, 0, 13, 13, 16, -3, -3, -6)
"""64ths of a problem's score; soft_or - full has t = 14 and random - full t = -4, so p = 0.00506 and 0.0572."""
P = {"soft_or": 1 - 14 / sqrt(198), "random": 1 - 4 / sqrt(18)}
HOLM = {"soft_or": 2 * P["soft_or"], "random": P["random"]}
REACH = 0.95 / sqrt(2 * 0.975 * 0.025) / 64


@pytest.fixture
def made(sweep: Sweep) -> list[Path]:
    runs = sweep(grid=GRID)
    for run, by in zip(runs, MOVES, strict=True):
        set_scores(run, [score + by / 64 for score in (0.25, 0.5, 0.25, 0.5)])
        set_lines(run, [{}, *[{"select/kept_frac": 0.25}] * 3])
    return runs


@pytest.fixture
def found(made: list[Path], table: Make, tmp_path: Path) -> Table:
    own = tmp_path / "mine.yaml"
    own.write_text("title: My 100%\nrows: [selector, ratio]\nvalues: [mean, kept]\nbaseline: {selector: full}\n")
    assert len(made) == 9
    return table(str(own), sweeps=("controls",))


def test_markdown(found: Table) -> None:
    lines = markdown(found).splitlines()
    assert lines[0] == "# My 100%"
    assert lines[2].startswith(
        "arithmetic mean@4, %: teacher not measured, start not measured; best: soft_or 0.5 with "
    )
    assert [re.sub(" +", " ", line) for line in (lines[4], *lines[6:9])] == [
        "| selector | ratio | arithmetic mean@4, % | tokens kept, % |",
        "| full | - | 37.5 ± 0.0 | 25.0 ± 0.0 |",
        r"| soft_or | 0.5 | **59.4** ± 1.6\* | 25.0 ± 0.0 |",
        "| random | 0.2 | 31.2 ± 1.6 | 25.0 ± 0.0 |",
    ]


def test_latex(found: Table) -> None:
    text = latex(found)
    assert r"full & - & 37.5 {\scriptsize$\pm$\,0.0} & 25.0 {\scriptsize$\pm$\,0.0} \\" in text
    assert r"soft\_or & 0.5 & \textbf{59.4} {\scriptsize$\pm$\,1.6}$^{*}$ & 25.0" in text
    assert r"random & 0.2 & 31.2 {\scriptsize$\pm$\,1.6} & 25.0" in text
    caption = next(line for line in text.splitlines() if line.startswith(r"\caption"))
    assert caption.startswith(
        r"\caption{My 100\%. bold: the best of a column, and what cannot be told from it (p \ensure"
    )
    assert text.count(r"\textbf") == 1
    assert not re.search("^%", text, re.MULTILINE)


def test_csv(found: Table) -> None:
    rows = {(row["selector"], row["metric"]): row for row in plain_csv.DictReader(csv(found).splitlines())}
    assert len(rows) == 6
    full, soft, random = (rows[name, "mean"] for name in ("full", "soft_or", "random"))
    assert (full["mean"], full["se"], full["n"], full["se_over"]) == ("0.375", "0.0", "3", "seeds")
    assert (full["baseline"], full["difference"], full["p"]) == ("", "", "")
    for row, name, t in ((soft, "soft_or", 14), (random, "random", -4)):
        numbers = [float(row[key]) for key in ("mean", "se", "difference", "low", "high", "p", "p_holm")]
        expected = [0.375 + t / 64, 1 / 64, t / 64, t / 64 - REACH, t / 64 + REACH, P[name], HOLM[name]]
        assert numbers == pytest.approx(expected)
        assert (row["baseline"], row["test"], row["missing"], row["ratio"]) == (
            *("full", "two-way", "0"),
            {"soft_or": "0.5", "random": "0.2"}[name],
        )
    values = [json.loads(Path(file).read_text())["mean"] for file in soft["files"].split()]
    assert values == [0.375 + by / 64 for by in (13, 13, 16)]


def test_the_error_of_one_seed_is_over_problems(sweep: Sweep, table: Make) -> None:
    (run,) = sweep(grid=GRID[:1], seeds=1)
    set_scores(run, [0.25, 0.5, 0.25, 0.5])
    (row, *_) = plain_csv.DictReader(csv(table()).splitlines())
    assert (float(row["se"]), row["n"], row["se_over"]) == (pytest.approx(sqrt(1 / 64 / 3)), "1", "problems")


def test_terminal(found: Table) -> None:
    column = terminal(found).columns[2]
    cells = [(str(cell), [str(span.style) for span in cell.spans]) for cell in column.cells]  # type: ignore[union-attr]
    assert cells == [("37.5 ± 0.0", []), ("59.4 ± 1.6*", ["bold"]), ("31.2 ± 1.6", [])]


def test_page(found: Table) -> None:
    text = page(found, {}, {}, "now.")
    assert f'<p class="opening">{found.opening}</p>' in text
    assert re.findall(r'<span class="best">([^<]*)<', text) == ["59.4"]
    assert re.findall(r'<span class="stars">([^<]*)<', text) == ["*"]
    low, high = 100 * (14 / 64 - REACH), 100 * (14 / 64 + REACH)
    for line in (
        "mean 59.38 of n=3",
        "standard error 1.56 over seeds",
        f"against full: +21.88, 95 % interval {low:+.2f} to {high:+.2f}",
        f"p = {P['soft_or']:.3g}, Holm-adjusted {HOLM['soft_or']:.3g} (two-way)",
        "against full: -6.25, ",
    ):
        assert f"<p>{line}" in text
    assert text.count("<td>57.8</td>") == 2, "13 / 64 more than 0.375, twice"


def test_fewer_seeds_are_said(made: list[Path], table: Make) -> None:
    (made[-1] / "summary.json").unlink()
    found = table(partial=True)
    text = markdown(found)
    assert " 32.8 ± 0.0 (n=2) |" in text
    assert "± one standard error over 3 seeds; other numbers of seeds in brackets" in text
    assert "(n=3)" not in text


def test_one_of_three_seeds_is_over_problems(made: list[Path], table: Make) -> None:
    for run in made[-2:]:
        (run / "summary.json").unlink()
    assert "± one standard error over 3 seeds; other numbers of seeds in brackets, where n=1 over problems" in (
        table(partial=True).notes
    )


def test_names_of_missing_runs_are_comments_in_latex(made: list[Path], table: Make) -> None:
    (made[-1] / "summary.json").unlink()
    broken = made[3] / "metrics.jsonl"
    broken.write_text("no json\n" * 4)
    found = table(partial=True)
    first, second, *rest = latex(found).splitlines()
    name, damaged = (path.name.replace("_", r"\_") for path in (made[-1], made[3]))
    assert first == f"% missing: {name} (stopped)"
    assert second.startswith("% left out: ")
    assert damaged in second
    text = "\n".join(rest)
    assert "partial, 1 missing (1 stopped)." in text
    assert "damaged runs that are left out: 1." in text
    assert not [path.name for path in made if path.name.replace("_", r"\_") in text]
    for other in (markdown(found), page(found, {}, {}, "")):
        assert f"missing: {made[-1].name} (stopped)" in other


def test_comments_in_latex_end_with_their_line(found: Table) -> None:
    found.names.append("a\n\\input{/etc/passwd}\r\\end{table}")
    first, *rest = latex(found).splitlines()
    assert first == r"% a \textbackslash{}input\{/etc/passwd\}␍\textbackslash{}end\{table\}"
    assert not [line for line in rest if "passwd" in line]
