"""What a shell is offered at a TAB, through the protocol of environment variables that its script speaks."""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Tipx
from tests.cli.test_startup import COMPOSE, FILES, GPU_STACK
from tipx.cli import app
from tipx.runs.mark import MARK

PROGRAM = """
import json, sys
sys.argv = ["tipx"]
try:
    from tipx.__main__ import main
    main()
finally:
    print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})), file=sys.stderr)
"""


def bash(*words: str) -> dict[str, str]:
    """What bash says of words, the last of which is completed; it takes KEY=VALUE apart."""
    return {"_TIPX_COMPLETE": "complete_bash", "COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}


def zsh(line: str) -> dict[str, str]:
    return {"_TIPX_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": line}


def offered(environment: dict[str, str], folder: Path) -> list[str]:
    """The lines that a shell gets."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.chdir(folder)
        for name, value in environment.items():
            patch.setenv(name, value)
        with pytest.raises(SystemExit) as stop:
            app(args=[], prog_name="tipx", standalone_mode=False)
    assert stop.value.code == 0
    assert err.getvalue() == ""
    return [line for line in out.getvalue().splitlines() if line]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with runs, one of them with a name that a shell would run."""
    for name in ("demo/tiny-full-00000001", "demo/tiny-soft_or-00000002", "solo/$(touch pwned)-00000003"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / MARK).touch()
    (tmp_path / "runs" / "notes" / "text").mkdir(parents=True)
    (tmp_path / "other" / "mine" / "pair-q1-00000004").mkdir(parents=True)
    (tmp_path / "other" / "mine" / "pair-q1-00000004" / MARK).touch()
    return tmp_path


RUNS = ["tiny-full-00000001", "tiny-soft_or-00000002"]
CASES: dict[str, tuple[list[str], list[str]]] = {
    "a selector": (["train", "selector", "=", "so"], ["soft_or"]),
    "a selector with a mark": (["train", "+experiment", "=", "tiny"], ["tiny", "tiny_agent"]),
    "part of a selector": (["train", "selector/score", "=", "ent"], ["entropy"]),
    "all choices": (["train", "norm", "="], ["v1", "v4", "v4_rollout"]),
    "the last of several": (["sweep", "selector", "=", "full,so"], ["full,soft_or"]),
    "a group's name": (["train", "rat"], ["ratio=", "ratio=0.5"]),
    "a key": (["train", "optim.l"], ["optim.lr=", "optim.lr=0.001", "optim.lr=1e-06"]),
    "a key inside a group": (["train", "selector.pick.sc"], ["selector.pick.scope=", "selector.pick.scope=response"]),
    "a key of eval": (["eval", "X", "checkp"], ["checkpoint=", "checkpoint=last"]),
    "a sweep": (["sweep", "table5"], ["table5_main"]),
    "no second sweep": (["sweep", "controls", "table5"], []),
    "a report": (["report", "table5"], ["table5_main"]),
    "a group as a report": (["report", "dem"], ["demo"]),
    "a group to read": (["report", "controls", "--sweep", "d"], ["demo"]),
    "a run": (["inspect", "tiny"], RUNS),
    "a run or a group": (["eval", ""], ["@last", "demo", "solo", *RUNS]),
    "the newest run": (["tokens", "@"], ["@last"]),
    "the newest run, which bash takes apart": (["tokens", "@", "la"], []),
    "runs elsewhere": (["inspect", "--runs-dir", "other", "p"], ["pair-q1-00000004"]),
    "runs elsewhere, as an override": (["runs", "rm", "runs_dir", "=", "other", "p"], ["pair-q1-00000004"]),
    "a run to remove": (["runs", "rm", "tiny-f"], RUNS[:1]),
    "a run to show": (["show", "tiny-s"], RUNS[1:]),
    "rm": (["runs", "r"], ["ratio=", "rm", "rollout/calls=", "rollout=", "runs_dir="]),
    "a state": (["runs", "state", "=", "f"], ["finished"]),
    "a kind": (["list", "se"], ["selectors"]),
    "a command": (["tok"], ["tokens"]),
    "nothing of that name": (["train", "nonsense.x"], []),
    "a folder above": (["train", "../sweeps", "="], []),
    "a path that no file system takes": (["show", "runs_dir", "=", "x" * 300, "tiny"], []),
}


@pytest.mark.parametrize("case", CASES)
def test_what_bash_is_offered(case: str, folder: Path) -> None:
    words, expected = CASES[case]
    assert offered(bash("tipx", *words), folder) == expected
    assert not (folder / "pwned").exists()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("tipx train selector=so", '"selector=soft_or"'),
        ("tipx sweep model=tiny selector=full,so", '"selector=full,soft_or"'),
        ("tipx inspect @la", '"@last"'),
        ("tipx eval tiny-f", '"tiny-full-00000001"'),
        ("tipx tokens sol", '"solo"'),
    ],
)
def test_what_zsh_is_offered(line: str, expected: str, folder: Path) -> None:
    assert offered(zsh(line), folder) == [f"_arguments '*: :(({expected}))'"]


def test_no_name_that_a_shell_would_run_is_offered(folder: Path) -> None:
    assert "touch" not in "".join(offered(zsh("tipx tokens "), folder) + offered(bash("tipx", "tokens", ""), folder))


@pytest.mark.parametrize("words", [["train", "selector", "=", "so"], ["train", "optim.l"], ["eval", "tiny"]])
def test_it_is_quick_for_it_loads_nothing_heavy(words: list[str], folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=folder,
        env=os.environ | bash("tipx", *words),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.split()[0] in ("soft_or", "optim.lr=", RUNS[0])
    assert not set(json.loads(done.stderr.splitlines()[-1])) & (GPU_STACK | COMPOSE | FILES)


def test_the_script_can_be_had_and_installed(folder: Path, tipx: Tipx) -> None:
    assert "complete -o default -F _tipx_completion tipx" in offered({"_TIPX_COMPLETE": "source_bash"}, folder)
    assert "--install-completion" in tipx("--help").out
