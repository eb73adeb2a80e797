"""Models that fit are accepted; all others are refused at start-up, in one line that says what to type."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM as Auto
from transformers import (
    CohereConfig,
    Gemma2Config,
    GPT2Config,
    GraniteConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    RecurrentGemmaConfig,
    RwkvConfig,
)

from tests.conftest import save_model
from tipx.embedded.arithmetic.tokenizer import build_tokenizer, vocabulary
from tipx.errors import ModelError
from tipx.models.head import backbone, check_generation, check_head, lm_head
from tipx.models.pair import ModelSource, Pair, Student, Teacher, Template
from tipx.train.start import train_run

CPU = torch.device("cpu")
PLAIN = Template(chat=False, instruction="", thinking=None)
V = len(vocabulary())
SMALL: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def source(path: Path | str, **more: Any) -> Student:
    return Student(
        **{"path": str(path), "revision": None, "dtype": "float32", "attn": None, "keep_layers": None, **more}
    )


def pair(teacher: Path, student: Path) -> Pair:
    return Pair(teacher=as_teacher(source(teacher)), student=source(student), template=PLAIN)


def as_teacher(model: ModelSource, offload: str = "none") -> Teacher:
    common = {field.name: getattr(model, field.name) for field in fields(ModelSource)}  # type: ignore[arg-type]
    return Teacher(**common, offload=offload)


def tiny(config: PreTrainedConfig) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel = Auto.from_config(config).eval()
    with torch.no_grad():
        for value in model.parameters():
            value.mul_(8.0 if value.dim() > 1 else 1.0)  # logits far enough from 0 for a cap to show
    return model


@pytest.fixture
def broken(pair_dir: Path, tmp_path: Path) -> Path:
    """A copy of the student, to be broken."""
    return Path(shutil.copytree(pair_dir / "student", tmp_path / "broken"))


# --- pairs that fit, and pairs that do not ---------------------------------------------------------------------------


def test_a_pair_of_one_family_fits(pair_dir: Path) -> None:
    both = pair(pair_dir / "teacher", pair_dir / "student")
    loaded = both.load(CPU, both.load_tokenizer())
    assert loaded.rows == V
    assert not loaded.student.training
    assert not any(p.requires_grad for p in loaded.teacher.parameters())
    assert all(p.requires_grad for p in loaded.student.parameters())


def test_heads_are_compared_on_their_common_rows(tmp_path: Path) -> None:
    both = pair(save_model(tmp_path / "a", 1, vocab=V + 9), save_model(tmp_path / "b", 2, vocab=V + 3))
    loaded = both.load(CPU, both.load_tokenizer())
    assert loaded.rows == V + 3
    assert lm_head(loaded.teacher, loaded.rows).weight_VD.shape == (V + 3, 16)


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_a_head_smaller_than_the_vocabulary_is_refused(role: str, pair_dir: Path, tmp_path: Path) -> None:
    small = save_model(tmp_path / "small", 1, vocab=V - 2)
    model = source(small) if role == "student" else as_teacher(source(small))
    both = replace(pair(pair_dir / "teacher", pair_dir / "student"), **{role: model})
    message = f"model.{role}: the LM head has {V - 2} rows but the tokenizer has {V} tokens: the vocabulary does not"
    with pytest.raises(ModelError, match=message):
        both.load(CPU, both.load_tokenizer())


def test_tokenizers_that_disagree_on_an_id_are_refused_with_the_token(pair_dir: Path, broken: Path) -> None:
    # "tom" and "ann" change places.
    ids, text = vocabulary(), (broken / "tokenizer.json").read_text()
    for old, new in (("tom", "?1"), ("ann", "tom"), ("?1", "ann")):
        text = text.replace(f'"{old}":', f'"{new}":')
    (broken / "tokenizer.json").write_text(text)
    first = min(("tom", "ann"), key=ids.__getitem__)
    other = {"tom": "ann", "ann": "tom"}[first]
    with pytest.raises(ModelError) as caught:
        pair(broken, pair_dir / "student").load_tokenizer()
    assert str(caught.value) == (
        f"model: teacher and student must share one tokenizer, but {first!r} has id {ids[first]} in the student's and "
        f"{ids[other]} in the teacher's; take a pair of one family: `tipx list models`"
    )


def test_a_token_that_one_lacks_is_refused(pair_dir: Path, broken: Path) -> None:
    tokenizer = build_tokenizer()
    tokenizer.add_tokens(["<think>"])
    tokenizer.save_pretrained(broken)
    with pytest.raises(ModelError, match=f"'<think>' has id {V} in the student's and None in the teacher's"):
        pair(pair_dir / "teacher", broken).load_tokenizer()


def test_one_vocabulary_split_differently_is_refused(pair_dir: Path, broken: Path) -> None:
    # The same words, but numbers are not split into digits: "42" is unknown.
    whole = Tokenizer(models.WordLevel(vocabulary(), unk_token="<unk>"))
    whole.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=whole, eos_token="<eos>", pad_token="<pad>").save_pretrained(broken)
    with pytest.raises(ModelError, match="one vocabulary but split text differently; take a pair of one family"):
        pair(pair_dir / "teacher", broken).load_tokenizer()


# --- places ----------------------------------------------------------------------------------------------------------


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    message = (
        f"model.teacher.path: no such folder: '{tmp_path}/none'; give a folder .*: model.teacher.path=/models/none"
    )
    for attempt in (source(tmp_path / "none").load_tokenizer, lambda role: source(tmp_path / "none").load(role, CPU)):
        with pytest.raises(ModelError, match=message):
            attempt("teacher")


def test_a_hub_id_without_a_hub_says_how_to_get_it() -> None:
    with pytest.raises(ModelError) as caught:
        source("Qwen/Qwen3-0.6B").load("student", CPU)
    assert str(caught.value) == (
        "model.student.path: cannot load 'Qwen/Qwen3-0.6B': it is no local folder, it is not in the hub's cache, and "
        "the hub cannot be reached or does not have it; fetch it where there is network (`hf download "
        "Qwen/Qwen3-0.6B`), or give a folder that holds it: model.student.path=/models/Qwen3-0.6B"
    )


def unknown(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "no-such-type"}))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda f: (f / "config.json").write_text("{}"), "Unrecognized model"),
        (lambda f: os.truncate(f / "model.safetensors", 9000), "file not fully covered"),
        (unknown, "model type `no-such-type`"),
        (lambda f: (f / "config.json").write_text("{"), "not a valid JSON"),
        (lambda f: (f / "model.safetensors").unlink(), "no file named model.safetensors"),
    ],
    ids=["no type", "cut weights", "unknown type", "cut config", "no weights"],
)
def test_a_folder_that_holds_no_model(harm: Callable[[Path], object], said: str, broken: Path) -> None:
    harm(broken)
    with pytest.raises(ModelError) as caught:
        source(broken).load("student", CPU)
    text = str(caught.value)
    assert text.startswith(f"model.student.path: '{broken}' holds no loadable model or tokenizer (")
    assert said in text
    assert text.endswith("); give a folder that holds it: model.student.path=/models/broken")
    assert "\n" not in text


@pytest.mark.parametrize("shape", [None, (3, 16)])
def test_weights_are_never_made_up(shape: tuple[int, int] | None, broken: Path) -> None:
    name = "model.layers.0.self_attn.q_proj.weight"
    weights = load_file(broken / "model.safetensors")
    del weights[name]
    save_file(weights | ({name: torch.zeros(shape)} if shape else {}), broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=f"lacks 1 weights of a Qwen3ForCausalLM, or has them in .* e.g. {name}; give"):
        source(broken).load("student", CPU)


def test_a_folder_without_a_tokenizer(broken: Path) -> None:
    for path in broken.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ModelError, match=r"knows no words; put its files \(tokenizer.json, tokenizer_config.json\)"):
        source(broken).load_tokenizer("student")


def test_a_tokenizer_without_an_end_of_sequence(broken: Path) -> None:
    tokenizer = build_tokenizer()
    tokenizer.eos_token = None
    tokenizer.save_pretrained(broken)
    with pytest.raises(ModelError, match=r"model.student.path: the tokenizer of .* has no end-of-sequence token"):
        source(broken).load_tokenizer("student")


def test_an_attention_that_is_not_to_be_had_is_named(broken: Path) -> None:
    for attn in ("flash_attention_2", "no_such_one"):
        with pytest.raises(ModelError, match=rf"model\.student\.attn={attn}: .*model\.student\.attn=null"):
            source(broken, attn=attn).load("student", CPU)


def test_dtype_and_attention_are_those_asked_for(pair_dir: Path) -> None:
    model = source(pair_dir / "student", dtype="bfloat16", attn="eager").load("student", CPU)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert model.config._attn_implementation == "eager"


def test_a_checkpoint_takes_the_place_of_the_student_s_weights(pair_dir: Path, tmp_path: Path) -> None:
    both = pair(pair_dir / "teacher", pair_dir / "student")
    saved = save_model(tmp_path / "000002", seed=9)
    loaded = both.load(CPU, both.load_tokenizer(), student_from=saved)
    found = loaded.student.state_dict()["model.embed_tokens.weight"]
    assert torch.equal(found, load_file(saved / "model.safetensors")["model.embed_tokens.weight"])


# --- architectures ---------------------------------------------------------------------------------------------------


HEADLESS = {key: value for key, value in SMALL.items() if key != "head_dim"}
KNOWN = {
    "llama": LlamaConfig(**SMALL, tie_word_embeddings=False),
    "llama, tied": LlamaConfig(**SMALL, tie_word_embeddings=True),
    "qwen2": Qwen2Config(**SMALL, tie_word_embeddings=True),
    "gpt2": GPT2Config(vocab_size=40, n_positions=32, n_embd=16, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=2),
    "gemma2, capped": Gemma2Config(**SMALL, final_logit_softcapping=1.0, query_pre_attn_scalar=8),
    "cohere, scaled": CohereConfig(**HEADLESS, logit_scale=0.25),
    "granite, divided": GraniteConfig(**HEADLESS, logits_scaling=4.0),
}


@pytest.mark.parametrize("name", KNOWN)
def test_hidden_states_and_head_give_the_model_s_own_distribution(name: str) -> None:
    model = tiny(KNOWN[name])
    check_head("student", model)
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    with torch.no_grad():
        hidden_ND = backbone(model)(input_ids=ids).last_hidden_state[0]
        expected_NV = model(input_ids=ids).logits[0].log_softmax(-1)
    torch.testing.assert_close(lm_head(model).log_probs(hidden_ND), expected_NV, atol=1e-5, rtol=1e-5)
    assert expected_NV.std() > 0.1


class Doubles(LlamaForCausalLM):
    """Does to its logits what no known setting says."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        out = super().forward(*args, **kwargs)
        out.logits = out.logits * 2
        return out


