"""`tipx report` and `tipx runs` over an invented sweep."""

import importlib.util
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import wandb
from filelock import FileLock

from tipx.cli.done import next_commands
from tipx.errors import ReportError
from tipx.report.spec import available, load
from tipx.runs.directory import Run
from tipx.runs.reader import StoredRun

Tipx = Callable[..., Any]
FILE = Path(__file__).parent.parent / "report" / "synthetic.py"
GRID = [["selector=full"], ["selector=soft_or", "ratio=0.5"], ["selector=random", "ratio=0.2"]]
SOFT = ["selector=soft_or", "ratio=0.5"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = importlib.util.spec_from_file_location("synthetic_cli", FILE)
    assert spec is not None
    assert spec.loader is not None
    synthetic = sys.modules["synthetic_cli"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(synthetic)
    folder = tmp_path_factory.mktemp("made")
    synthetic.Sweep(folder / "controls", GRID, base=["experiment=tiny"], steps=12).make()
    qwen = {"base": ["experiment=qwen3"], "n": 16, "typed": False, "benchmarks": ("aime24", "math500"), "steps": 12}
    synthetic.Sweep(folder / "table5_main", [["selector=full"], SOFT], start={"device": "H200"}, **qwen).make()
    return folder


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "runs"))


def test_a_report_in_every_format(runs: Path, tipx: Tipx) -> None:
    done = tipx("report", "controls")
    assert done.code == 0, done.err
    folder = runs / "controls" / "report" / "controls"
    assert "report   runs/controls/report/controls/index.html" in done.out
    kinds = {path.suffix for path in folder.iterdir()}
    assert kinds == {".md", ".tex", ".csv", ".html", ".png", ".pdf", ".svg"}
    cells = pd.read_csv(folder / "table.csv")
    mean = cells[(cells["selector"] == "random") & (cells["metric"] == "mean")].iloc[0]
    files = mean["files"].split()
    values = [json.loads(Path(runs.parent, file).read_text())["mean"] for file in files]
    assert (mean["n"], mean["mean"]) == (3, pytest.approx(sum(values) / 3))
    assert mean["se"] == pytest.approx(pd.Series(values).sem())
    assert mean["baseline"] == "full"
    assert mean["p"] <= mean["p_holm"] < 0.05
    text = f"{100 * mean['mean']:.1f} ± {100 * mean['se']:.1f}"
    assert text in done.out
    assert text in (folder / "table.md").read_text()
    assert done.out.startswith("arithmetic mean@4, %: teacher not measured, start not measured; best: ")
    tex = (folder / "table.tex").read_text()
    assert all(word in tex for word in (r"\toprule", r"soft\_or", r"\bottomrule", r"\textbf{"))
    page = (folder / "index.html").read_text()
    assert page.count("<svg") == 4
    assert all(file in page for file in files)
    assert not re.search(r'(src|href)="(https?:)?//', page)


@pytest.mark.usefixtures("runs")
def test_the_papers_numbers_stand_beside_what_is_the_same_thing(tipx: Tipx) -> None:
    out = tipx("report", "table5_main").out
    assert re.search(r"soft_or +0\.5 .*\[79\.1 ± 0\.8\]", out)
    assert re.search(r"full +- .*\[76\.7 ± 0\.7\]", out)
    assert out.index("aime24") > out.index("math500"), "in the order of the benchmark's file"
    assert "[" not in tipx("report", "table5_main", "--sweep", "controls").out.split("- mean@4")[0]


def test_a_group_without_a_report_of_its_own(runs: Path, tipx: Tipx) -> None:
    (runs / "controls").rename(runs / "mine")
    done = tipx("report", "mine")
    assert done.code == 0, done.err
    assert re.search(r"selector +ratio +arithmetic mean@4, % +tokens kept, %", done.out)


