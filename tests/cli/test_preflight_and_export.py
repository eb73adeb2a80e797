"""`tipx preflight` prints what `tipx train` would find; `tipx export` leaves a folder that others can use."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tipx.export.licences import UNKNOWN, find_licence, shown_name

FILES = {"README.md", "config.json", "generation_config.json", "manifest.json", "model.safetensors"}
FILES |= {"tokenizer.json", "tokenizer_config.json"}


@pytest.fixture
def run(trained: tuple[Path, list[str], Any], tmp_path: Path) -> Path:
    shutil.copytree(trained[0] / "runs", tmp_path / "runs")
    (path,) = (tmp_path / "runs" / "paper").iterdir()
    return path


# --- preflight -------------------------------------------------------------------------------------------------------


def test_preflight_prints_a_table_and_makes_nothing(
    trained: tuple[Path, list[str], Any], tipx: Callable[..., Any], tmp_path: Path
) -> None:
    done = tipx("preflight", *trained[1])
    assert (done.code, done.err) == (0, "")
    for words in (
        "one tokenizer of 67 tokens",
        "both models end a response at <eos>",
        "all 32 are within",
        "predicted peak",
    ):
        assert words in done.out
    assert not list(tmp_path.iterdir())


def test_preflight_shows_every_error_and_ends_with_the_first(
    trained: tuple[Path, list[str], Any], tipx: Callable[..., Any]
) -> None:
    done = tipx("preflight", *trained[1], "rollout.max_new_tokens=999")
    assert done.code == 2
    assert "error" in done.out
    assert done.err.startswith("error: rollout.max_new_tokens=999: with the longest prompt of ")
    assert done.err.count("\n") == 1


# --- export ----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_what_is_exported_is_the_checkpoint(run: Path, tipx: Callable[..., Any], tmp_path: Path) -> None:
    (run / "checkpoints" / "000004" / "next_batch.jsonl").write_text("{}")  # what training goes on with stays there
    done = tipx("export", run.name, "out/model")
    assert done.code == 0, done.err
    assert "step 4" in done.out
    folder = tmp_path / "out" / "model"
    assert {path.name for path in folder.iterdir()} == FILES
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    trained = load_file(run / "checkpoints" / "000004" / "model.safetensors")
    assert all(torch.equal(model.state_dict()[name], value) for name, value in trained.items())
    ids = tokenizer("tom has 14", return_tensors="pt")["input_ids"]
    assert model(ids).logits.shape == (1, 4, 67)


def test_the_card_tells_what_the_run_s_files_tell(run: Path, tipx: Callable[..., Any], tmp_path: Path) -> None:
    assert tipx("export", run.name, "out", "--checkpoint", "2").code == 0
    card = (tmp_path / "out" / "README.md").read_text()
    matter = yaml.safe_load(card.split("---\n")[1])
    assert matter["library_name"] == "transformers"
    assert "license" not in matter  # nobody has said what the parents' are
    assert card.count(UNKNOWN) == 2
    assert "| steps | 2 of 4 |" in card
    assert "| share of tokens | 0.5 |" in card
    for step in (0, 2):
        (file,) = run.glob(f"evals/{step:06d}/*/result.json")
        result = json.loads(file.read_text())
        line = (
            f"| {step} | arithmetic | accuracy, mean of 2 samples | {result['mean']:.3f} ± {result['mean_se']:.3f} | 3"
        )
        assert line in card
    assert "| 4 | arithmetic" not in card
    started = json.loads((run / "provenance.json").read_text())["starts"][0]
    assert f"torch {started['versions']['torch']}" in card
    assert str(started["commit"]) in card
    # Where things lie on this machine is nobody's business.
    assert str(tmp_path) not in card
    assert "| student | student | unknown: check |" in card


def test_what_is_there_is_not_lost(run: Path, tipx: Callable[..., Any], tmp_path: Path) -> None:
    for name, files in (("model", ["config.json", "old.bin"]), ("papers", ["thesis.tex"]), ("empty", [])):
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).write_text("mine")
    (tmp_path / "file").touch()
    cases = [
        (["model"], "model is not empty (it holds config.json); give another folder, or --force to replace it"),
        (["papers"], "papers is not empty (it holds thesis.tex); give another"),
        (
            ["papers", "--force"],
            "papers: it holds thesis.tex, and is no export of tipx, so --force does not replace it",
        ),
        (["model", "--force"], "model: it holds config.json, and is no export of tipx, so --force does not replace it"),
        (["file", "--force"], "file is a file; give a new or empty folder"),
    ]
    for args, said in cases:
        done = tipx("export", run.name, *args)
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert said in done.err
    assert (tmp_path / "papers" / "thesis.tex").read_text() == (tmp_path / "model" / "old.bin").read_text() == "mine"
    assert tipx("export", run.name, "empty").code == tipx("export", run.name, "empty", "--force").code == 0
    assert {path.name for path in (tmp_path / "empty").iterdir()} == FILES


def test_a_run_or_checkpoint_that_is_not_there(run: Path, tipx: Callable[..., Any], tmp_path: Path) -> None:
    done = tipx("export", "nosuch", "out")
    assert (done.code, done.err) == (2, "error: 'nosuch' is no run under runs; `tipx runs` lists the runs\n")
    done = tipx("export", run.name, "out", "--checkpoint", "3")
    assert done.code == 2
    assert "has checkpoints at steps 2, 4" in done.err
    assert not (tmp_path / "out").exists()


# --- licences --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("---\nlicense: mit\n---\n# x", "mit"),
        ("---\nlicense: other\nlicense_name: qwen\n---\n", "qwen"),
        ("---\ntags: [a]\n---\n", UNKNOWN),
        ("---\nlicense: [\n---\n", UNKNOWN),
        ("# no front matter", UNKNOWN),
        (None, UNKNOWN),
    ],
)
def test_the_licence_of_a_folder(card: str | None, expected: str, tmp_path: Path) -> None:
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    (tmp_path / "m.gguf").touch()
    assert find_licence(str(tmp_path)) == find_licence(str(tmp_path / "m.gguf")) == expected


def test_the_licence_of_other_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_licence("embedded:teacher") == find_licence("embedded:agent/teacher") == "apache-2.0"
    assert find_licence("package:pytest") == "mit"
    assert find_licence("package:no_such") == find_licence("/no/such") == find_licence("org/none") == UNKNOWN
    (tmp_path / "README.md").write_text("---\nlicense: gemma\n---\n")
    monkeypatch.setattr("tipx.export.licences.try_to_load_from_cache", lambda *_: str(tmp_path / "README.md"))
    assert find_licence("org/cached") == "gemma"


def test_a_path_is_shown_by_its_name(tmp_path: Path) -> None:
    assert shown_name(str(tmp_path)) == tmp_path.name
    assert shown_name("/data/me/Qwen3-8B") == "Qwen3-8B"
    assert shown_name("Qwen/Qwen3-8B") == "Qwen/Qwen3-8B"
    assert shown_name("embedded:teacher") == "embedded:teacher"
