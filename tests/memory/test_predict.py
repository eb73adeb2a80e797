"""What a prediction must not get wrong: depth, tiles, ranks, and what selection can save."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoModelForCausalLM, DynamicCache

from tests.memory.worlds import Small
from tipx.config import build, load
from tipx.errors import ConfigError, ModelError
from tipx.memory.architectures import TABLE, load_architecture
from tipx.memory.fakes import grow_cache, replace_kernels
from tipx.memory.layout import Layout, step_sizes
from tipx.memory.predict import PARTS, PHASES, predict_memory
from tipx.memory.steps import AimedVocab
from tipx.memory.tracker import Tracker
from tipx.models.pair import ModelSource
from tipx.rollout.cache import RoomyLayer
from tipx.vocab import Vocab
from tipx.vocab.vocab_pass import Tiles

pytestmark = pytest.mark.long(20)

# Millions of parameters, from the models' own pages (tied heads counted once).
PARAMETERS = {
    "Qwen/Qwen3-1.7B": 1720.6,
    "Qwen/Qwen3-4B": 4022.5,
    "Qwen/Qwen3-8B": 8190.7,
    "Qwen/Qwen3-14B": 14768.3,
    "Qwen/Qwen3-32B": 32762.1,
    "Qwen/Qwen2.5-1.5B-Instruct": 1543.7,
    "Qwen/Qwen2.5-14B-Instruct": 14770.0,
    "meta-llama/Llama-3.1-8B-Instruct": 8030.3,
    "meta-llama/Llama-3.3-70B-Instruct": 70553.7,
}


def source(path: str) -> ModelSource:
    return ModelSource(path=path, revision=None, dtype="bfloat16", attn=None, keep_layers=None)


def total(sections: dict[str, dict[str, int]]) -> dict[str, int]:
    return {name: sum(parts.values()) for name, parts in sections.items() if name not in ("", "setup")}


@pytest.mark.parametrize("path", PARAMETERS)
def test_the_table_gives_models_of_the_published_size(path: str) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(load_architecture("student", source(path)))
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(PARAMETERS[path], abs=0.06)


def test_every_preset_has_its_sizes_in_the_package() -> None:
    presets = ("qwen3", "llama", "qwen2_5", "qwen3_32b", "qwen3_agent_14b", "qwen3_agent_32b")
    pairs = [load([f"model={name}"]).model for name in presets]
    paths = {part.path for pair in pairs for part in (pair.teacher, pair.student)}
    assert paths == PARAMETERS.keys() == yaml.safe_load(TABLE.read_text()).keys()


@pytest.mark.parametrize("small", [Small(), Small(kind="llama", precision="bf16", checkpointing=True, tied=False)])
def test_six_layers_are_on_the_line_through_two_and_four(small: Small) -> None:
    case = small.case()
    straight, traced = total(case.whole()), total(case.trace(case.teacher, case.student))
    assert straight.keys() == traced.keys()
    for name, size in traced.items():
        assert straight[name] == pytest.approx(size, rel=0.001), name


def test_two_tiles_have_the_peak_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    # 96 rows: 4 MiB hold 5,376 columns of a compiled tile; 64,000 take twelve. 8 MiB keep 16 rows, which are too few.
    case = Small(tokens=48, layers=1, vocab=64_000, overrides=("vocab.budget_mib=8",)).case()
    few = total(case.whole())

    def split_all(engine: Vocab, rows: int, size: int, device: torch.device, *, keep: bool) -> Tiles:
        return replace_kernels(Vocab.split_tiles(engine, rows, size, device, keep=keep))

    monkeypatch.setattr(AimedVocab, "split_tiles", split_all)
    tiles = case.exp.vocab.split_tiles(96, 64_000, torch.device("cpu"), keep=True)
    assert (len(tiles.columns), tiles.keeps) == (12, False)
    assert total(case.whole()) == few


def test_a_predicted_cache_has_room_for_the_next_token() -> None:
    # Else each token would be predicted to copy the whole cache, which is done once for many.
    with FakeTensorMode(), Tracker() as tracker:
        cache, token = DynamicCache(), torch.empty(1, 2, 1, 4)
        cache.layers = [RoomyLayer()]
        cache.update(token, token, 0)
        grow_cache(cache, 400, tracker)
        keys = cache.layers[0].keys
        assert keys is not None
        cache.update(token, token, 0)
        longer = cache.layers[0].keys
        assert longer is not None
        assert (keys.shape[2], longer.shape[2]) == (400, 401)
        assert longer.untyped_storage()._cdata == keys.untyped_storage()._cdata


def test_selection_saves_memory_only_where_logits_are_made_first() -> None:
    peaks = {
        how: [sum(Small(how=how, tokens=256, layers=2, ratio=r).case().whole()["loss"].values()) for r in (1.0, 0.2)]
        for how in ("materialise", "tiled")
    }
    assert peaks["materialise"][1] < 0.7 * peaks["materialise"][0]
    assert peaks["tiled"][1] == pytest.approx(peaks["tiled"][0], rel=0.1)
    assert peaks["tiled"][0] < 0.7 * peaks["materialise"][1]


FSDP = "hardware.strategy=fsdp"


@pytest.mark.parametrize("small", [Small(tied=False, overrides=(FSDP,)), Small(checkpointing=True, overrides=(FSDP,))])
def test_eight_layers_are_on_the_line_through_three_and_five(small: Small) -> None:
    case = replace(small, layers=8, sequences=4).case(processes=2)
    straight, traced = total(case.whole()), total(case.trace(case.teacher, case.student))
    assert straight.keys() == traced.keys()
    for name, size in traced.items():
        assert straight[name] == pytest.approx(size, rel=0.002), name


def test_processes_share_states_and_not_activations() -> None:
    at_rest = {}
    for name, small, processes in ("one", Small(), 1), ("ddp", Small(), 4), ("fsdp", Small(overrides=(FSDP,)), 4):
        case = small.case(processes=processes)
        at_rest[name] = case.laid_out("optimizer", case.whole()["optimizer"])
    for part in ("student", "gradients", "optimizer"):
        assert at_rest["fsdp"][part] == pytest.approx(at_rest["one"][part] / 4, rel=0.01), part
    # Plain data parallelism divides nothing, and averages gradients in a second copy of them.
    assert at_rest["ddp"]["gradients"] == 2 * at_rest["one"]["gradients"]
    assert at_rest["ddp"]["optimizer"] == at_rest["one"]["optimizer"]


def test_shards_that_are_offloaded_are_on_the_cpu_of_a_machine_with_a_gpu() -> None:
    words = [FSDP, "loop.processes=4", "hardware.cpu_offload=true", "model.teacher.offload=cpu"]
    there, away = (predict_memory(build(load(chosen)), Layout()) for chosen in (words[:2], words))
    assert there.cpu["rest"] == 0
    # The shards of 0.60 M weights, and of 0.37 M with gradients and two moments, all in fp32, on a process of four.
    assert away.cpu["rest"] == pytest.approx((0.60e6 + 4 * 0.367e6), rel=0.02)
    assert away.phases["optimizer"]["optimizer"] == away.phases["optimizer"]["gradients"] == 0
    on_cpu = predict_memory(build(load(words)), Layout(device="cpu"))
    assert on_cpu.cpu["rest"] == 0
    assert on_cpu.phases["optimizer"]["optimizer"] > 0


def test_layers_that_stay_whole_take_more() -> None:
    words = [FSDP, "loop.processes=4"]
    freed, kept = (
        predict_memory(build(load([*words, f"hardware.reshard_after_forward={how}"])), Layout())
        for how in ("true", "false")
    )
    assert kept.phases["train"]["weights"] > 1.2 * freed.phases["train"]["weights"]


@pytest.mark.slow
def test_an_engine_takes_its_share_of_the_device_while_it_samples() -> None:
    exp = build(load(["model=qwen3", "rollout=vllm", "rollout.gpu_memory_utilization=0.5"]))
    prediction = predict_memory(exp, Layout(memory=80 * 2**30))
    assert prediction.phases["rollout"]["engine"] == 40 * 2**30
    assert prediction.phases["train"]["engine"] == 0
    # Where the memory is not known: the weights alone, 4.02 G in bfloat16.
    assert predict_memory(exp, Layout()).phases["rollout"]["engine"] == pytest.approx(2 * 4.0225e9, rel=1e-3)
    awake = replace(exp, rollout=replace(exp.rollout, sleep=False))
    assert predict_memory(awake, Layout(memory=80 * 2**30)).phases["train"]["engine"] == 40 * 2**30
    served = replace(exp, rollout=replace(exp.rollout, mode="server"))
    assert predict_memory(served, Layout(memory=80 * 2**30)).phases["rollout"]["engine"] == 0


def test_an_offloaded_teacher_is_there_to_score_and_leaves_its_head_to_the_loss() -> None:
    case = Small(layers=4, offload="cpu").case()
    sections = case.whole()
    held = {
        name: case.laid_out(name, sections[name])["teacher"] for name in ("decode", "statistics", "loss", "optimizer")
    }
    assert held == {
        "decode": 0,
        "statistics": sections["statistics"]["teacher"],
        "loss": (8192 + 64) * 96 * 4,
        "optimizer": 0,
    }


def test_scoring_keeps_the_teachers_states_of_the_whole_step() -> None:
    case = Small(sequences=8, micro=2).case()
    # Three more micro-batches of 2 x 24 tokens: 96 fp32 numbers of hidden state, and 4 of what the loss can reuse.
    assert case.laid_out("loss", {})["kept"] == 3 * 48 * (96 + 4) * 4
    assert case.laid_out("decode", {})["kept"] == 0


def test_sizes_come_from_the_experiment_and_the_layout() -> None:
    exp = build(load(["model=qwen3", "selector=entropy_sampling", "ratio=0.2"]))
    sized = step_sizes(exp, Layout(processes=8))
    assert (sized.prompt, sized.tokens, sized.rollout_batch) == (2048, 8192, 16)
    assert (sized.micro_batch, sized.micro_batches, sized.kept) == (1, 16, 1638)
    assert sized.checkpointing
    assert not step_sizes(build(load([])), Layout()).checkpointing
    assert step_sizes(build(load(["selector=full", "ratio=0.2"])), Layout()).kept == 16 * 72


@pytest.mark.parametrize(
    ("words", "processes", "line"),
    [
        ([], 3, "--processes 3: loop.prompts .* = 64 sequences do not divide"),
        (["loop.processes=3"], None, "loop.processes=3: loop.prompts .* = 64 sequences do not divide"),
        ([FSDP, "hardware.fsdp_size=3"], 8, "hardware.fsdp_size=3: 8 processes do not divide into groups of 3"),
        ([FSDP], None, "hardware.strategy=fsdp shares the weights out over processes, and there is one"),
    ],
)
def test_processes_that_do_not_divide_are_one_line(words: list[str], processes: int | None, line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        step_sizes(build(load(words)), Layout(processes=processes))


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("org/unknown", "model.student.path: the sizes of 'org/unknown' are not known here.*hf download.*Qwen3-4B"),
        ("/no/model", "no such folder: '/no/model'"),
        ("{tmp}", "there is no config.json in it"),
    ],
)
def test_an_unknown_model_is_one_line(path: str, line: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=line):
        load_architecture("student", source(path.format(tmp=tmp_path)))


def test_the_embedded_pair_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    prediction = predict_memory(build(load([])), Layout(device="cpu"))
    assert prediction.phases.keys() == PHASES.keys()
    assert all(parts.keys() == PARTS.keys() for parts in prediction.phases.values())
    # 0.60 M and 0.37 M fp32 parameters; the student's two moments.
    assert prediction.phases["teacher"]["weights"] == pytest.approx(0.97e6 * 4, rel=0.02)
    assert prediction.phases["rollout"]["optimizer"] == pytest.approx(2 * 0.367e6 * 4, rel=0.02)
    assert prediction.peak == max(sum(parts.values()) for parts in prediction.phases.values())