@pytest.mark.usefixtures("runs")
def test_trace(tipx: Tipx) -> None:
    out = tipx("report", "controls", "--trace", "random 0.2,arithmetic mean").out.splitlines()
    assert out[0] == "random 0.2, arithmetic mean@4, %"
    assert len(out) == 4
    assert all("01234567" in line and "result.json" in line for line in out[1:])
    missed = tipx("report", "controls", "--trace", "rando 0.2,arithmetic")
    assert missed.code == 2
    assert "no row 'rando 0.2'; expected ROW,COL, and rows are: full; soft_or 0.5; random 0.2" in missed.err


def test_where(runs: Path, tipx: Tipx) -> None:
    done = tipx("report", "controls", "--where", "selector=full,random", "--where", "seed=0,1")
    assert done.code == 0, done.err
    assert [line.split()[0] for line in done.out.splitlines()[4:6]] == ["full", "random"]
    assert "± one standard error over 2 seeds" in done.out
    assert "- only runs with selector=full,random, seed=0,1" in done.out
    cells = pd.read_csv(runs / "controls" / "report" / "controls" / "table.csv")
    assert set(cells["selector"]) == {"full", "random"}
    missed = tipx("report", "controls", "--where", "selectr=full")
    assert (missed.code, len(missed.err.splitlines())) == (2, 1)
    assert "--where: no run has the key 'selectr'" in missed.err
    assert "near: selector" in missed.err


def test_wandb_is_offline(runs: Path, tipx: Tipx, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / name))
    assert tipx("report", "controls", "--wandb").code == 0
    wandb.teardown()
    (log,) = (runs / "controls" / "report" / "controls").glob("wandb/offline-run-*/*.wandb")
    text = log.read_bytes()
    assert b"controls" in text
    assert b"table-file" in text
    assert b"bars-mean" in text


