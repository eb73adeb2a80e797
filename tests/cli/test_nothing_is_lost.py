"""Nothing that tipx did not make is deleted, and nothing that it made goes before its successor has begun."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.cli.conftest import Done, Tipx, call
from tipx.errors import ModelError
from tipx.runs.directory import Run
from tipx.runs.mark import MARK, is_run
from tipx.train.session import Session

Trained = tuple[Path, list[str], Done]


def content(folder: Path) -> dict[str, bytes | str]:
    """Every file and link below a folder."""
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() or path.is_symlink()
    }


@pytest.fixture
def place(trained: Trained, tmp_path: Path) -> Path:
    """A copy of the finished run, below `runs/`."""
    return Path(shutil.copytree(trained[0], tmp_path / "place", symlinks=True))


@pytest.fixture
def here(place: Path) -> Tipx:
    return partial(call, place)


@pytest.fixture
def run(place: Path) -> Run:
    (path,) = (place / "runs" / "paper").glob("tiny-*")
    return Run(path)


def stranger(folder: Path) -> Path:
    """A project that has nothing to do with tipx, but for the names of its files."""
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "thesis.tex").write_text("years of work")
    for name in ("config.yaml", "config.json", "metrics.jsonl", "manifest.json", "README.md"):
        (folder / name).write_text("{}")
    return folder


@pytest.fixture
def kept(place: Path) -> Iterator[None]:
    """Whatever the test does, nothing changes."""
    before = content(place)
    yield
    assert content(place) == before


# --- tipx runs rm ----------------------------------------------------------------------------------------------------


def test_a_strangers_folder_is_no_run(place: Path, here: Tipx, run: Run) -> None:
    mine = stranger(place / "runs" / "paper" / "thesis")
    named = stranger(place / "runs" / "paper" / "thesis-0123abcd")
    copied = stranger(place / "project")
    shutil.copy(run.config_file, copied / "config.yaml")
    before = content(place)
    for name in (mine, named, copied, place, place / "runs", run.path / "checkpoints", Path("thesis")):
        done = here("runs", "rm", str(name), "-y")
        assert (done.code, done.out) == (2, ""), name
        assert "no run" in done.err
    assert content(place) == before


def test_a_run_is_removed_whole_and_alone(place: Path, here: Tipx, run: Run) -> None:
    other = shutil.copytree(run.path, run.path.with_name("tiny-other-89abcdef"))
    assert here("runs", "rm", run.path.name, "-y").code == 0
    assert [path.name for path in (place / "runs" / "paper").iterdir()] == [other.name]
    # Twice the same, or with a filter beside it, is once.
    assert here("runs", "rm", other.name, str(other), "state=finished", "-y").code == 0
    assert not list((place / "runs" / "paper").iterdir())


@pytest.mark.usefixtures("kept")
def test_what_is_not_below_the_runs_folder_stays(here: Tipx, run: Run, tmp_path: Path) -> None:
    away = Path(shutil.copytree(run.path, tmp_path / "away" / "group" / run.path.name))
    done = here("runs", "rm", str(away), "-y")
    assert done.code == 2
    assert f"is not in a group below runs, and stays; to remove {away}, give --runs-dir {tmp_path / 'away'}" in done.err
    assert is_run(away)
    assert here("runs", "rm", str(away), "-y", "--runs-dir", str(tmp_path / "away")).code == 0
    assert not away.exists()


def test_a_link_to_a_run_stays_and_so_does_the_run(place: Path, here: Tipx, run: Run, tmp_path: Path) -> None:
    away = run.path.rename(tmp_path / run.path.name)
    run.path.symlink_to(away)
    before = content(place), content(away)
    done = here("runs", "rm", run.path.name, "-y")
    assert done.code == 2
    assert "is a link, and stays" in done.err
    assert (content(place), content(away)) == before
    # One that cannot be removed keeps the others, too.
    other = shutil.copytree(away, run.path.with_name("tiny-other-89abcdef"))
    assert here("runs", "rm", other.name, run.path.name, "-y").code == 2
    assert is_run(Path(other))


def test_a_removal_that_was_stopped_is_finished_by_the_next(place: Path, here: Tipx, run: Run) -> None:
    half = run.path.with_name(f".{run.path.name}.removed")
    half.mkdir()
    (half / MARK).touch()
    (half / "metrics.jsonl").write_text("x")
    assert here("runs", "rm", run.path.name, "-y").code == 0
    assert not list((place / "runs" / "paper").iterdir())


def test_the_mark_goes_last(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: Path) -> None:
        raise OSError(16, "Device or resource busy", str(path))

    monkeypatch.setattr("tipx.runs.directory.remove", fails)
    monkeypatch.setattr(os.path, "lexists", lambda _: True)
    with pytest.raises(Exception, match=r"cannot remove .*Device or resource busy"):
        run.remove(run.path.parent.parent)
    assert is_run(run.path.with_name(f".{run.path.name}.removed"))


# --- empty names -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("name", ["", " ", "\t"])
@pytest.mark.parametrize(
    "command",
    [
        *(["runs", "rm", "NAME", "-y"], ["export", "NAME", "out"], ["inspect", "NAME"], ["tokens", "NAME"]),
        *(["eval", "NAME"], ["compare", "NAME", "NAME"], ["show", "NAME"]),
    ],
    ids=lambda words: words[0],
)
def test_an_empty_name_is_no_run(command: list[str], name: str, here: Tipx) -> None:
    done = here(*(name if word == "NAME" else word for word in command))
    assert (done.code, done.out) == (2, "")
    assert re.search(r"expected a (run|path)", done.err)
    assert done.err.count("\n") == 1


# --- tipx export -----------------------------------------------------------------------------------------------------


def test_an_export_replaces_an_export_as_it_was_written(place: Path, here: Tipx, run: Run) -> None:
    assert here("export", run.path.name, "out").code == 0
    assert here("export", run.path.name, "out").code == 2
    assert here("export", run.path.name, "out", "--force", "--checkpoint", "2").code == 0
    assert "step 2" in (place / "out" / "README.md").read_text()
    assert sorted(path.name for path in place.iterdir()) == ["out", "runs"]


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda out: (out / "notes.txt").write_text("mine"), "it holds notes.txt, which no export made"),
        (lambda out: (out / "README.md").write_text("mine"), "changed after it was exported"),
        (lambda out: (out / "src").mkdir(), "it holds src"),
        (lambda out: (out / "manifest.json").unlink(), "no export of tipx"),
        (lambda out: (out / "manifest.json").write_text("{}"), "changed after it was exported"),
        (lambda out: (out / "trainer.pt").write_text("x"), "no export of tipx"),
    ],
)
def test_what_no_export_made_is_not_replaced(
    harm: Callable[[Path], object], said: str, place: Path, here: Tipx, run: Run
) -> None:
    here("export", run.path.name, "out")
    harm(place / "out")
    before = content(place)
    done = here("export", run.path.name, "out", "--force")
    assert done.code == 2
    assert said in done.err
    assert content(place) == before


def test_a_strangers_model_and_the_runs_own_folders_stay(place: Path, here: Tipx, run: Run) -> None:
    mine = stranger(place / "model")
    before = content(place)
    inside = [run.path, run.path / "checkpoints", run.path / "checkpoints" / "000004", run.path / "new"]
    for target in (mine, place / "runs", *inside):
        done = here("export", run.path.name, str(target), "--force")
        assert (done.code, done.out) == (2, ""), target
    assert content(place) == before


def test_an_export_goes_where_a_link_leads(place: Path, here: Tipx, run: Run, tmp_path: Path) -> None:
    (place / "out").symlink_to(tmp_path / "disk" / "out")
    assert here("export", run.path.name, "out").code == 0
    assert (tmp_path / "disk" / "out" / "config.json").is_file()
    assert (place / "out").is_symlink()
    assert here("export", run.path.name, "out", "--force").code == 0
    (place / "round").symlink_to(place / "round")
    done = here("export", run.path.name, "round")
    assert (done.code, done.err.count("\n")) == (2, 1)


# --- tipx train --fresh ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("kept")
def test_fresh_keeps_a_run_that_cannot_start_again(here: Tipx, trained: Trained, run: Run) -> None:
    done = here("train", "--fresh", *trained[1], "loop.max_prompt_tokens=2")
    assert done.code == 2  # another run
    config = run.config()
    assert config["data"]["size"] == 32
    # The same run: what it needs is no longer there. Its name does not say where the guard's problems lie.
    done = here("train", "--fresh", *trained[1], "hardware.device=cpu", "logger=wandb", "logger.mode=nowhere")
    assert done.code == 2


def test_fresh_brings_back_a_run_whose_successor_trains_no_step(
    place: Path, here: Tipx, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(place)

    def fails(*_: object) -> None:
        raise ModelError("model.student.path: the weights are gone")

    monkeypatch.setattr("tipx.models.pair.Pair.load", fails)
    done = here("train", "--fresh", *trained[1])
    assert done.code == 2
    assert "is as it was before --fresh" in done.err
    after = content(place)
    assert after.pop(next(name for name in after if name.endswith(".lock"))) == b""
    before.pop(next(name for name in before if name.endswith(".lock")))
    assert after == before


def test_fresh_lets_go_of_the_old_run_with_the_first_step(
    here: Tipx, trained: Trained, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, bool]] = []
    log = Run.log

    def watched(one: Run, row: dict[str, object]) -> None:
        before = (one.path / ".previous" / "summary.json").exists()
        log(one, row)
        seen.append((int(str(row["step"])), before))
        assert not (one.path / ".previous").exists()

    monkeypatch.setattr(Run, "log", watched)
    assert here("train", "--fresh", *trained[1]).code == 0
    assert seen[:2] == [(0, True), (1, False)]
    assert len(run.provenance()["starts"]) == 1
    assert here("runs").code == 0


@pytest.mark.parametrize("moved", [0, 1, 3, 99])
def test_a_kill_while_the_old_run_is_set_aside_is_put_right(
    moved: int, place: Path, here: Tipx, trained: Trained, run: Run
) -> None:
    before = content(place)
    run.set_aside()
    if moved < 99:
        back = run.path / ".previous.moving"
        (run.path / ".previous").rename(back)
        for path in sorted(back.iterdir())[moved:]:
            path.rename(run.path / path.name)
    else:  # the new one had begun, and had no line yet
        shutil.copytree(run.path / ".previous" / "rollouts", run.path / "rollouts")
        (run.path / "provenance.json").write_text("{}")
        (run.path / "metrics.jsonl").touch()
    done = here("train", *trained[1])
    assert done.code == 0, done.err
    assert "already finished" in done.out
    assert content(place) == before


def test_a_kill_after_the_first_step_of_the_new_run_keeps_the_new_one(run: Run) -> None:
    run.set_aside()
    (run.path / "metrics.jsonl").write_text('{"step": 1}\n')
    with run.lock():
        run.recover(pytest.fail)
    assert run.rows() == [{"step": 1}]
    assert not (run.path / ".previous").exists()


# --- links, and folders that are somebody else's ---------------------------------------------------------------------


def test_a_run_behind_a_link_trains_evaluates_and_starts_over(
    here: Tipx, trained: Trained, run: Run, tmp_path: Path
) -> None:
    away = run.path.rename(tmp_path / "disk")
    run.path.symlink_to(away)
    checkpoints = (away / "checkpoints").rename(tmp_path / "checkpoints")
    (away / "checkpoints").symlink_to(checkpoints)
    (away / "summary.json").unlink()
    done = here("train", *trained[1])
    assert done.code == 0, done.err
    assert (run.path.is_symlink(), (away / "checkpoints").is_symlink()) == (True, True)
    one = (checkpoints / "000002").rename(tmp_path / "000002")
    (checkpoints / "000002").symlink_to(one)
    before = content(tmp_path / "000002")
    assert here("train", "--fresh", *trained[1]).code == 0
    assert content(tmp_path / "000002") == before  # a link goes, what it led to stays
    assert [step for step, _ in run.checkpoints.saved()] == [2, 4]
    assert run.finished


def test_a_directory_with_content_of_others_is_not_written(place: Path, here: Tipx, trained: Trained, run: Run) -> None:
    shutil.rmtree(run.path)
    stranger(run.path)
    (run.path / "config.yaml").unlink()
    before = content(place)
    done = here("train", "--fresh", *trained[1])
    assert done.code == 2
    assert "is no run of tipx; move it away" in done.err
    assert content(place) == before


def test_a_link_to_an_empty_folder_stays_when_a_run_cannot_start(
    here: Tipx, trained: Trained, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(run.path)
    (tmp_path / "disk").mkdir()
    run.path.symlink_to(tmp_path / "disk")

    def fails(*_: object, **__: object) -> None:
        raise ModelError("no")

    monkeypatch.setattr(Session, "prepare", fails)
    assert here("train", *trained[1]).code == 2
    assert run.path.is_symlink()


# --- files of the user's choice --------------------------------------------------------------------------------------


def test_a_page_a_picture_and_a_report_take_the_place_of_their_own_kind_alone(
    place: Path, here: Tipx, run: Run
) -> None:
    commands = {
        "page.html": ["inspect", run.path.name, "--out", "page.html"],
        "page.png": ["tokens", run.path.name, "--plot", "page.png"],
        "page.svg": ["tokens", run.path.name, "--plot", "page.svg"],
        "page.pdf": ["tokens", run.path.name, "--plot", "page.pdf"],
        "table/index.html": ["report", "paper", "--out", "table"],
        "needs/memory.csv": ["memory", "--out", "needs"],
    }
    for name, words in commands.items():
        assert here(*words).code == 0, name
        assert here(*words).code == 0, name
        (place / name).write_text("years of work")
        if "/" in name:
            (place / name).with_name(".tipx-files").unlink()
        done = here(*words)
        assert (done.code, done.err.count("\n")) == (2, 1), name
        assert "was not made by tipx; it stays" in done.err
        assert (place / name).read_text() == "years of work"


def test_models_are_built_in_an_empty_folder(place: Path, here: Tipx) -> None:
    (place / "README.md").write_text("my project")
    before = content(place)
    for command in ("build", "agents"):
        done = here("tiny", command, ".")
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert "is not empty (it holds README.md), and stays; give a new or empty folder" in done.err
    assert content(place) == before


# --- reading ---------------------------------------------------------------------------------------------------------


def test_a_report_of_no_name_is_not_a_group(here: Tipx) -> None:
    done = here("report", "contrls", "--sweep", "paper")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "no report and no group of runs 'contrls', did you mean controls?" in done.err


def test_a_damaged_run_is_listed_and_the_others_are_too(place: Path, here: Tipx, run: Run) -> None:
    other = Path(shutil.copytree(run.path, run.path.with_name("tiny-other-89abcdef")))
    with (other / "metrics.jsonl").open("ab") as handle:
        handle.write(bytes(200) + b"\n")
    done = here("runs")
    assert done.code == 0
    assert f"damaged: {other.relative_to(place)}/metrics.jsonl is damaged: line 6 is no JSON" in done.out
    rows = {line.split()[0]: line for line in done.out.splitlines() if line.startswith("tiny-")}
    assert ("finished" in rows[run.path.name], "damaged" in rows[other.name]) == (True, True)
    assert other.name in here("runs", "state=damaged").out
    assert run.path.name not in here("runs", "state=damaged").out
    assert other.name not in here("runs", "selector=soft_or").out
    done = here("report", "paper")
    assert done.code == 0, done.err
    assert "left out: runs/paper/tiny-other-89abcdef/metrics.jsonl is damaged" in done.out


# A file system that takes no write below a folder: an audit hook, since root may write whatever the mode says.
READ_ONLY = """
import errno, os, sys
from pathlib import Path
from tests.cli.conftest import call

