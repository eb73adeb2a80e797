"""Adapters: which layers get them, what they add up to, how they are kept, and what they belong to."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from warnings import catch_warnings

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM as Auto
from transformers import GPT2Config, PreTrainedModel, Qwen3MoeConfig

from tests.conftest import save_model
from tipx.adapters import base_name, is_adapted, merged_weights, trained_parameters
from tipx.config import build, load
from tipx.errors import ConfigError, ModelError
from tipx.models import lora as module
from tipx.models.head import backbone, check_generation, check_head, gradient_checkpointing
from tipx.models.lora import (
    LoRA,
    add_adapter,
    check_base,
    find_targets,
    fingerprint_weights,
    read_adapter,
    save_student,
)
from tipx.models.pair import ModelSource, Pair, Student, Teacher, Template
from tipx.rollout.weights_folder import save_merged
from tipx.spec import SPECS

CPU = torch.device("cpu")
KEY = "model.student.lora"
IDS = torch.tensor([[3, 4, 5, 6, 7, 8]])
PLAIN = Template(chat=False, instruction="", thinking=None)
FILES = {"adapter_config.json", "adapter_model.safetensors", "base.json"}


def adapters(**more: Any) -> LoRA:
    settings = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "use_rslora": False, "seed": 0}
    return LoRA(**settings | more)


def student(folder: Path | str, lora: LoRA | None = None, **more: Any) -> Student:
    settings = {"revision": None, "dtype": "float32", "attn": None, "keep_layers": None}
    return Student(path=str(folder), lora=lora, **settings | more)


def checkpoint(folder: Path, **more: Any) -> ModelSource:
    settings = {"revision": None, "dtype": "float32", "attn": None, "keep_layers": None}
    return ModelSource(path=str(folder), **settings | more)


def trained(model: PreTrainedModel, seed: int = 1) -> PreTrainedModel:
    """The model with adapters as after some training: no half of them is 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in trained_parameters(model):
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=IDS).logits
        return found


@pytest.fixture
def adapted(pair_dir: Path) -> PreTrainedModel:
    return trained(student(pair_dir / "student", adapters()).load("student", CPU))


@pytest.fixture
def saved(adapted: PreTrainedModel, pair_dir: Path, tmp_path: Path) -> Path:
    """A checkpoint with adapters."""
    folder = tmp_path / "000004"
    folder.mkdir()
    save_student(adapted, folder, base=student(pair_dir / "student").describe_base("model.student.path"))
    return folder


# --- which layers ----------------------------------------------------------------------------------------------------


def test_a_new_adapter_changes_nothing_and_is_all_that_is_trained(pair_dir: Path) -> None:
    plain = student(pair_dir / "student").load("student", CPU)
    model = student(pair_dir / "student", adapters()).load("student", CPU)
    assert (is_adapted(model), is_adapted(plain)) == (True, False)
    assert torch.equal(logits(model), logits(plain))
    assert type(model) is type(plain)
    assert not model.training
    names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert names == {name for name, _ in model.named_parameters() if ".lora_" in name}
    assert len(names) == 2 * 7
    assert len(trained_parameters(plain)) == len(list(plain.parameters()))
    check_head("student", model)
    check_generation("student", model, 0)


@pytest.mark.parametrize(
    "targets", ["all-linear", ["q_proj"], ["q_proj", "mlp.down_proj"], ["model.layers.0.self_attn.o_proj"]]
)
def test_the_layers_that_are_named_are_those_that_peft_adapts(targets: Any, tmp_path: Path) -> None:
    source = student(save_model(tmp_path / "deep", seed=3, layers=2))
    plain, lora = source.load("student", CPU), adapters(target_modules=targets)
    model = replace(source, lora=lora).load("student", CPU)
    there = [name for name, part in model.named_modules() if hasattr(part, "lora_A")]
    assert there == list(find_targets(plain, lora, KEY))
    count = sum(parameter.numel() for parameter in trained_parameters(model))
    total = sum(parameter.numel() for parameter in model.parameters())
    told = replace(source, lora=lora).describe_adapters(plain.config)
    assert told.startswith(f"rank 4 on {len(there)} layers (q_proj" if "o_proj" not in str(targets) else "rank 4 on 1")
    assert told.endswith(f"{count:,} of {total:,} weights are trained ({count / total:.2%})")


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (["q_proj", "foo"], r"'foo' is the name of no layer of a Qwen3ForCausalLM; there are q_proj, k_proj, .*: type"),
        (["roj"], "'roj' is the name of no layer"),
        (["lm_head"], "'lm_head' is the LM head, which gets no adapter; there are q_proj"),
        (["embed_tokens"], "'embed_tokens' is not a linear layer; there are q_proj"),
        (["self_attn"], "'self_attn' is not a linear layer"),
    ],
)
def test_a_layer_that_gets_no_adapter_is_named_with_those_that_do(
    targets: list[str], said: str, pair_dir: Path
) -> None:
    source = student(pair_dir / "student", adapters(target_modules=targets))
    with pytest.raises(ModelError, match=rf"^model.student.lora.target_modules: {said}"):
        source.load("student", CPU)


