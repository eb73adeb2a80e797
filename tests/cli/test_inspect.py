"""`tipx inspect` and `tipx tokens` as they are typed."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.cli.conftest import Done, Tipx
from tests.inspect.worlds import make_run

Trained = tuple[Path, list[str], Done]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path).path


def test_a_page_of_a_run_that_was_trained(trained: Trained, tmp_path: Path, tipx: Tipx) -> None:
    shutil.copytree(trained[0] / "runs", tmp_path / "runs")
    (path,) = (tmp_path / "runs").glob("*/*")
    done = tipx("inspect", path.name)
    assert (done.code, done.err) == (0, "")
    assert str(path.relative_to(tmp_path) / "inspect" / "000004.html") in done.out
    assert (path / "inspect" / "000004.html").stat().st_size > 20_000
    assert tipx("inspect", path.name, "step=2", "--out", "two.html").code == 0
    assert path.name in (tmp_path / "two.html").read_text()
    assert tipx("tokens", path.name).code == 0


def test_a_comparison_and_a_text(run: Path, tmp_path: Path, tipx: Tipx) -> None:
    done = tipx("inspect", run.name, "--compare", "selector=soft_or,q3_only", "ratio=0.2", "step=10", "--out", "c.html")
    assert (done.code, done.err) == (0, "")
    assert '"rules": ["soft_or", "q3_only"]' in (tmp_path / "c.html").read_text()
    done = tipx("inspect", run.name, "--text", "rollout=2")
    assert (done.code, done.err) == (0, "")
    assert "rollout 2 of 4" in done.out
    assert "answer 4: wrong" in done.out


def test_tokens_in_every_form(run: Path, tmp_path: Path, tipx: Tipx) -> None:
    table = tipx("tokens", run.name, "--top", "2", "--plot", "t.png")
    assert (table.code, table.err) == (0, "")
    assert "Q3" in table.out
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")
    frame = pd.read_csv(io.StringIO(tipx("tokens", run.name, "--format", "csv", "--ngrams", "1").out))
    assert frame.columns.tolist() == [
        "quadrant",
        "n",
        "tokens",
        "count",
        "share",
        "entropy",
        "divergence",
        "kept",
        "first",
        "last",
    ]
    assert tipx("tokens", run.name, "--format", "markdown").out.startswith("| quadrant | n | tokens |")
    for form in ("csv", "json"):
        done = tipx("tokens", run.name, f"--{form}", "--plot", "t.png")
        assert done.out == tipx("tokens", run.name, "--format", form).out
        assert done.err == "picture  t.png\n"
    assert json.loads(done.out)[0].keys() == set(frame.columns)
    both = tipx("tokens", run.name, "--format", "csv", "--json")
    assert (both.code, both.err) == (2, "error: --format csv and --json: expected one of them, got 2\n")


def no_statistics(run: Path) -> None:
    for path in run.glob("rollouts/*.npz"):
        path.unlink()


def no_samples(run: Path) -> None:
    shutil.rmtree(run / "rollouts")


def cut_off(run: Path) -> None:
    path = run / "rollouts" / "000020.npz"
    path.write_bytes(path.read_bytes()[:500])


@pytest.mark.parametrize(
    ("words", "before", "said"),
    [
        (["inspect", "other"], None, "'other' is no run under runs; `tipx runs` lists the runs"),
        (
            ["inspect", "made", "step=15"],
            None,
            "step=15: runs/solo/made-0badcafe sampled steps 10, 20; give one of them",
        ),
        (["inspect", "made", "step=x"], None, "step=x: expected a whole number, e.g. step=1"),
        (
            ["inspect", "made", "ratio=0.2"],
            None,
            "expected step=N or rollout=N; rules to try go with --compare",
        ),
        (["inspect", "made", "--compare"], None, "--compare: expected rules, e.g. --compare selector=soft_or,q3_only"),
        (["inspect", "made", "--out", "no/where.html"], None, "no/where.html: expected a file in a folder that exists"),
        (["inspect", "made"], no_statistics, "step 20 lacks 000020.npz: an older tipx saved it"),
        (["inspect", "made", "--text"], no_statistics, "step 20 lacks 000020.npz: an older tipx saved it"),
        (["tokens", "made"], no_statistics, "step 10 lacks 000010.npz: an older tipx saved it"),
        (["tokens", "made"], no_samples, "has no sampled step; train with loop.sample_every=50"),
        (["inspect", "made"], cut_off, "000020.npz is damaged"),
        (["tokens", "made", "--plot", "no/where.png"], None, "no/where.png: expected a file in a folder that exists"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str], before: Callable[[Path], None] | None, said: str, run: Path, tipx: Tipx
) -> None:
    if before is not None:
        before(run)
    done = tipx(*words)
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1