def refuse(event, args):
    writes = event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    changes = event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.utime", "os.symlink")
    if (writes or changes) and isinstance(args[0], (str, bytes, Path)) and os.path.abspath(args[0]).startswith(PLACE):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), args[0])

sys.addaudithook(refuse)
for words in COMMANDS:
    done = call(Path(PLACE), *words)
    print(words[0], done.code, "; ".join(done.err.splitlines()), flush=True)
"""


def test_what_others_run_can_be_looked_at(place: Path, run: Run, tmp_path: Path) -> None:
    """By somebody who may read it and write nothing."""
    name, out = run.path.name, tmp_path / "out"
    out.mkdir()
    commands = [["runs"], ["show", name], ["tokens", name], ["compare", name, name], ["inspect", name, "--text"]]
    commands += [["report", "paper", "--out", str(out / "report")], ["inspect", name, "--out", str(out / "page.html")]]
    commands += [["eval", name, "n=2", "limit=3", "hardware.device=cpu"]]
    refused = [["inspect", name], ["report", "paper"], ["runs", "rm", name, "-y"], ["export", name, "model"]]
    code = f"PLACE, COMMANDS = {str(place)!r}, {commands + refused!r}\n{READ_ONLY}"
    before = content(place)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    for words, line in zip(commands, said, strict=False):
        assert re.fullmatch(rf"{words[0]} 0 (already evaluated: .*)?", line), line
    for words, line in zip(refused, said[len(commands) :], strict=True):
        assert re.match(rf"{words[0]} [12] error: .*Read-only file system", line), line
    assert content(place) == before
