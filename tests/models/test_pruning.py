"""A model without some of its layers is a model: it generates with a cache, saves, loads, and says what it is."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen2MoeConfig,
    Qwen3Config,
)

from tests.conftest import save_model
from tipx.errors import ModelError
from tipx.models.head import check_head
from tipx.models.pair import Pair, Student, Teacher, Template
from tipx.models.pruning import Layers, keep_layers, select_layers

CPU = torch.device("cpu")
KEY = "model.student.keep_layers"
SIZE = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 6,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
WINDOW = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 2}
KINDS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**SIZE),
    "qwen3": Qwen3Config(**SIZE),
    "qwen2, windows in the later layers": Qwen2Config(**SIZE, **WINDOW),
    "gemma2, every second layer a window": Gemma2Config(**SIZE, sliding_window=4, query_pre_attn_scalar=8),
    "gpt2": GPT2Config(vocab_size=40, n_positions=32, n_embd=16, n_layer=6, n_head=2, bos_token_id=1, eos_token_id=2),
}


def made(config: PreTrainedConfig) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(deepcopy(config)).eval()
    model.generation_config.eos_token_id = None  # so that it goes on
    return model


@pytest.mark.parametrize(
    ("keep", "expected"),
    [([0, 2], [0, 2]), (["0-2", "5-5"], [0, 1, 2, 5]), (["0-1", 3, "4-5"], [0, 1, 3, 4, 5])],
)
def test_numbers_and_ranges(keep: Layers, expected: list[int]) -> None:
    assert select_layers(keep, 6, KEY) == expected


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        ([], r"keep_layers=\[\]: expected layers in ascending order, each once; type e.g. .*keep_layers=\[0-5\]"),
        ([1, 0], r"keep_layers=\[1,0\]: expected layers in ascending order"),
        (["0-2", 2], r"keep_layers=\[0-2,2\]: expected layers in ascending order"),
        (["3-1"], r"keep_layers=\[3-1\]: expected layers in ascending order"),
        (["0-99999", "0-99999"], r"keep_layers=\[0-99999,0-99999\]: expected layers in ascending order"),
        (["0-6"], r"keep_layers=\[0-6\]: the model has layers 0 to 5, not 6; type e.g. .*\[0-5\]"),
    ],
)
def test_layers_that_there_are_not(keep: Layers, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        select_layers(keep, 6, KEY)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_is_a_model(kind: str, tmp_path: Path) -> None:
    whole, model = made(KINDS[kind]), made(KINDS[kind])
    keep_layers(model, ["0-1", 4], KEY)
    assert model.config.num_hidden_layers == 3
    if getattr(whole.config, "layer_types", None):
        assert model.config.layer_types == [whole.config.layer_types[i] for i in (0, 1, 4)]
    # The cache counts layers from 0: with it and without, the same tokens.
    ids = torch.tensor([[3, 5, 7, 9, 11, 13, 15, 17]])
    with_cache, without = (
        model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False, use_cache=use)
        for use in (True, False)
    )
    assert torch.equal(with_cache, without)
    # Saved and loaded it is the same; and its layers are the whole model's own.
    model.save_pretrained(tmp_path)
    again, info = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert torch.equal(again(ids).logits, model(ids).logits)
    check_head("student", again)
    names = [n for n, _ in whole.named_parameters() if ".4." in n]
    assert names
    for n in names:
        assert torch.equal(again.get_parameter(n.replace(".4.", ".2.")), whole.get_parameter(n))


def test_layers_that_differ_by_their_number_are_not_removed() -> None:
    # Which layers are mixtures of experts follows from the number: the third is, of what is left the second would be.
    config = Qwen2MoeConfig(
        **SIZE, num_experts=2, num_experts_per_tok=1, moe_intermediate_size=8, decoder_sparse_step=3,
        shared_expert_intermediate_size=8,
    )  # fmt: skip
    with pytest.raises(ModelError, match=r"keep_layers: the layers of a Qwen2MoeForCausalLM differ by their number"):
        keep_layers(made(config), [0, 2], KEY)


def test_a_source_prunes_and_a_checkpoint_is_not_pruned_again(pair_dir: Path, tmp_path: Path) -> None:
    deep = save_model(tmp_path / "deep", 5, layers=4)
    common = {"revision": None, "dtype": "float32", "attn": None}
    teacher = Teacher(path=str(pair_dir / "teacher"), **common, keep_layers=None, offload="none")
    student = Student(path=str(deep), **common, keep_layers=["0-1", 3])
    pair = Pair(teacher=teacher, student=student, template=Template(chat=False, instruction="", thinking=None))
    loaded = pair.load(CPU, pair.load_tokenizer())
    assert loaded.student.config.num_hidden_layers == 3
    assert len(loaded.teacher.model.layers) == 2
    loaded.student.save_pretrained(tmp_path / "000002")
    resumed = pair.load(CPU, pair.load_tokenizer(), tmp_path / "000002").student
    weights = loaded.student.state_dict()
    assert resumed.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in resumed.state_dict().items())
