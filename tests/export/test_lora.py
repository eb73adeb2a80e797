"""A run with adapters as a plain model, and as adapters alone."""

import json
import shutil
from pathlib import Path
from typing import Any
from warnings import catch_warnings

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from tests.cli.conftest import Tipx, call
from tipx.models.pair import ModelSource

IDS = torch.tensor([[3, 4, 5, 6, 7, 8]])
FILES = {"README.md", "manifest.json", "tokenizer.json", "tokenizer_config.json"}


@pytest.fixture(scope="module")
def with_lora(pair_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run with adapters. Shared: copy it before something is written."""
    folder = tmp_path_factory.mktemp("lora")
    sizes = ["data.size=32", "loop.steps=2", "loop.prompts=8", "rollout.max_new_tokens=12", "loop.eval_every=0"]
    pair = [f"model.{role}.path={pair_dir / role}" for role in ("teacher", "student")]
    done = call(folder, "train", *pair, *sizes, "hardware.device=cpu", "optim.lr=0.05", "model.student.lora.r=4")
    assert done.code == 0, done.err
    return folder


@pytest.fixture
def adapted(with_lora: Path, tmp_path: Path) -> Path:
    """A copy of the run, in the folder where commands run."""
    shutil.copytree(with_lora / "runs", tmp_path / "runs", dirs_exist_ok=True)
    (path,) = (tmp_path / "runs" / "solo").iterdir()
    return path


def student(run: Path, dtype: Any = "float32") -> PreTrainedModel:
    folder = run / "checkpoints" / "000002"
    settings: dict[str, Any] = {"revision": None, "attn": None, "keep_layers": None}
    return ModelSource(path=str(folder), dtype=dtype, **settings).load("student", torch.device("cpu"))


@torch.no_grad()
def test_adapters_are_merged(adapted: Path, tipx: Tipx, tmp_path: Path, pair_dir: Path) -> None:
    done = tipx("export", adapted.name, "out")
    assert done.code == 0, done.err
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES | {
        "config.json",
        "generation_config.json",
        "model.safetensors",
    }
    assert AutoTokenizer.from_pretrained(tmp_path / "out")("tom has 14")["input_ids"]
    torch.testing.assert_close(model(IDS).logits, student(adapted)(IDS).logits, atol=1e-5, rtol=0)
    base = AutoModelForCausalLM.from_pretrained(pair_dir / "student")
    assert (model(IDS).logits - base(IDS).logits).abs().max() > 1e-2
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| LoRA | r=4, lora_alpha=32, target_modules=all-linear, use_rslora=False |" in card
    assert "library_name: transformers" in card
    assert tipx("export", adapted.name, "out", "--force").code == 0


@torch.no_grad()
def test_adapters_alone_are_for_peft(adapted: Path, tipx: Tipx, tmp_path: Path, pair_dir: Path) -> None:
    done = tipx("export", adapted.name, "out", "--adapter")
    assert done.code == 0, done.err
    there = {path.name for path in (tmp_path / "out").iterdir()}
    assert there == FILES | {"adapter_config.json", "adapter_model.safetensors"}
    settings = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == str(pair_dir / "student")
    with catch_warnings(action="ignore"):  # peft uses a name that transformers deprecates
        model = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.equal(model(IDS).logits, student(adapted)(IDS).logits)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "library_name: peft" in card
    assert 'AutoPeftModelForCausalLM.from_pretrained("path/to/this/folder")' in card
    assert tipx("export", adapted.name, "out", "--adapter", "--force").code == 0
    # It is no model by itself.
    done = tipx("eval", "out", "limit=1", "hardware.device=cpu")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "it holds a LoRA adapter (adapter_config.json) and no model: merge it" in done.err


def test_what_has_no_adapters_of_its_own(run: Path, adapted: Path, tipx: Tipx, tmp_path: Path) -> None:
    done = tipx("export", run.name, "out", "--adapter")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert done.err.endswith("trained the whole student, not adapters; leave --adapter out\n")
    file = adapted / "config.yaml"
    file.write_text(file.read_text().replace("keep_layers: null", "keep_layers: [0]"))
    done = tipx("export", adapted.name, "out", "--adapter")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "took layers out of its student, so its adapters alone fit no model that others have" in done.err
    assert not (tmp_path / "out").exists()


def test_a_base_that_is_gone_is_one_line(adapted: Path, tipx: Tipx, tmp_path: Path) -> None:
    folder = adapted / "checkpoints" / "000002"
    base = json.loads((folder / "adapter" / "base.json").read_text())
    (folder / "adapter" / "base.json").write_text(json.dumps(base | {"path": str(tmp_path / "gone")}))
    done = tipx("export", adapted.name, "out")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "adapter/base.json does not match" in done.err  # the manifest knows it
    (folder / "adapter" / "base.json").write_text(json.dumps(base, indent=1) + "\n")
    assert tipx("export", adapted.name, "out").code == 0


def test_a_published_model_is_merged(adapted: Path, tipx: Tipx, tmp_path: Path) -> None:
    done = tipx("publish", adapted.name, "--to", "out")
    assert done.code == 0, done.err
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    with torch.no_grad():
        torch.testing.assert_close(model(IDS).logits, student(adapted)(IDS).logits, atol=1e-5, rtol=0)
    assert str(tmp_path) not in (tmp_path / "out" / "config.json").read_text()
