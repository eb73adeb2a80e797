"""Loading a model in slices: every process gets its part of exactly what one process would load whole."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from tests.conftest import make_hardware, save_model
from tests.ranks import run_ranks
from tipx.errors import ModelError
from tipx.models.pair import ModelSource
from tipx.models.sharded import save_model as write_model
from tipx.sharding import gather_weights, local_tensor, run_inside, whole_tensor

CPU = torch.device("cpu")
IDS = [[1, 2, 3, 4, 5]]


def source(path: Path, **more: Any) -> ModelSource:
    return ModelSource(
        **{"path": str(path), "revision": None, "dtype": "float32", "attn": None, "keep_layers": None} | more
    )


def load_part(made: ModelSource, *, offload: bool = False, place: Path | None = None) -> dict[str, Any]:
    """What one of several processes has of a model, and what all have together."""
    world = make_hardware(strategy="fsdp").start("no")
    assert world.sharding is not None
    try:
        model = made.load_sharded("student", world, world.sharding, offload=offload)
    except ModelError as error:
        return {"error": str(error)}
    if place is not None and (whole := gather_weights(model)) is not None and world.is_main:
        write_model(model, place, whole)
    return {
        "weights": {name: whole_tensor(value.detach()) for name, value in model.state_dict().items()},
        "buffers": {name: value.clone() for name, value in model.named_buffers()},
        "elements": sum(local_tensor(value).numel() for value in model.parameters()),
        "logits": model(input_ids=torch.tensor(IDS)).logits.detach(),
        "tied": run_inside(model, lambda: same_head(model)),
        "training": any(module.training for module in model.modules()),
    }


def same_head(model: PreTrainedModel) -> bool:
    head: Any = model.get_output_embeddings()
    embedding: Any = model.get_input_embeddings()
    return head.weight is embedding.weight


def in_files(folder: Path) -> Path:
    """Weights in several files with an index, and a file beside them that says something else of the same names."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    for file in folder.glob("*.safetensors"):
        file.unlink()
    model.save_pretrained(folder, max_shard_size="10KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    zeros = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    for other in ("consolidated", "weights"):  # before and after the real ones
        save_file(zeros, folder / f"{other}.safetensors")
    return folder


def pickled(folder: Path) -> Path:
    """Weights that are in no safetensors file: the main process reads them whole."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return folder


def as_bfloat16(folder: Path) -> Path:
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    return folder


def as_it_is(folder: Path) -> Path:
    return folder


@pytest.mark.parametrize("change", [as_it_is, in_files, pickled, as_bfloat16])
def test_every_process_gets_its_part(change: Any, tmp_path: Path) -> None:
    folder = change(save_model(tmp_path / "model", seed=3, layers=3))
    (folder / "generation_config.json").write_text('{"eos_token_id": [1, 5], "temperature": 0.7, "do_sample": true}')
    made = source(folder, keep_layers=[0, 2])
    whole = made.load("student", CPU)
    expected: dict[str, Tensor] = whole.state_dict()
    parts = run_ranks(2, partial(load_part, made, place=tmp_path / "again"), tmp_path / "ranks")
    for part in parts:
        assert part["weights"].keys() == expected.keys()
        assert all(torch.equal(value, expected[name]) for name, value in part["weights"].items())
        assert part["tied"]
        assert not part["training"]
        assert {n: v.tolist() for n, v in part["buffers"].items()} == {n: v.tolist() for n, v in whole.named_buffers()}
        assert torch.equal(part["logits"], whole(input_ids=torch.tensor(IDS)).logits)
    total = sum(value.numel() for value in whole.parameters())
    assert sum(part["elements"] for part in parts) == total
    assert max(part["elements"] for part in parts) <= 0.55 * total
    # What is written of it is what one process writes.
    whole.save_pretrained(tmp_path / "one")
    for file in ("config.json", "generation_config.json", "model.safetensors"):
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "one" / file).read_bytes()


def test_weights_that_are_missing_are_an_error_on_all(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model", seed=3)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2, "layer_types": None}))
    first, second = run_ranks(2, partial(load_part_or_fail, source(folder)), tmp_path / "ranks")
    assert "lacks 11 weights of a Qwen3ForCausalLM" in first
    assert "process 1 of 2" in second


def load_part_or_fail(made: ModelSource) -> str:
    try:
        return load_part(made)["error"]
    except Exception as error:  # noqa: BLE001 - what it says is what is tested
        return str(error)


def test_quantised_weights_are_refused(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model", seed=3)
    config = json.loads((folder / "config.json").read_text())
    quantised = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}
    (folder / "config.json").write_text(json.dumps(config | quantised))
    for part in run_ranks(2, partial(load_part, source(folder)), tmp_path / "ranks"):
        assert "its weights are quantised, which hardware.strategy=fsdp cannot share out" in part["error"]