def test_logits_that_are_not_the_head_s_own_are_refused() -> None:
    model = Doubles(LlamaConfig(**SMALL))
    with torch.no_grad():
        model.lm_head.weight.mul_(8)
    with pytest.raises(ModelError, match=r"model\.teacher: Doubles changes its logits after the LM head .* is refused"):
        check_head("teacher", model)


def test_a_model_that_computes_no_numbers_is_refused() -> None:
    model = tiny(LlamaConfig(**SMALL))
    with torch.no_grad():
        model.model.norm.weight[3] = float("nan")
    with pytest.raises(ModelError, match=r"logits that are not numbers; .* do not fit model\.teacher\.dtype=float32"):
        check_head("teacher", model)


# --- templates -------------------------------------------------------------------------------------------------------


def test_a_plain_template_is_the_question_and_its_instruction(pair_dir: Path) -> None:
    tokenizer = source(pair_dir / "student").load_tokenizer("student")
    ids = vocabulary()
    template = replace(PLAIN, instruction=" how many ?")
    assert template.encode(tokenizer, "tom has 14") == [ids[w] for w in ("tom", "has", "1", "4", "how", "many", "?")]


@pytest.mark.parametrize(("thinking", "end"), [(None, ["a", ":"]), (True, ["a", ":"]), (False, ["a", ":", "."])])
def test_a_chat_template_ends_where_the_answer_begins(thinking: bool | None, end: list[str], pair_dir: Path) -> None:
    tokenizer = source(pair_dir / "student").load_tokenizer("student")
    tokenizer.chat_template = (
        "{% for m in messages %}q : {{ m['content'] }} {% endfor %}{% if add_generation_prompt %}a :"
        "{% if enable_thinking is defined and not enable_thinking %} .{% endif %}{% endif %}"
    )
    template = Template(chat=True, instruction=" how many ?", thinking=thinking)
    expected = ["q", ":", "tom", "has", "1", "4", "how", "many", "?", *end]
    assert template.encode(tokenizer, "tom has 14") == [vocabulary()[word] for word in expected]


