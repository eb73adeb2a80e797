"""Servers that are not the student's, go away, come back as something else, or serve two runs: the line, the result."""

import itertools
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from tests.conftest import save_model
from tests.rollout.stand_in import Served, Weights, serve
from tipx.adapters import merged_weights
from tipx.config import build, load
from tipx.errors import ConfigError, RunFailed
from tipx.models.lora import LoRA, add_adapter
from tipx.models.pair import ModelSource
from tipx.noise import Noise
from tipx.rollout import RolloutRequest
from tipx.rollout.engines import ENGINES, close_engines
from tipx.rollout.inspection import compare_shapes, list_shapes, read_shapes
from tipx.rollout.vllm import VLLMRollouts
from tipx.types import Rollout

ASK = RolloutRequest(prompts=[[3, 4, 5], [6], [7, 8, 3, 4]], rows=range(3), noise=Noise(0))
Student = tuple[PreTrainedModel, Any]


def load_student(folder: Path, keep: list[Any] | None = None) -> Student:
    source = ModelSource(path=str(folder), revision=None, dtype="float32", attn=None, keep_layers=keep)
    return source.load("student", torch.device("cpu")), source.load_tokenizer("student")


@pytest.fixture
def student(pair_dir: Path) -> Student:
    return load_student(pair_dir / "student")


@pytest.fixture
def state(pair_dir: Path) -> Served:
    return Served(Weights(str(pair_dir / "student")))


@pytest.fixture
def address(state: Served) -> Iterator[str]:
    with serve(state) as place:
        yield place


@pytest.fixture
def how(address: str, tmp_path: Path) -> VLLMRollouts:
    return backend(address, tmp_path)


def backend(address: str, folder: Path, *more: str) -> VLLMRollouts:
    words = [f"rollout.server={address}", f"rollout.sync_dir={folder}", "rollout.max_new_tokens=6", *more]
    made = build(load(["rollout=vllm_server", "rollout.wait_s=5", *words])).rollout
    assert isinstance(made, VLLMRollouts)
    return made


def pushes(state: Served) -> int:
    return sum(body.get("method") == "reload_weights" for place, body in state.asked if place == "/collective_rpc")


def once(act: Callable[[], tuple[int, Any] | None], at: str) -> Callable[[str], tuple[int, Any] | None]:
    """What a server does the first time that it is asked for `at`."""
    left = [act]
    return lambda place: left.pop()() if place == at and left else None


def same(one: Rollout, other: Rollout) -> None:
    assert torch.equal(one.response_BT, other.response_BT)
    assert one.logprobs_N is not None
    torch.testing.assert_close(one.logprobs_N, other.logprobs_N)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ({"layers": 2}, "it has 2 layers, the student 1"),
        ({"hidden": 32}, r"its model.embed_tokens is \d+ x 32, the student's \d+ x 16 \(and 2 more\)"),
        ({"vocab": 99}, r"its model.embed_tokens is 99 x 16, the student's \d+ x 16;"),
    ],
)
def test_a_server_of_another_model_gets_no_weights(
    shape: dict[str, int], said: str, student: Student, tmp_path: Path
) -> None:
    other = Served(Weights(str(save_model(tmp_path / "other", seed=3, **shape))))
    with serve(other) as place:
        with pytest.raises(ConfigError, match=rf"serves 'the-student', which is not the student: {said}.*vllm serve"):
            backend(place, tmp_path)(*student, ASK)
        assert pushes(other) == 0


def test_a_pruned_student_is_told_how_to_be_served(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "deep", seed=3, layers=3)
    pruned, whole = load_student(folder, keep=[0, 2]), Served(Weights(str(folder)))
    written = r"`vllm serve (\S+/tipx-student-\w+) --tokenizer \S+/deep --dtype float32`"
    with serve(whole) as place, pytest.raises(ConfigError, match=f"3 layers, the student 2; .*{written}") as error:
        backend(place, tmp_path)(*pruned, ASK)
    found = re.search(written, str(error.value))
    assert found is not None
    assert AutoConfig.from_pretrained(found[1]).num_hidden_layers == 2


def test_a_pruned_student_with_adapters_is_written_merged(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "deep", seed=3, layers=3)
    model, tokenizer = load_student(folder, keep=[0, 2])
    lora = LoRA(r=2, lora_alpha=4, target_modules="all-linear", use_rslora=False, seed=0)
    add_adapter(model, lora, "model.student.lora")
    with serve(Served(Weights(str(folder)))) as place, pytest.raises(ConfigError) as error:
        backend(place, tmp_path)(model, tokenizer, ASK)
    found = re.search(r"`vllm serve (\S+/tipx-student-\w+) ", str(error.value))
    assert found is not None
    again = AutoModelForCausalLM.from_pretrained(found[1])
    assert list(again.state_dict()) == [name for name, _ in merged_weights(model)]


