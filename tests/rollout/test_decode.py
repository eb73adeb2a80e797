"""The loop of our own against `generate`: the same tokens, fewer rows and positions computed."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BambaConfig,
    BloomConfig,
    Cohere2Config,
    CpmAntConfig,
    DeepseekV4Config,
    FalconConfig,
    FalconMambaConfig,
    GPTNeoXConfig,
    JambaConfig,
    Lfm2Config,
    MambaConfig,
    MiniMaxConfig,
    MistralConfig,
    NemotronHConfig,
    OPTConfig,
    Phi3Config,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen3ForCausalLM,
    Qwen3NextConfig,
    RwkvConfig,
    xLSTMConfig,
)

from tests.models.test_architectures import CONFIGS, SMALL
from tipx.noise import Noise
from tipx.rollout import RolloutRequest
from tipx.rollout.cache import SHORT, Architecture
from tipx.rollout.decode import Decoder, Response
from tipx.rollout.generate import Generator
from tipx.rollout.hf import HFRollouts
from tipx.rollout.recorder import Recorder

HF = Callable[..., HFRollouts]
MORE: dict[str, Callable[..., PreTrainedConfig]] = {
    "mistral": lambda **more: MistralConfig(**SMALL, sliding_window=4, **more),
    "cohere2": lambda **more: Cohere2Config(**SMALL, sliding_window=4, **more),
    "bloom": lambda **more: BloomConfig(vocab_size=41, hidden_size=16, n_layer=2, n_head=2, **more),
    "falcon": lambda **more: FalconConfig(**SMALL, alibi=True, **more),
    "opt": lambda **more: OPTConfig(**SMALL, ffn_dim=24, word_embed_proj_dim=16, **more),
    "gpt_neox": lambda **more: GPTNeoXConfig(**SMALL, **more),
    "mamba": lambda **more: MambaConfig(**SMALL, **more),
    "falcon_mamba": lambda **more: FalconMambaConfig(**SMALL, **more),
    "bamba": lambda **more: BambaConfig(
        **SMALL,
        mamba_n_heads=4,
        mamba_d_head=8,
        mamba_d_state=8,
        mamba_n_groups=1,
        attn_layer_indices=[1],
        mamba_chunk_size=8,
        **more,
    ),
    "jamba": lambda **more: JambaConfig(**SMALL, num_experts=2, attn_layer_period=2, attn_layer_offset=1, **more),
    "nemotron_h": lambda **more: NemotronHConfig(
        **SMALL, mamba_num_heads=2, mamba_head_dim=8, ssm_state_size=4, chunk_size=8, n_groups=1, **more
    ),
    "lfm2": lambda **more: Lfm2Config(**SMALL, layer_types=["conv", "full_attention"], **more),
    "qwen3_next": lambda **more: Qwen3NextConfig(
        **SMALL,
        layer_types=["linear_attention", "full_attention"],
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        linear_num_key_heads=1,
        linear_num_value_heads=2,
        moe_intermediate_size=8,
        shared_expert_intermediate_size=8,
        num_experts=2,
        num_experts_per_tok=1,
        **more,
    ),
}
GENERATED: dict[str, Callable[..., PreTrainedConfig]] = {
    # It throws its cache away where its positions are scaled in another way.
    "phi3": lambda **more: Phi3Config(**SMALL, **more),
    # It takes the whole text again each time.
    "cpmant": lambda **more: CpmAntConfig(**SMALL, **more),
    # They have caches of their own.
    "minimax": lambda **more: MiniMaxConfig(**SMALL, **more),
    "deepseek_v4": lambda **more: DeepseekV4Config(**SMALL, **more),
    "xlstm": lambda **more: xLSTMConfig(**SMALL, **more),
    # Refused elsewhere: it reads padding.
    "rwkv": lambda **more: RwkvConfig(**SMALL, **more),
}
JOINABLE = {"qwen2", "qwen3", "llama", "cohere", "granite", "gpt2", "falcon", "opt", "gpt_neox"}
PROMPTS = [[3, 4, 5], [6], [7, 8, 9, 10, 11, 12], [5, 6], [6], [3, 4, 5], [3, 4, 5], [30] * 9]
ENDS = frozenset({2, 20, 21, 22})


def make(name: str) -> PreTrainedModel:
    torch.manual_seed(0)
    config = (CONFIGS | MORE | GENERATED)[name](initializer_range=0.5)
    return AutoModelForCausalLM.from_config(config).eval()


def texts(limits: Sequence[int]) -> list[Response]:
    return [Response(PROMPTS[row % 8], row, Noise(1, 2), limit) for row, limit in enumerate(limits)]


def decoder(model: PreTrainedModel, size: int, recorder: Recorder | None = None) -> Decoder:
    sampled = HFRollouts(temperature=1.0, top_p=1.0, top_k=0, max_new_tokens=99, batch_size=99)
    return Decoder(model, Architecture(model), sampled.choose, ENDS, 0, size, recorder)


def generator(model: PreTrainedModel, size: int, recorder: Recorder | None = None) -> Generator:
    return Generator(model, decoder(model, size).choose, ENDS, 0, size, recorder)


def run(sampler: Decoder | Generator, responses: list[Response]) -> list[list[int]]:
    ended = [response for some in sampler.run(responses, lambda _: None) for response in some]
    assert sorted(map(id, ended)) == sorted(map(id, responses))
    return [response.ids for response in responses]


@contextmanager
def watch(model: PreTrainedModel) -> Iterator[list[tuple[int, int]]]:
    """The shapes (rows, positions) of the ids of each forward pass."""
    shapes: list[tuple[int, int]] = []
    hook = model.register_forward_pre_hook(
        lambda _m, _a, more: shapes.append(tuple(more["input_ids"].shape)), with_kwargs=True
    )
    yield shapes
    hook.remove()


@pytest.mark.parametrize("name", [*CONFIGS, *MORE])
def test_the_tokens_are_those_of_generate(name: str) -> None:
    model = make(name)
    architecture = Architecture(model)
    assert architecture.selectable
    assert architecture.joinable == (name in JOINABLE)
    limits = [12, 3, 12, 7, 12, 1, 12, 12] * 3
    expected = run(generator(model, 24), texts(limits))
    assert len({len(ids) for ids in expected}) > 3
    for size in (24, 5):
        assert run(decoder(model, size), texts(limits)) == expected


@pytest.mark.parametrize("name", GENERATED)
def test_these_are_left_to_generate(name: str) -> None:
    assert not Architecture(make(name)).selectable


def test_a_model_with_code_of_its_own_is_left_to_generate() -> None:
    model = make("qwen3")
    for method in ("generate", "_sample", "prepare_inputs_for_generation"):
        own = type("Own", (type(model),), {method: lambda *_, **__: None})
        twin = make("qwen3")
        twin.__class__ = own
        assert not Architecture(twin).selectable
        assert Architecture(model).selectable


def test_generate_gives_what_the_loop_does_through_the_backend(
    hf: HF, tokenizer: PreTrainedTokenizerBase, model: Qwen3ForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = RolloutRequest(
        prompts=PROMPTS, rows=range(8), noise=Noise(3), limits=[12, 3, 9, 12, 12, 1, 12, 12], with_states=True
    )
    ours = hf()(model, tokenizer, request)
    monkeypatch.setattr(Architecture, "selectable", False)
    theirs = hf()(model, tokenizer, request)
    assert torch.equal(ours.response_BT, theirs.response_BT)
    assert ours.stop_reasons == theirs.stop_reasons
    assert ours.states_ND is not None
    torch.testing.assert_close(ours.states_ND, theirs.states_ND)
    # What inference left can be trained from.
    assert not ours.states_ND.is_inference()
    assert not ours.response_BT.is_inference()


def test_a_prompt_is_read_once_for_all_its_responses() -> None:
    model, responses = make("qwen3"), texts([4] * 24)
    with watch(model) as shapes:
        run(decoder(model, 24), responses)
    assert shapes[0] == (5, 9)
    assert {shape[1] for shape in shapes[1:]} == {1}


@pytest.mark.parametrize("name", ["qwen3", "mistral", "jamba"])
def test_ended_rows_are_computed_no_more(name: str) -> None:
    model = make(name)
    with watch(model) as shapes:
        ids = run(decoder(model, 24), texts([*[2] * 12, *[30] * 12]))
    rows = [shape[0] for shape in shapes[1:]]
    assert rows == sorted(rows, reverse=True)
    assert rows[1] <= 12
    steps = max(map(len, ids)) - 1
    assert len(rows) == steps
    # A quarter of a batch may have ended.
    assert sum(rows) <= sum(len(one) - 1 for one in ids) * 4 / 3 + 24


def test_an_ended_row_reads_no_place_that_the_model_has_not() -> None:
    # Learned places, 32 of them. The longest prompt has read all while the others go on.
    model = make("gpt2")
    limits = [32 - len(prompt) for prompt in PROMPTS]
    everlasting = replace(decoder(model, 8), ends=frozenset())
    alone = replace(generator(model, 1), ends=frozenset())
    assert run(everlasting, texts(limits)) == run(alone, texts(limits))


def test_those_that_wait_take_the_place_of_the_ended() -> None:
    model, limits = make("qwen3"), [120, *[2] * 23]
    everlasting = replace(decoder(model, 4), ends=frozenset())
    with watch(model) as shapes:
        ids = run(everlasting, texts(limits))
    assert max(shape[0] for shape in shapes) <= 4
    # The long one does not make the others wait.
    assert sum(shape[1] == 1 for shape in shapes) == 119
    assert run(replace(generator(model, 24), ends=frozenset()), texts(limits)) == ids


def test_those_that_are_soon_done_are_waited_for() -> None:
    model, limits = make("qwen3"), [8, 7, 7, 7] * 3
    with watch(model) as shapes:
        run(replace(decoder(model, 4), ends=frozenset()), texts(limits))
    assert sum(shape[1] > 1 for shape in shapes) == 3


def test_recorded_states_are_those_that_predict() -> None:
    for name in ("qwen3", "mistral"):
        model = make(name)
        for size in (24, 5):
            recorder, responses = Recorder(model), texts([12, 3, 12, 7, 12, 1, 12, 12] * 2)
            with recorder.listen():
                run(decoder(model, size, recorder), responses)
            assert not model.base_model._forward_hooks
            for response in responses:
                text = [*response.prompt, *response.ids]
                with torch.no_grad():
                    states_LD = model.base_model(input_ids=torch.tensor([text])).last_hidden_state[0]
                wanted_ND = states_LD[len(response.prompt) - 1 : -1]
                torch.testing.assert_close(recorder.states(response.places), wanted_ND, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["qwen3", "opt", "falcon", "mistral", "jamba", "phi3"])
@pytest.mark.parametrize("size", [3, 16])
def test_what_follows_a_response_reads_what_is_new(name: str, size: int) -> None:
    """Turns: after each response comes a text of another length, and the next response."""
    model, told = make(name), [[5], [6, 7, 8], [9] * 7]

    def played(sampler: Decoder | Generator) -> list[list[list[int]]]:
        turns: list[list[list[int]]] = [[] for _ in range(8)]

        def reply(response: Response) -> Response | None:
            said = turns[response.row]
            said.append(response.ids)
            if len(said) > 3:
                return None
            text = [*response.prompt, *response.ids, *told[(response.row + len(said)) % 3]]
            return Response(text, response.row, Noise(1, len(said)), 2 + 3 * ((response.row + len(said)) % 3))

        for _ in sampler.run(texts([5, 1, 4, 3, 5, 2, 5, 5]), reply):
            assert not torch.is_inference_mode_enabled()
        return turns

    expected = played(generator(model, 8))
    assert {len(turns) for turns in expected} == {4}
    chosen = decoder(model, size) if Architecture(model).selectable else generator(model, size)
    with watch(model) as shapes:
        assert played(chosen) == expected
    if name in JOINABLE:
        # Prompts, and what was told with the last token before it: no text is read again.
        assert max(shape[1] for shape in shapes) == 9
        assert sum(shape[1] > 1 for shape in shapes) > 3


def test_long_texts_are_not_copied_for_each_token() -> None:
    model = make("qwen3")
    cache = Architecture(model).make_cache()
    usual = type(cache)(config=model.config)
    ids_RL = torch.randint(3, 40, (2, SHORT + 80), generator=torch.Generator().manual_seed(0))
    places, start = set(), SHORT - 3
    with torch.no_grad():
        for at in (slice(0, start), *(slice(t, t + 1) for t in range(start, ids_RL.shape[1]))):
            ours, theirs = (
                model(input_ids=ids_RL[:, at], past_key_values=kept, use_cache=True).logits for kept in (cache, usual)
            )
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
            places.add(cache.layers[0].keys.data_ptr())
            if at.start == SHORT + 40:  # as when rows are dropped
                for kept in (cache, usual):
                    kept.reorder_cache(torch.tensor([1, 0]))
                ids_RL = ids_RL.flip(0)
    assert torch.equal(cache.layers[1].values, usual.layers[1].values)
    # Three short ones, and then room three times: at first, after the change of rows, and where it was full.
    assert len(places) < 12


def test_the_models_settings_are_left_alone(hf: HF, tokenizer: PreTrainedTokenizerBase, model: Any) -> None:
    own, request = model.generation_config, RolloutRequest(prompts=PROMPTS, rows=range(8), noise=Noise(3))
    hf()(model, tokenizer, replace(request, with_states=True))
    assert model.generation_config is own
    assert not model.base_model._forward_hooks