def test_experts_stay_as_they_are_and_attention_is_adapted() -> None:
    config = Qwen3MoeConfig(
        vocab_size=40,
        hidden_size=16,
        moe_intermediate_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        num_experts=4,
        num_experts_per_tok=2,
    )
    model = Auto.from_config(config)
    add_adapter(model, adapters(), KEY)
    assert {name.split(".")[-5] for name, p in model.named_parameters() if p.requires_grad} == {"self_attn"}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("r=0", "model.student.lora.r: must be greater than or equal to 1, got 0"),
        ("lora_alpha=0", "model.student.lora.lora_alpha: must be greater than or equal to 1, got 0"),
        ("lora_dropout=0.1", "model.student.lora.lora_dropout: no such key"),
        ("target_modules=q_proj", "model.student.lora.target_modules: must be 'all-linear' or a valid list"),
    ],
)
def test_what_no_adapter_can_have(override: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build(load([f"model.student.lora.{override}"]))


def test_a_rank_switches_it_on_and_the_teacher_has_none() -> None:
    assert LoRA in SPECS
    assert build(load([])).model.student.adapters is None
    exp = build(load(["model.student.lora.r=8", "model.student.lora.target_modules=[q_proj,v_proj]", "seed=5"]))
    assert exp.model.student.adapters == adapters(r=8, lora_alpha=32, target_modules=["q_proj", "v_proj"], seed=5)
    with pytest.raises(ConfigError, match=r"model.teacher.lora"):
        build(load(["+model.teacher.lora.r=8"]))


def test_adapters_are_drawn_from_their_seed_alone(pair_dir: Path) -> None:
    def drawn(seed: int, dtype: str = "float32") -> list[torch.Tensor]:
        torch.manual_seed(torch.initial_seed() % 1000 + 1)
        source = student(pair_dir / "student", adapters(seed=seed), dtype=dtype)
        return [parameter.detach() for parameter in trained_parameters(source.load("student", CPU))]

    first, again, other = drawn(0), drawn(0), drawn(1)
    assert all(map(torch.equal, first, again))
    assert not any(torch.equal(one, two) for one, two in zip(first[::2], other[::2], strict=True))
    assert not any(parameter.any() for parameter in first[1::2])


def test_the_stream_of_random_numbers_is_not_touched(pair_dir: Path) -> None:
    model = student(pair_dir / "student").load("student", CPU)
    before = torch.get_rng_state()
    add_adapter(model, adapters(), KEY)
    assert torch.equal(torch.get_rng_state(), before)


def test_adapters_of_a_base_in_bfloat16_are_kept_in_float32(pair_dir: Path) -> None:
    model = student(pair_dir / "student", adapters(), dtype="bfloat16").load("student", CPU)
    assert {parameter.dtype for parameter in trained_parameters(model)} == {torch.float32}
    assert {p.dtype for p in model.parameters() if not p.requires_grad} == {torch.bfloat16}
    assert model.dtype == torch.bfloat16
    # A step of 1e-6 moves every weight that has a gradient: the half that begins at 0 is in float32, too.
    half = trained_parameters(model)[1]
    torch.optim.SGD([half], lr=1e-6).zero_grad()
    half.grad = torch.ones_like(half)
    torch.optim.SGD([half], lr=1e-6).step()
    assert (half == -1e-6).all()


def test_without_peft_one_line_says_what_to_install(pair_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(module, "import_module", missing)
    monkeypatch.setattr(ModelSource, "load", lambda *_: pytest.fail("loaded"))
    source = student(pair_dir / "student", adapters())
    line = r"^model.student.lora: peft is not installed, which adds the adapters; type: pip install 'tipx\[lora\]'$"
    with pytest.raises(ModelError, match=line):
        source.load("student", CPU)
    with pytest.raises(ModelError, match=line):
        source.describe_adapters(source.load_settings("student")[0])


def test_a_peft_that_is_too_old_is_one_line(pair_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIN_PEFT_VERSION", "99.0")
    with pytest.raises(
        ModelError, match=r"^model.student.lora: the installed peft cannot be used \(.*99.0.*\); type: pip"
    ):
        student(pair_dir / "student", adapters()).load("student", CPU)


def test_a_checkpoint_says_in_which_type_its_base_was(pair_dir: Path, tmp_path: Path) -> None:
    source = student(pair_dir / "student", adapters(), dtype="bfloat16")
    save_student(source.load("student", CPU), tmp_path, base=source.describe_base("model.student.path"))
    assert checkpoint(tmp_path).load_settings("student")[0].dtype == torch.bfloat16


def test_layers_are_removed_before_adapters_are_added(tmp_path: Path) -> None:
    deep = save_model(tmp_path / "deep", seed=3, layers=3)
    source = student(deep, adapters(), keep_layers=[0, 2])
    model = trained(source.load("student", CPU))
    assert len(trained_parameters(model)) == 2 * 7 * 2
    assert "on 14 layers" in source.describe_adapters(source.load_settings("student")[0])
    save_student(model, tmp_path, base=source.describe_base("model.student.path"))
    again = source.at_checkpoint(tmp_path).load("student", CPU)
    assert torch.equal(logits(again), logits(model))
    with pytest.raises(ModelError, match=r"another base: its keep_layers was \[0, 2\], and is \[0, 1\]; put back"):
        replace(source, keep_layers=[0, 1]).at_checkpoint(tmp_path)


# --- what they add up to ---------------------------------------------------------------------------------------------


def plain_copy(model: PreTrainedModel, weights: dict[str, torch.Tensor]) -> PreTrainedModel:
    made: PreTrainedModel = type(model)(model.config).to(model.dtype).eval()
    made.load_state_dict(weights)
    return made


def test_merged_weights_are_the_model_under_the_names_of_its_base(adapted: PreTrainedModel, pair_dir: Path) -> None:
    before = {name: value.clone() for name, value in adapted.state_dict().items()}
    weights = dict(merged_weights(adapted))
    base = student(pair_dir / "student").load("student", CPU)
    assert list(weights) == list(base.state_dict())
    torch.testing.assert_close(logits(plain_copy(adapted, weights)), logits(adapted), atol=1e-5, rtol=0)
    assert (logits(base) - logits(adapted)).abs().max() > 1e-2
    assert all(torch.equal(value, before[name]) for name, value in adapted.state_dict().items())


@pytest.mark.parametrize("use_rslora", [False, True])
def test_the_product_counts_as_often_as_peft_says(use_rslora: bool, pair_dir: Path) -> None:
    lora = adapters(r=3, lora_alpha=7, use_rslora=use_rslora, target_modules=["q_proj"])
    model = trained(student(pair_dir / "student", lora).load("student", CPU))
    layer: Any = model.get_submodule("model.layers.0.self_attn.q_proj")
    scaling = 7 / math.sqrt(3) if use_rslora else 7 / 3
    product = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    expected = layer.base_layer.weight + scaling * product
    found = dict(merged_weights(model))["model.layers.0.self_attn.q_proj.weight"]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(logits(plain_copy(model, dict(merged_weights(model)))), logits(model), atol=1e-5, rtol=0)


def test_a_layer_that_keeps_its_weight_the_other_way_round() -> None:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=40, n_embd=16, n_layer=1, n_head=2, n_positions=32, bos_token_id=1, eos_token_id=2)
    model = Auto.from_config(config).eval()
    add_adapter(model, adapters(), KEY)
    trained(model)
    merged = plain_copy(model, dict(merged_weights(model)))
    torch.testing.assert_close(logits(merged), logits(model), atol=1e-5, rtol=0)


def test_a_sum_in_bfloat16_is_rounded_once_and_autocast_does_not_reach_it(pair_dir: Path) -> None:
    model = trained(student(pair_dir / "student", adapters(), dtype="bfloat16").load("student", CPU))
    name = "model.layers.0.mlp.up_proj"
    layer: Any = model.get_submodule(name)
    exact = layer.base_layer.weight.float() + 2.0 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    with torch.autocast("cpu", torch.bfloat16):
        found = dict(merged_weights(model))
    assert {value.dtype for value in found.values()} == {torch.bfloat16}
    assert torch.equal(found[f"{name}.weight"], exact.bfloat16())
    assert all(torch.equal(value, found[key]) for key, value in merged_weights(model))


def test_every_part_is_gathered_whole_and_in_order(adapted: PreTrainedModel) -> None:
    gathered: list[torch.Tensor] = []

    def gather(part: torch.Tensor) -> torch.Tensor:
        gathered.append(part)
        return part * 2

    found = dict(merged_weights(adapted, gather))
    assert len(gathered) == len(adapted.state_dict())
    embedding = adapted.state_dict()["model.embed_tokens.weight"]
    assert torch.equal(found["model.embed_tokens.weight"], embedding * 2)
    layer: Any = adapted.get_submodule("model.layers.0.self_attn.q_proj")
    product = layer.lora_B["default"].weight @ layer.lora_A["default"].weight * 4 * 2  # both halves, alpha / r
    expected = layer.base_layer.weight * 2 + product
    torch.testing.assert_close(found["model.layers.0.self_attn.q_proj.weight"], expected)


def test_a_model_without_adapters_is_handed_over_as_it_is(pair_dir: Path) -> None:
    model = student(pair_dir / "student").load("student", CPU)
    state = model.state_dict()
    found = dict(merged_weights(model))
    assert list(found) == list(state)
    assert all(value.data_ptr() == state[name].data_ptr() for name, value in found.items())
    assert [base_name(name) for name in state] == list(state)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_merged_folder_is_a_plain_model(dtype: str, pair_dir: Path, tmp_path: Path) -> None:
    model = trained(student(pair_dir / "student", adapters(), dtype=dtype).load("student", CPU))
    save_merged(model, tmp_path / "merged")
    again = Auto.from_pretrained(tmp_path / "merged").eval()
    assert not is_adapted(again)
    assert again.dtype == model.dtype
    # Of the same size, a tied LM head is not written twice.
    file = "model.safetensors"
    assert set(load_file(tmp_path / "merged" / file)) == set(load_file(pair_dir / "student" / file))
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in merged_weights(model))
    assert again.generation_config.eos_token_id == model.generation_config.eos_token_id  # type: ignore[union-attr]


def test_checkpointing_gives_the_same_gradients_above_a_frozen_base(adapted: PreTrainedModel) -> None:
    def gradients(on: bool) -> list[torch.Tensor]:
        with gradient_checkpointing(adapted, on):
            states = backbone(adapted)(input_ids=IDS, use_cache=False).last_hidden_state
            states.square().sum().backward()
        found = [parameter.grad for parameter in trained_parameters(adapted)]
        adapted.zero_grad()
        return [grad for grad in found if grad is not None]

    kept, again = gradients(False), gradients(True)
    assert len(kept) == len(again) == 2 * 7
    assert all(grad.any() for grad in kept)
    for one, other in zip(kept, again, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)
    assert all(p.grad is None for p in adapted.parameters() if not p.requires_grad)


# --- in a checkpoint -------------------------------------------------------------------------------------------------


def test_a_checkpoint_holds_the_adapters_alone(saved: Path, adapted: PreTrainedModel, pair_dir: Path) -> None:
    assert {path.name for path in saved.iterdir()} == {"adapter", "config.json", "generation_config.json"}
    assert {path.name for path in (saved / "adapter").iterdir()} == FILES
    weights = load_file(saved / "adapter" / "adapter_model.safetensors")
    assert sum(value.numel() for value in weights.values()) == sum(p.numel() for p in trained_parameters(adapted))
    base = json.loads((saved / "adapter" / "base.json").read_text())
    sha256 = fingerprint_weights(pair_dir / "student")
    settings = json.loads((saved / "adapter" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == str(pair_dir / "student")
    assert settings["target_modules"] == sorted(settings["target_modules"])
    assert base == {"path": str(pair_dir / "student"), "revision": None, "keep_layers": None, "sha256": sha256}


def test_it_loads_to_the_bit_and_goes_on_being_trained(saved: Path, adapted: PreTrainedModel) -> None:
    again = checkpoint(saved).load("student", CPU)
    assert torch.equal(logits(again), logits(adapted))
    assert [p.shape for p in trained_parameters(again)] == [p.shape for p in trained_parameters(adapted)]
    settings = checkpoint(saved).load_settings("student")[0]
    assert settings.to_diff_dict() == adapted.config.to_diff_dict()
    save_student(again, saved / "b", base=read_adapter(saved).base)  # type: ignore[union-attr]
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (saved / "b" / "adapter" / name).read_bytes() == (saved / "adapter" / name).read_bytes()


def test_peft_loads_it_too(saved: Path, adapted: PreTrainedModel, pair_dir: Path) -> None:
    base = Auto.from_pretrained(pair_dir / "student")
    with catch_warnings(action="ignore"):  # peft uses a name that transformers deprecates
        model = peft.PeftModel.from_pretrained(base, saved / "adapter").eval()
    assert torch.equal(logits(model), logits(adapted))


def test_whole_weights_of_a_sharded_model_may_be_given(saved: Path, adapted: PreTrainedModel, pair_dir: Path) -> None:
    state = {name: value * 2 for name, value in adapted.state_dict().items()}
    save_student(adapted, saved / "b", state, read_adapter(saved).base)  # type: ignore[union-attr]
    once, twice = (load_file(folder / "adapter" / "adapter_model.safetensors") for folder in (saved, saved / "b"))
    assert all(torch.equal(twice[name], 2 * value) for name, value in once.items())
    plain = student(pair_dir / "student").load("student", CPU)
    save_student(plain, saved / "c", {name: value * 2 for name, value in plain.state_dict().items()})
    again = Auto.from_pretrained(saved / "c").state_dict()
    assert all(torch.equal(again[name], 2 * value) for name, value in plain.state_dict().items())


def test_a_student_without_adapters_is_saved_as_ever(pair_dir: Path, tmp_path: Path) -> None:
    plain = student(pair_dir / "student").load("student", CPU)
    save_student(plain, tmp_path / "a")
    plain.save_pretrained(tmp_path / "b")
    first, second = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in "ab")
    assert first == second


# --- what they belong to ---------------------------------------------------------------------------------------------


def test_another_base_is_refused(saved: Path, pair_dir: Path, tmp_path: Path) -> None:
    own = student(pair_dir / "student", adapters())
    assert own.at_checkpoint(saved).load("student", CPU) is not None
    other = student(save_model(tmp_path / "other", seed=7), adapters())
    with pytest.raises(
        ModelError, match=r"holds adapters of another base: its path was '.*/student', and is '.*other'"
    ):
        other.at_checkpoint(saved)
    with pytest.raises(ModelError, match=r"another base: its revision was None, and is 'v2'; put back the model that"):
        replace(own, revision="v2").at_checkpoint(saved)


def test_a_base_that_was_changed_since_is_refused(pair_dir: Path, tmp_path: Path) -> None:
    mine = Path(shutil.copytree(pair_dir / "student", tmp_path / "mine"))
    source = student(mine, adapters())
    save_student(source.load("student", CPU), tmp_path, base=source.describe_base("model.student.path"))
    shutil.copyfile(save_model(tmp_path / "other", seed=7) / "model.safetensors", mine / "model.safetensors")
    for place in (lambda: source.at_checkpoint(tmp_path), lambda: checkpoint(tmp_path).load("student", CPU)):
        with pytest.raises(ModelError, match=r"of another base: its sha256 was '\w{64}', and is '\w{64}'; put back"):
            place()


def test_adapters_of_another_rank_are_refused(saved: Path, pair_dir: Path) -> None:
    for more, said in (({"r": 8}, "r=4, not r=8"), ({"lora_alpha": 9}, "lora_alpha=8, not lora_alpha=9")):
        with pytest.raises(ModelError, match=f"000004 holds adapters of {said}; train anew with --fresh"):
            student(pair_dir / "student", adapters(**more)).at_checkpoint(saved)


def test_a_base_that_is_not_downloaded_yet_is_told_by_its_name(saved: Path) -> None:
    base = read_adapter(saved).base  # type: ignore[union-attr]
    check_base(base, replace(base, sha256=None), saved)
    with pytest.raises(ModelError, match="its path was"):
        check_base(base, replace(base, sha256=None, path="org/other"), saved)


@pytest.mark.parametrize("lora", [None, adapters()])
def test_a_checkpoint_of_the_other_kind_is_refused(lora: LoRA | None, saved: Path, pair_dir: Path) -> None:
    source = student(pair_dir / "student", lora)
    folder = saved if lora is None else pair_dir / "student"
    kinds = ("adapters", "a whole model") if lora is None else ("a whole model", "adapters")
    with pytest.raises(ModelError, match=f"holds {kinds[0]}, and model.student.lora wants {kinds[1]}; train anew with"):
        source.at_checkpoint(folder)


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_a_checkpoint_with_adapters_as_a_model(
    role: str, saved: Path, adapted: PreTrainedModel, pair_dir: Path
) -> None:
    tokens = Path(shutil.copytree(pair_dir / "student", saved.parent / "tokens"))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tokens / name, saved / name)
    paths = {"student": pair_dir / "student", "teacher": pair_dir / "teacher"} | {role: saved}
    common = {"revision": None, "dtype": "float32", "attn": None, "keep_layers": None}
    teacher = Teacher(path=str(paths["teacher"]), offload="none", **common)  # type: ignore[arg-type]
    pair = Pair(teacher=teacher, student=student(paths["student"]), template=PLAIN)
    if role == "teacher":  # it is not trained, so it may be anything that computes
        loaded = pair.load(CPU, pair.load_tokenizer())
        assert torch.equal(logits(loaded.teacher), logits(adapted))
        assert trained_parameters(loaded.teacher) == []
        return
    with pytest.raises(
        ModelError, match=r"holds adapters of a run; merge them into a model folder, .* tipx export RUN"
    ):
        pair.load(CPU, pair.load_tokenizer())
    with pytest.raises(ModelError, match="holds adapters of a run"):
        pair.student.load_settings("student")


def cut(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def drop(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    weights = load_file(file)
    save_file(dict(list(weights.items())[1:]), file)


def edit(name: str, **more: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(content | more))

    return change


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut, r"adapter_model.safetensors cannot be read"),
        (drop, r"adapter_model.safetensors does not fit its base"),
        (lambda folder: (folder / "adapter_model.safetensors").unlink(), r"adapter_model.safetensors is not there"),
        (edit("adapter_config.json", r=8), r"adapter_model.safetensors does not fit its base"),
        (edit("adapter_config.json", r="many"), r"adapter_config.json and base.json are not as tipx wrote them"),
        (edit("adapter_config.json", target_modules=["foo"]), r"'foo' is the name of no layer"),
        (edit("base.json", more=1), r"are not as tipx wrote them"),
        (edit("base.json", path=7), r"are not as tipx wrote them"),
        (edit("base.json", path="/no/such"), r"no such folder: '/no/such'"),
        (lambda folder: (folder / "base.json").write_text("{"), r"base.json is not a valid JSON file"),
        (lambda folder: (folder / "adapter_config.json").unlink(), r"adapter_config.json is not there"),
    ],
    ids=["cut", "drop", "no weights", "rank", "no rank", "targets", "more", "path", "gone", "json", "no settings"],
)
def test_what_is_damaged_is_one_line(damage: Callable[[Path], None], said: str, saved: Path) -> None:
    damage(saved / "adapter")
    with pytest.raises(ModelError, match=said) as caught:
        checkpoint(saved).load("student", CPU)
    assert "\n" not in str(caught.value)