WRONG = {
    "title: x\nrow: [selector]\n": "row: no such key; expected rows",
    "title: x\n": "rows: is missing",
    "title: x\nrows: [selector]\nvalues: [meen]\n": "values: unknown value 'meen'; expected one of mean, before",
    "title: x\nrows: [selector]\nfigures: [{kind: pie}]\n": "figures.0.kind",
    "title: x\nrows: [selecto]\n": "no run has the key 'selecto'",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_report_of_ones_own_that_is_wrong(text: str, runs: Path, tipx: Tipx) -> None:
    (runs.parent / "mine.yaml").write_text(text)
    done = tipx("report", "mine.yaml", "--sweep", "controls")
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert WRONG[text] in done.err


def test_every_shipped_report_is_valid() -> None:
    assert len(available(None)) >= 16
    assert all(load(name, None) is not None for name in available(None))
    with pytest.raises(ReportError, match="is not a folder"):
        available(Path("nowhere"))


def test_a_report_for_programs_is_its_table_and_the_files_are_written_still(runs: Path, tipx: Tipx) -> None:
    done = tipx("report", "controls", "--csv")
    folder = runs / "controls" / "report" / "controls"
    assert done.out == (folder / "table.csv").read_text()
    assert f"files    runs/controls/report/{folder.name}" in done.err
    rows = json.loads(tipx("report", "controls", "--json").out)
    cells = pd.read_csv(folder / "table.csv")
    assert [row["mean"] for row in rows] == pytest.approx(cells["mean"].tolist())
    traced = json.loads(tipx("report", "controls", "--trace", "random 0.2,arithmetic mean", "--json").out)
    assert len(traced) == 3
    assert tipx("report", "controls", "--json", "--csv").code == 2


def test_without_a_name_reports_and_groups_are_listed(runs: Path, tipx: Tipx) -> None:
    (runs / "empty" / "tiny-full-00000000").mkdir(parents=True)
    (next((runs / "controls").glob("tiny-full-*")) / "summary.json").unlink()
    for words in ([], ["--list"]):
        done = tipx("report", *words)
        lines = [" ".join(line.split()) for line in done.out.splitlines()]
        assert (done.code, done.err) == (0, "")
        assert "controls 8 of 9 runs finished" in lines
        assert any(line.startswith("table4_q3 ") for line in lines)
        assert "empty" not in done.out
    rows = json.loads(tipx("report", "--json").out)
    assert [row["name"] for row in rows if row["kind"] == "group"] == ["controls", "table5_main"]
    assert {"kind", "name", "description", "typed"} == rows[0].keys()


@pytest.mark.usefixtures("runs")
def test_runs_are_filtered_and_sorted(tipx: Tipx) -> None:
    out = tipx("runs", "group=controls", "selector=full,random", "--sort", "arithmetic.mean", "--columns", "seed").out
    names = [line.split()[0] for line in out.splitlines() if line.startswith("tiny-")]
    assert [name.split("-")[1] for name in names] == ["full"] * 3 + ["random"] * 3
    assert "6 runs" in out
    assert "6 runs" in tipx("runs", "optim.lr=1e-6").out
    assert "near: selector" in tipx("runs", "selecto=full").err


def test_what_comes_next_is_compared_with_the_newest_run_that_is_like_it(runs: Path, tmp_path: Path) -> None:
    full, soft, random = (min((runs / "controls").glob(f"tiny-{rule}-*")) for rule in ("full", "soft_or", "random"))
    for run in (runs / "controls").glob("tiny-*"):
        os.utime(run / "metrics.jsonl", (1e9, 1e9))
        os.utime(run / "config.yaml", (1e9, 1e9))
    os.utime(soft / "metrics.jsonl", (2e9, 2e9))
    os.utime(random / "metrics.jsonl", (3e9, 3e9))
    place = f"--runs-dir {runs}"
    inspect = f"tipx inspect {full.name} {place}"
    evaluate = f"tipx eval {full.name} benchmark=arithmetic eval=sampled n=16 {place}"
    run = StoredRun(Run(full))
    assert next_commands(run, None) == [inspect, evaluate, f"tipx compare {random.name} {full.name} {place}"]
    (random / "summary.json").unlink()  # a run that is not finished is none to compare with
    assert next_commands(run, None)[-1] == f"tipx compare {soft.name} {full.name} {place}"
    assert "--config-dir my --runs-dir" in next_commands(run, Path("my"))[1]
    twin = Path(shutil.copytree(full, tmp_path / "runs" / "alone" / full.name))
    shutil.rmtree(twin / "rollouts")  # nothing was sampled there
    assert next_commands(StoredRun(Run(twin)), None) == [evaluate.replace(full.name, str(twin)), f"tipx runs {place}"]
    (full / "config.yaml").write_text("{")
    assert next_commands(StoredRun(Run(full)), None) == []


def test_a_run_is_not_removed_by_the_name_of_a_group(runs: Path, tipx: Tipx) -> None:
    before = sorted(runs.glob("*/*"))
    done = tipx("runs", "rm", "controls", "--yes")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "'controls' is a group; to remove all of its runs, type `tipx runs rm group=controls`" in done.err
    assert sorted(runs.glob("*/*")) == before
    assert "expected `tipx runs rm RUN...`" in tipx("runs", "--sort", "seed", "rm", "x").err


def test_the_newest_run_is_removed(runs: Path, tipx: Tipx) -> None:
    newest = sorted((runs / "controls").glob("tiny-*"))[4]
    os.utime(newest / "metrics.jsonl", (2e9, 2e9))
    done = tipx("runs", "rm", "@last", "--yes")
    assert (done.code, done.out) == (0, f"runs/controls/{newest.name}\n")
    assert not newest.exists()


def test_removing_has_a_help_of_its_own(tipx: Tipx) -> None:
    out = tipx("runs", "rm", "--help").out
    assert "--yes" in out
    assert "--sort" not in out
    assert "--yes" not in tipx("runs", "--help").out


def test_runs_are_removed_when_that_is_confirmed(runs: Path, tipx: Tipx) -> None:
    chosen = sorted((runs / "controls").glob("tiny-random-*"))
    with FileLock(chosen[0] / ".lock"):
        done = tipx("runs", "rm", "selector=random", "--yes")
    assert done.code == 2
    assert "is being written by another process" in done.err
    assert all(path.exists() for path in chosen)
    assert tipx("runs", "rm", "selector=random", "--yes").code == 0
    assert not any(path.exists() for path in chosen)
    assert len([*(runs / "controls").glob("tiny-*")]) == 6
