"""The rows `teacher` and `start`: there where they were measured as the rows were, and in no test and no figure."""

import json
import shlex
from collections.abc import Callable
from math import sqrt
from pathlib import Path

import pytest
import yaml

from tests.report.by_hand import add_result, copy_first, set_model, set_result, set_scores, to_held_out
from tipx.config import load, resolve, with_benchmark_choices
from tipx.report import Table
from tipx.report.figures import draw
from tipx.report.formats import csv, markdown
from tipx.report.trace import cell_named, records

Sweep = Callable[..., list[Path]]
Make = Callable[..., Table]
TEACHER = "embedded:arithmetic/teacher"
GRID = [["selector=full"], ["selector=soft_or", "ratio=0.5"]]


def lines(table: Table) -> dict[str, list[str]]:
    """Cells by the first name of a line of Markdown."""
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown(table).splitlines()]
    return {cells[0]: cells[1:] for cells in found if len(cells) > 2 and not set(cells[0]) <= set(":-")}


def of_teacher(runs_dir: Path, run: Path, **facts: object) -> Path:
    """A result of `tipx eval TEACHER`, as that of a run but for some facts."""
    return set_model(runs_dir, TEACHER, run, **facts)


@pytest.fixture
def made(sweep: Sweep) -> list[Path]:
    """Two rows of two seeds that begin at 0.25 and 0.5."""
    runs = sweep(grid=GRID, seeds=2, base=["experiment=tiny", f"model.teacher.path={TEACHER}"])
    for run, first in zip(runs, [0.25, 0.5] * 2, strict=True):
        set_scores(run, [0.5, 0.75, 1.0, 0.25])
        copy_first(run, mean=first, greedy=0.5)
    return runs


def test_both_stand_above_the_rows(made: list[Path], table: Make, runs_dir: Path) -> None:
    of_teacher(runs_dir, made[0], mean=0.875, mean_se=0.03125, greedy=1.0)
    found = lines(table())
    assert list(found) == ["selector", "teacher", "start", "full", "soft_or"]
    # Over seeds: the mean of 0.25 and 0.5, and |0.5 - 0.25| / 2; of the teacher, over problems.
    assert found["start"][:4] == ["-", "37.5 ± 12.5", "", "50.0 ± 0.0"], "no gap is between a model and itself"
    assert found["teacher"][:3] == ["-", "87.5 ± 3.1 (n=1)", ""]
    assert found["start"][4:] == [""] * 5, "nothing was kept before training"


def test_they_are_in_no_test_and_in_no_figure(made: list[Path], table: Make, runs_dir: Path) -> None:
    of_teacher(runs_dir, made[0], mean=0.99)
    found = table()
    assert [row[0] for row in found.rows] == ["full", "soft_or"]
    assert not any(cell.test or cell.best or cell.paper for cell in found.references.values())
    bars = next(figure for name, figure in draw(found).items() if name == "bars-mean")
    assert len(bars.axes[0].patches) == 2


def test_where_they_come_from(made: list[Path], table: Make, runs_dir: Path) -> None:
    file = of_teacher(runs_dir, made[0], mean=0.875)
    found = table()
    *_, cell = cell_named(found, "teacher,arithmetic mean")
    seen = [(one["run"], one["seed"], one["value"], one["commit"], one["file"]) for one in records(cell)]
    assert seen == [(file.parent.parent.name, "-", 0.875, "-", str(file))]
    *_, start = cell_named(found, "start,arithmetic mean")
    assert ["/evals/000000/" in one["file"] for one in records(start)] == [True, True]
    assert sum(line.startswith("start,,arithmetic,mean,0.375,0.125,2,seeds") for line in csv(found).splitlines()) == 1


def test_without_a_measurement_there_is_no_row(sweep: Sweep, table: Make) -> None:
    sweep(grid=GRID)
    assert table().references == {}


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"n": 16}, "n: 4, 16"),
        ({"temperature": 0.5}, "temperature: 1.0, 0.5"),
        ({"grading": {"version": 2, "readings": {}}}, "grading: 1, 2"),
    ],
)
def test_a_teacher_that_was_measured_otherwise_is_left_out_and_said(
    facts: dict[str, object], said: str, made: list[Path], table: Make, runs_dir: Path
) -> None:
    of_teacher(runs_dir, made[0], **facts)
    found = table()
    assert "teacher" not in lines(found)
    notes = [note for note in found.notes if note.startswith(("no teacher", "teacher not"))]
    assert notes[0] == f"no teacher on arithmetic: it was evaluated in another way ({said})"
    (command,) = notes[1:]
    assert command.startswith(f"teacher not measured: `tipx eval {TEACHER} benchmark=arithmetic ")


def test_a_start_of_another_grader_is_left_out_and_said(made: list[Path], table: Make) -> None:
    for run in made:
        set_result(run, grading={"version": 2, "readings": {}})
    found = table()
    assert found.references == {}
    assert "no start on arithmetic: it was evaluated in another way (grading: 2, 1)" in found.notes


@pytest.mark.parametrize("path", ["a\0b", "no/such/folder", " ", "--config-dir=x"])
def test_a_teacher_that_nobody_can_have_measured(path: str, sweep: Sweep, table: Make) -> None:
    (run,) = sweep(grid=GRID[:1], seeds=1)
    config = run / "config.yaml"
    tree = yaml.safe_load(config.read_text())
    tree["model"]["teacher"]["path"] = path
    config.write_text(yaml.safe_dump(tree))
    made = table()
    assert made.references == {}
    assert not [note for note in made.notes if "tipx eval -" in note], "a path is no option"