def test_adapters_whose_base_holds_adapters_are_refused(saved: Path) -> None:
    edit("base.json", path=str(saved))(saved / "adapter")  # itself
    with pytest.raises(ModelError, match=r"the base of the adapters in .* holds adapters itself"):
        checkpoint(saved).load("student", CPU)


def test_a_fingerprint_is_of_every_file_and_reads_a_part_of_a_large_one(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model", seed=1)
    file = folder / "model.safetensors"
    first = fingerprint_weights(folder)
    assert first == fingerprint_weights(folder)
    assert fingerprint_weights(file) == first  # one file, as of a GGUF
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    assert fingerprint_weights(folder) != first
    Auto.from_pretrained(folder).save_pretrained(tmp_path / "parts", max_shard_size="4KB")
    parts = sorted((tmp_path / "parts").glob("model-*.safetensors"))
    assert len(parts) > 2
    first = fingerprint_weights(tmp_path / "parts")
    last = bytearray(parts[-1].read_bytes())
    last[-1] ^= 1
    parts[-1].write_bytes(bytes(last))
    assert fingerprint_weights(tmp_path / "parts") != first
    large = tmp_path / "large.gguf"
    with large.open("wb") as handle:
        handle.truncate(2**28)
    first = fingerprint_weights(large)
    with large.open("r+b") as handle:
        handle.seek(2**27)
        handle.write(b"another training")
    assert fingerprint_weights(large) != first
