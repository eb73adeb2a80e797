"""Every key in the files of real runs and results is declared with its meaning, and no other is."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.agents import toy
from tipx.agents.episode import COUNTS
from tipx.config import load, resolve
from tipx.evals.start import evaluate_target
from tipx.runs import file_keys as files
from tipx.runs.file_keys import FileKey, RunFile
from tipx.runs.snapshot import LEADERS
from tipx.runs.sweep_folder import Point, SweepFolder
from tipx.train.start import train_run
from tipx.types import STATISTICS

pytestmark = pytest.mark.long(40)

TEXTS = [{"q": "ann has 2 shells .", "s": "finds 7 ."}, {"q": "tom has 8 cups .", "s": "buys 9 . how many ?"}]
SMALL = ["hardware.device=cpu", "loop.steps=2", "loop.save_every=1", "loop.sample_every=1", "loop.eval_every=2"]

UNSEEN = {files.RESULT: {"server"}, files.PROVENANCE: {"starts[].fsdp_size", "starts[].gather_dtype"}}
"""What takes a server, or several processes."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, pair_dir: Path) -> Path:
    """Runs on questions and on agents' tasks, with evaluations and held-out texts; results of a model folder."""
    base = tmp_path_factory.mktemp("files")
    texts, prompts = base / "texts.jsonl", base / "prompts.jsonl"
    texts.write_text("".join(json.dumps(one) + "\n" for one in TEXTS))
    rows = [{"question": f"ann has {n} shells . finds 1 . how many ?", "answer": str(n + 1)} for n in range(8)]
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pair = [f"model.{role}.path={pair_dir / role}" for role in ("teacher", "student")]
    held = [f"heldout.texts.path={texts}", "heldout.texts.prompt_field=q", "heldout.texts.answer_field=s"]
    own = [f"runs_dir={base / 'runs'}", *SMALL]
    asked = ["eval.n=2", "eval.limit=2", "eval.sampling.max_new_tokens=8"]
    questions = [*own, *pair, "heldout=file", *held, "data=file", f"data.path={prompts}", *asked, "loop.prompts=2"]
    train_run([*questions, "rollout.max_new_tokens=8"], fresh=False, config_dir=None)
    agents = ["experiment=tiny_agent", "loop.prompts=2", "data.size=8", "eval.n=2", "eval.limit=2", "eval.greedy=true"]
    train_run([*own, *agents], fresh=False, config_dir=None)
    student = toy.save(base / "student", seed=2)
    gold = ["benchmark=deepplanning_sample", "eval=agent_gold", "n=1", "eval.greedy=true", "template.chat=true"]
    evaluate_target(str(student), [*gold, f"runs_dir={base / 'runs'}", "hardware.device=cpu"], None)
    return base / "runs"


def contents(folder: Path, file: RunFile) -> list[Any]:
    """What the files of a kind hold: one value a file, or a line."""
    pattern = re.sub(r"<\w+>", "*", "/".join(file.place.split("/")[-2:]))
    found = [path for path in sorted(folder.rglob(pattern)) if ("heldout-" in str(path)) == ("heldout-" in file.place)]
    return [value for path in found for value in read(path)]


def read(path: Path) -> Iterator[Any]:
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            yield dict.fromkeys(arrays.files, 0)
    elif path.suffix == ".jsonl":
        yield from map(json.loads, path.read_text().splitlines())
    else:
        value = json.loads(path.read_text())
        yield from value if isinstance(value, list) else [value]


def paths_of(values: list[Any]) -> set[tuple[str, ...]]:
    return {path for value in values for path in files.list_paths(value)}


HOLDING = [file for file in files.OF_RUN if file.keys and not file.place.endswith("/")]


@pytest.mark.parametrize("file", HOLDING, ids=lambda file: file.place)
def test_what_is_in_the_files_is_declared_and_what_is_declared_is_there(folder: Path, file: RunFile) -> None:
    values = contents(folder, file)
    assert values, file.place
    paths = paths_of(values)
    assert undeclared(file, values) == []
    unseen = {key.name for key in file.keys if not any(key.covers(path) for path in paths)}
    assert unseen == UNSEEN.get(file, set())


def undeclared(file: RunFile, values: list[Any]) -> list[str]:
    """Keys of the files that are not declared. A list that is empty does not say what its entries would have."""
    return [".".join(path) for path in sorted(paths_of(values)) if not any(key.covers(path) for key in file.keys)]


def test_checkpoints_hold_what_is_declared(folder: Path) -> None:
    there = {path.name for path in folder.glob("*/*/checkpoints/000002/*")}
    assert there == {
        key.name for key in files.CHECKPOINT.keys if key.when not in ("rollout.ahead=1", files.LORA, files.FSDP)
    }


def test_every_file_of_a_run_is_declared(folder: Path) -> None:
    known = {file.place.partition("/")[0] for file in files.OF_RUN}
    for run in folder.glob("solo/*"):
        assert {path.name for path in run.iterdir()} - {"wandb"} <= known


def test_a_sweep(tmp_path: Path) -> None:
    board, point = SweepFolder(tmp_path), Point("a", ("seed=0",), {"selector": "full"})
    board.record([point], name="n", description="d", command="tipx sweep n")
    board.fail(point, "wrong")
    for file, path in ((files.SWEEP, board.file), (files.FAILURE, board.failure(point))):
        values = list(read(path))
        assert undeclared(file, values) == []
        assert all(any(key.covers(path) for path in paths_of(values)) for key in file.keys)


def test_a_key_that_is_not_declared_would_be_seen() -> None:
    file = RunFile("x.json", "", (FileKey("a.<name>", ""), FileKey("b[].c", ""), FileKey("d.*", "")))
    assert undeclared(file, [{"a": {"x": 1}, "b": [{"c": 1}, {"c": 2}], "d": {"e": {"f": [1]}}}]) == []
    assert undeclared(file, [{"a": {"x": {"y": 1}}, "b": [{"e": 1}], "c": 1}]) == ["a.x.y", "b.e", "c"]


def test_families_that_code_has() -> None:
    assert {key.name for key in files.SNAPSHOT.keys} >= {f"stats/{name}" for name in STATISTICS}
    assert sum(f"(M, {LEADERS})" in key.meaning for key in files.SNAPSHOT.keys) == 2
    assert {key.name for key in files.RESULT.keys} >= {f"mean_{name}" for name in COUNTS}
    assert resolve(load(["eval=agent_chat"], "eval"))["eval"]["sampling"]["server"]  # the one key that is not seen


def test_every_declared_key_has_a_meaning_and_stands_once() -> None:
    for file in (*files.OF_RUN, *files.OF_SWEEP, *files.OF_RUNS):
        names = [key.name for key in file.keys]
        assert len(set(names)) == len(names), file.place
        assert file.meaning
        assert all(key.meaning[0].isalnum() or key.meaning[0] == "`" for key in file.keys)