def test_a_server_of_another_precision_is_refused(how: VLLMRollouts, state: Served, student: Student) -> None:
    state.dtype = "bfloat16"
    with pytest.raises(ConfigError, match=r"computes in bfloat16, the student in float32; .* rollout.dtype=bfloat16"):
        how(*student, ASK)
    assert pushes(state) == 0


def test_a_server_on_a_cpu_must_not_read_prompts_in_parts(how: VLLMRollouts, state: Served, student: Student) -> None:
    state.in_parts = True
    with pytest.raises(ConfigError, match=r"is on a CPU, .*; start it with --no-enable-chunked-prefill"):
        how(*student, ASK)


def test_a_server_that_comes_back_with_old_weights_gets_the_new_ones(
    how: VLLMRollouts, state: Served, student: Student, pair_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = how(*student, ASK)

    def restart() -> None:
        state.weights = Weights(str(pair_dir / "student"))

    state.fail = once(restart, "/v1/completions")
    same(how(*student, ASK), whole)
    assert pushes(state) == 2
    assert "had other weights than it was given: it was started again, or another run gave it its own" in caplog.text


@pytest.mark.parametrize("place", ["/v1/completions", "/collective_rpc", "/reset_prefix_cache"])
@pytest.mark.parametrize("how_it_fails", ["connection", "status"])
def test_a_server_that_goes_away_is_asked_again(
    place: str,
    how_it_fails: str,
    address: str,
    state: Served,
    student: Student,
    tmp_path: Path,
    pair_dir: Path,
) -> None:
    whole = backend(address, tmp_path)(*student, ASK)
    close_engines()

    def die() -> tuple[int, Any]:
        state.weights = Weights(str(pair_dir / "student"))
        if how_it_fails == "connection":
            raise ConnectionAbortedError
        return 500, {"error": "EngineCore encountered an issue"}

    state.fail = once(die, place)
    same(backend(address, tmp_path)(*student, ASK), whole)


def test_a_server_that_always_dies_ends_the_run(how: VLLMRollouts, state: Served, student: Student) -> None:
    state.fail = lambda place: (500, {"error": "no memory"}) if place == "/v1/completions" else None
    with pytest.raises(RunFailed, match=r"lost 5 times in one step.*500: .*no memory.*the same command continues"):
        how(*student, ASK)


def test_a_server_that_is_down_for_good_ends_the_run(
    address: str, state: Served, student: Student, tmp_path: Path
) -> None:
    made = backend(address, tmp_path, "rollout.wait_s=0.1")
    made(*student, ASK)
    state.fail = lambda _: (503, None)
    with pytest.raises(RunFailed, match=r"no answer for rollout.wait_s=0.1 s .*; start it again; the same command"):
        made(*student, ASK)


def test_a_server_that_starts_late_is_waited_for(
    how: VLLMRollouts, state: Served, student: Student, caplog: pytest.LogCaptureFixture
) -> None:
    state.fail = once(lambda: (503, None), "/health")
    how(*student, ASK)
    assert caplog.text.count("waiting up to 5 s for the vLLM server") == 1


def test_a_slow_server_is_said(address: str, state: Served, student: Student, tmp_path: Path) -> None:
    state.fail = lambda place: time.sleep(0.5) if place == "/v1/completions" else None
    with pytest.raises(RunFailed, match=r"no answer in rollout.timeout_s=0.2; raise it"):
        backend(address, tmp_path, "rollout.timeout_s=0.2")(*student, ASK)


def test_two_runs_do_not_share_a_server(how: VLLMRollouts, student: Student) -> None:
    how(*student, ASK)
    (first,) = ENGINES.values()
    ENGINES.clear()
    try:
        with pytest.raises(ConfigError, match=r"another run samples by .*; give each run a server of its own"):
            how(*student, ASK)
    finally:
        first.close()


def test_another_run_s_weights_are_noticed(
    how: VLLMRollouts, state: Served, student: Student, caplog: pytest.LogCaptureFixture
) -> None:
    """That of another machine, which no lock shows."""
    whole = how(*student, ASK)

    def intrude() -> None:
        with torch.no_grad():
            state.weights.model.get_input_embeddings().weight.mul_(1.5)  # type: ignore[operator]

    state.fail = once(intrude, "/v1/completions")
    same(how(*student, ASK), whole)
    assert "another run gave it its own" in caplog.text


def test_an_engine_that_never_says_the_same_twice_is_not_taken_for_another(
    how: VLLMRollouts, state: Served, student: Student, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, score, steps = how(*student, ASK), state.weights.score, itertools.cycle([0.01, -0.01])
    monkeypatch.setattr(Weights, "score", lambda _, ids: [p + step for p, step in zip(score(ids), steps, strict=False)])
    for _ in range(3):
        same(how(*student, ASK), whole)
    assert pushes(state) == 2  # once to see that it is so


def test_what_is_no_vllm_is_said(how: VLLMRollouts, state: Served, student: Student) -> None:
    state.fail = lambda place: (200, {"hello": 1}) if place == "/v1/models" else None
    with pytest.raises(ConfigError, match=r"answers, but not as vLLM does \(KeyError: 'data'\); give its address"):
        how(*student, ASK)
    close_engines()
    state.fail = lambda _: (404, {"detail": "Not Found"})
    with pytest.raises(ConfigError, match=r"GET /health was refused with 404"):
        how(*student, ASK)
    close_engines()
    with pytest.raises(ConfigError, match=r"is no address|cannot be asked"):
        replace(how, server="ftp://nowhere")(*student, ASK)


def test_no_message_holds_a_password(student: Student, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no answer") as error:
        backend("http://me:sesame@127.0.0.1:9", tmp_path, "rollout.wait_s=0.1")(*student, ASK)
    assert "sesame" not in str(error.value)


def test_a_response_that_may_be_too_long_is_refused_before_it_is_asked(
    address: str, state: Served, student: Student, tmp_path: Path
) -> None:
    state.weights.longest = 8
    with pytest.raises(ConfigError, match="of 3 tokens with up to 6 more is longer than the 8 that the engine reads"):
        backend(address, tmp_path)(*student, ASK)


def test_several_servers_share_the_prompts(state: Served, student: Student, pair_dir: Path, tmp_path: Path) -> None:
    other = Served(Weights(str(pair_dir / "student")))
    with serve(state) as one, serve(other) as two:
        whole = backend(one, tmp_path)(*student, ASK)
        close_engines()
        same(backend(f"[{one},{two}]", tmp_path)(*student, ASK), whole)
    asked = [[body["prompt"] for place, body in s.asked if place == "/v1/completions"] for s in (state, other)]
    assert [6] in asked[1]
    assert [7, 8, 3, 4] not in asked[1]


def test_only_its_own_files_are_removed(how: VLLMRollouts, student: Student, tmp_path: Path) -> None:
    how(*student, ASK)
    (folder,) = tmp_path.glob("tipx-weights-*/")
    (folder / "mine.txt").write_text("stays")
    with torch.no_grad():
        student[0].get_output_embeddings().weight.mul_(1.1)  # type: ignore[operator]
    how(*student, ASK)
    close_engines()
    assert [path.name for path in tmp_path.rglob("*")] == [folder.name, "mine.txt"]


def test_weights_that_did_not_arrive_stop_the_run(
    how: VLLMRollouts, state: Served, student: Student, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state.weights, "load", lambda _: None)
    with pytest.raises(RunFailed, match=r"nats from the trainer's, more than rollout.tolerance=0.002: .*rollout=hf"):
        how(*student, ASK)
    assert not any("seed" in body for place, body in state.asked if place == "/v1/completions")


REAL = """Qwen3ForCausalLM()(
  (model): Qwen3Model()(
    (embed_tokens): VocabParallelEmbedding(num_embeddings=67, num_embeddings_per_partition=128, embedding_dim=64, \
org_vocab_size=67, num_embeddings_padded=128, tp_size=2)
    (layers): ModuleList()(
      (0-1): 2 x Qwen3DecoderLayer()(
        (self_attn): Qwen3Attention()(
          (qkv_proj): QKVParallelLinear(in_features=64, output_features=128, bias=False, tp_size=1, gather_output=False)
          (o_proj): RowParallelLinear(in_features=32, output_features=64, bias=False, tp_size=2, reduce_results=True)
          (rotary_emb): RotaryEmbedding(head_size=32, rotary_dim=32, base=10000.0, is_neox_style=True)(
            (apply_rotary_emb): ApplyRotaryEmb(is_neox_style=True, enable_fp32_compute=False)
          )
        )
        (input_layernorm): RMSNorm(hidden_size=64, eps=1e-06)
      )
      (2): Qwen3DecoderLayer()(
        (mlp): Qwen2MLP()(
          (gate_up_proj): MergedColumnParallelLinear(in_features=64, output_features=128, bias=False, tp_size=2)
        )
      )
    )
  )
)"""


def test_what_vllm_prints_is_read() -> None:
    shapes = dict(read_shapes(REAL))
    assert shapes["model.embed_tokens"] == (67, 64)
    for layer in (0, 1):
        assert shapes[f"model.layers.{layer}.self_attn.qkv_proj"] == (128, 64)
        assert shapes[f"model.layers.{layer}.self_attn.o_proj"] == (64, 64)
        assert shapes[f"model.layers.{layer}.input_layernorm"] == (64,)
    assert shapes["model.layers.2.mlp.gate_up_proj"] == (256, 64)
    assert len(shapes) == 8


def test_the_student_s_own_shapes_fit(student: Student, state: Served) -> None:
    shapes = dict(list_shapes(student[0]))
    assert shapes["model.layers.0.mlp.gate_up_proj"] == (64, 16)
    assert shapes["model.layers.0.self_attn.qkv_proj"] == (32, 16)
    assert compare_shapes(state.weights.inspect(), shapes) == []