def test_rows_of_two_benchmarks_have_no_common_start(sweep: Sweep, table: Make, tmp_path: Path) -> None:
    for run in sweep(grid=GRID[:1], seeds=1, benchmarks=("arithmetic", "math500")):
        for file in list(run.glob("evals/*/*/result.json")):
            add_result(run, 0, file.parent.name, json.loads(file.read_text()))
    own = tmp_path / "mine.yaml"
    own.write_text("title: x\nrows: [selector, benchmark]\n")
    assert table(str(own), sweeps=("controls",)).references == {}


def test_rows_of_two_students_have_no_common_start(sweep: Sweep, table: Make, tmp_path: Path) -> None:
    pruned = [["model.student.keep_layers=[0]"], ["model.student.keep_layers=[0,1]"]]
    for run in sweep(grid=pruned, seeds=1, base=["experiment=tiny"]):
        copy_first(run, mean=0.25)
    own = tmp_path / "mine.yaml"
    own.write_text("title: x\nrows: [model.student.keep_layers]\n")
    assert table(str(own), sweeps=("controls",)).references == {}


def test_a_damaged_result_of_the_teacher_is_named(made: list[Path], table: Make, runs_dir: Path) -> None:
    of_teacher(runs_dir, made[0]).write_text("{")
    found = table()
    (name,) = found.names
    assert "result.json is damaged" in name


def test_held_out_texts_know_both(sweep: Sweep, table: Make, tmp_path: Path) -> None:
    for run in sweep(grid=GRID, seeds=2):
        to_held_out(run, perplexity=8.0, perplexity_se=0.5, teacher_perplexity=4.5, teacher_perplexity_se=0.25)
        copy_first(run, perplexity=20.0, reverse_kl=2.0)
    own = tmp_path / "mine.yaml"
    own.write_text("title: x\nrows: [selector, ratio]\nvalues: [perplexity, reverse_kl]\n")
    found = lines(table(str(own), sweeps=("controls",)))
    assert found["teacher"] == ["-", "4.500 ± 0.250 (n=1)", ""]
    assert found["start"] == ["-", "20.000 ± 0.000", "2.000 ± 0.000"]
    assert found["full"][1] == "**8.000** ± 0.000"


def test_the_error_of_one_seed_s_start_is_over_problems(sweep: Sweep, table: Make) -> None:
    (run,) = sweep(grid=GRID[:1], seeds=1)
    set_scores(run, [0.5, 0.75, 1.0, 0.25])
    copy_first(run)
    # Mean 0.625, deviations -1/8, 1/8, 3/8, -3/8: variance (1 + 1 + 9 + 9) / 64 / 3.
    assert lines(table())["start"][1] == f"62.5 ± {100 * sqrt(20 / 64 / 3 / 4):.1f}"


STUDENT = "embedded:student"


def test_a_start_that_no_run_measured_is_that_of_the_student(sweep: Sweep, table: Make, runs_dir: Path) -> None:
    runs = sweep(grid=GRID, seeds=2)
    file = set_model(runs_dir, STUDENT, runs[0], mean=0.25, mean_se=0.0625)
    found = table()
    assert lines(found)["start"][1] == "25.0 ± 6.2 (n=1)"
    *_, cell = cell_named(found, "start,arithmetic mean")
    assert [record["file"] for record in records(cell)] == [str(file)]
    assert not [note for note in found.notes if note.startswith("start not measured")]
    for run in runs:
        copy_first(run, mean=0.5)
    assert lines(table())["start"][1] == "50.0 ± 0.0", "what the runs measured comes first"


def test_a_pruned_student_is_not_the_model_of_its_folder(sweep: Sweep, table: Make, runs_dir: Path) -> None:
    runs = sweep(grid=GRID, seeds=2, base=["experiment=tiny", "model.student.keep_layers=[0]"])
    set_model(runs_dir, STUDENT, runs[0], mean=0.25)
    found = table()
    assert "start" not in lines(found)
    assert not [note for note in found.notes if note.startswith("start not measured")], "no command measures it"


@pytest.mark.parametrize(
    "typed",
    [
        ["experiment=tiny"],
        [
            "experiment=tiny",
            "eval.n=8",
            "eval.sampling.temperature=0.5",
            "model.template.instruction='in words, please'",
        ],
        ["experiment=tiny_agent"],
        ["experiment=qwen3"],
        ["experiment=qwen3_agent_14b"],
    ],
    ids=" ".join,
)
def test_the_command_that_measures_asks_as_the_runs_did(
    typed: list[str], sweep: Sweep, table: Make, runs_dir: Path
) -> None:
    own = resolve(load(typed))
    teacher = str(own["model"]["teacher"]["path"])
    sweep(grid=GRID, base=typed, result={"dtype": "float32"})
    notes = [note for note in table().notes if "not measured" in note]
    assert [note.split(":")[0] for note in notes] == ["teacher not measured", "start not measured"]
    _, _, model, *words = shlex.split(notes[0].split("`")[1])
    assert model == teacher
    made = resolve(load(with_benchmark_choices(words), "eval"))
    for tree in (made, own):
        del tree["eval"]["sampling"].get("backend", tree["eval"]["sampling"])["batch_size"]
    assert (made["eval"], made["template"]) == (own["eval"], own["model"]["template"])
    assert (made["benchmark"], made["dtype"], made["runs_dir"]) == (own["benchmark"], "float32", str(runs_dir))


def test_the_command_says_what_is_usual_by_its_name(sweep: Sweep, table: Make) -> None:
    sweep(grid=GRID, base=["experiment=tiny", "eval.n=8"])
    (note,) = (note for note in table().notes if note.startswith("teacher not measured"))
    start = (
        "teacher not measured: `tipx eval embedded:teacher benchmark=arithmetic eval=sampled eval.n=8 template=plain "
    )
    assert note.startswith(f"{start}runs_dir=")