SMALL_RWKV = {"hidden_size": 16, "attention_hidden_size": 16, "intermediate_size": 32, "context_length": 64}


def test_a_model_that_reads_padding_is_refused() -> None:
    config = RwkvConfig(vocab_size=40, num_hidden_layers=2, pad_token_id=0, eos_token_id=2, **SMALL_RWKV)
    torch.manual_seed(0)
    model = Auto.from_config(config).eval()
    check_head("student", model)
    with pytest.raises(ModelError, match=r"model\.student: RwkvForCausalLM reads padding as text"):
        check_generation("student", model, 0)


def test_a_model_that_generate_cannot_run_is_one_line() -> None:
    config = RecurrentGemmaConfig(**SMALL, lru_width=16, block_types=["recurrent"])
    with pytest.raises(ModelError, match=r"RecurrentGemmaForCausalLM cannot run \(.*; transformers' generate cannot"):
        check_generation("student", Auto.from_config(config).eval(), 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("make", [Qwen2Config, Gemma2Config, MambaConfig, LlamaConfig], ids=lambda c: c.model_type)
def test_a_model_that_does_not_is_taken(make: type[PreTrainedConfig], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = Auto.from_config(make(**SMALL, initializer_range=0.5)).to(dtype).eval()
    own = model.generation_config
    check_head("student", model)
    check_generation("student", model, 0)
    assert model.generation_config is own


def test_a_body_that_cannot_be_told_from_its_head_is_one_line() -> None:
    model = Auto.from_config(LlamaConfig(**SMALL))
    model.base_model_prefix = "elsewhere"
    assert backbone(model) is model.model
    del model.model
    with pytest.raises(ModelError, match="LlamaForCausalLM has no part of its own"):
        backbone(model)


def test_a_size_of_zero_is_named(tmp_path: Path) -> None:
    # torch warns, which is an error elsewhere; some sizes may be 0, so it is the weights that are looked at.
    folder = save_model(tmp_path / "zero", 1)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 0}))
    with pytest.raises(
        ModelError, match=r"config\.json: model\.layers\.0\.mlp\.\w+\.weight would be of shape \(0, 16\)"
    ):
        source(folder).load_settings("student")


def test_a_wide_student_trains_with_a_narrow_teacher(overrides: Callable[..., list[str]], tmp_path: Path) -> None:
    # Sampled ids that the teacher's embedding has not were an IndexError.
    for role, other in (("student", "teacher"), ("teacher", "student")):
        wide, narrow = (
            save_model(tmp_path / f"wide-{role}", 3, vocab=3 * V),
            save_model(tmp_path / f"narrow-{other}", 4),
        )
        places = (f"model.{role}.path={wide}", f"model.{other}.path={narrow}", "optim.lr=0.01")
        run, _ = train_run(overrides(*places), fresh=False, config_dir=None)
        assert [row["train/applied"] for row in run.rows()] == [True] * 4
