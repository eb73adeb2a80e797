"""`--runs-dir PATH` and `runs_dir=PATH` are the same for every command."""

import shutil
from pathlib import Path

import pytest
import typer

from tests.cli.conftest import Done, Tipx
from tipx.cli import app
from tipx.cli.options import add_runs_dir, fill_environment, take_runs_dir
from tipx.config import load
from tipx.errors import ConfigError

Trained = tuple[Path, list[str], Done]
TAKES = ["train", "preflight", "eval", "compare", "sweep", "inspect", "tokens", "export", "runs", "runs rm", "report"]
TAKES += ["show", "memory"]


@pytest.mark.parametrize("path", ["elsewhere", "/a/b.c", "../x", "a b", "it's", "2024", "null", "1e5", ".5", "ä"])
def test_the_option_is_the_override_whatever_the_path(path: str) -> None:
    words = add_runs_dir(["ratio=0.1"], Path(path))
    assert load(words).runs_dir == path
    assert add_runs_dir(words, Path(path)) == words
    assert take_runs_dir(words, None) == (["ratio=0.1"], Path(path)) or "'" in path


def test_a_plain_path_is_written_as_it_is_typed() -> None:
    # A sweep without a name is told by its words.
    assert add_runs_dir(["a=1,2"], Path("x/runs-2")) == ["a=1,2", "runs_dir=x/runs-2"]


def test_where_nothing_is_said() -> None:
    assert add_runs_dir(None, None) == []
    assert take_runs_dir(None, None) == ([], Path("runs"))
    assert take_runs_dir(["A", "benchmark=x"], Path("y")) == (["A", "benchmark=x"], Path("y"))


def test_two_that_differ_are_refused_and_two_that_are_equal_are_not() -> None:
    assert take_runs_dir(["++runs_dir=x/"], Path("x")) == ([], Path("x"))
    for function in (add_runs_dir, take_runs_dir):
        with pytest.raises(ConfigError, match="runs_dir=a and --runs-dir b: expected one folder, got two"):
            function(["runs_dir=a"], Path("b"))


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCH", "/data")
    assert take_runs_dir(["runs_dir=${oc.env:SCRATCH}/runs"], None) == ([], Path("/data/runs"))
    monkeypatch.delenv("SCRATCH")
    with pytest.raises(ConfigError, match="the environment has no 'SCRATCH'"):
        fill_environment("${oc.env:SCRATCH}/runs")


@pytest.mark.parametrize("name", TAKES)
def test_every_command_has_the_option(name: str) -> None:
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined] - it is a group
    assert any("--runs-dir" in param.opts for param in command.params)


COMMANDS = [
    ["runs"],
    ["show", "@last"],
    ["tokens", "@last"],
    ["inspect", "@last", "--text"],
    ["compare", "@last", "paper"],
    ["report", "paper"],
    ["export", "paper", "model", "--force"],
    ["eval", "paper", "hardware.device=cpu", "n=2", "limit=3", "eval.greedy=false"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
def test_both_find_the_runs(command: list[str], trained: Trained, tipx: Tipx, tmp_path: Path) -> None:
    shutil.copytree(trained[0] / "runs", tmp_path / "elsewhere")
    (run,) = tmp_path.glob("elsewhere/paper/*")
    done = [tipx(*command, *words) for words in (["runs_dir=elsewhere"], ["--runs-dir", "elsewhere"])]
    assert [one.code for one in done] == [0, 0], done[0].err + done[1].err
    assert done[0].out
    if "@last" in command:
        assert f"@last is elsewhere/paper/{run.name}" in done[0].err
    assert tipx(*command).code == (0 if command == ["runs"] else 2)
    both = tipx(*command, "--runs-dir", "elsewhere", "runs_dir=other")
    assert (both.code, both.err.count("\n")) == (2, 1)
    assert "runs_dir=other and --runs-dir elsewhere: expected one folder, got two" in both.err


def test_training_goes_there(trained: Trained, tipx: Tipx, tmp_path: Path) -> None:
    words = [word for word in trained[1] if not word.startswith("loop.")]
    few = ["loop.steps=1", "loop.prompts=2", "loop.eval_every=0", "loop.sample_every=0", "--runs-dir", "a b"]
    done = tipx("train", *words, *few)
    assert done.code == 0, done.err
    (run,) = tmp_path.glob("a b/paper/*")
    assert done.err.splitlines()[-1] == "next     tipx runs --runs-dir 'a b'"
    again = tipx("train", *words, *few[:-2], "runs_dir=a b")
    assert f"already finished: a b/paper/{run.name}" in again.out
