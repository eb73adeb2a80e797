"""The set-ups of arXiv 2604.14084, number by number (its table of set-ups, as in the project's method notes)."""

from functools import cache

import pytest

from tipx.config import Tree, build, load, options, resolve
from tipx.config.trees import leaf_keys, value_at
from tipx.divergences import ReverseKL
from tipx.runs.identity import identity
from tipx.selectors.everything import Everything
from tipx.selectors.q3 import Q3

# preset -> teacher, student, peak learning rate
PAPER = {
    "qwen3": ("Qwen/Qwen3-8B", "Qwen/Qwen3-4B", 1e-6),
    "llama": ("meta-llama/Llama-3.3-70B-Instruct", "meta-llama/Llama-3.1-8B-Instruct", 3e-7),
    "qwen2_5": ("Qwen/Qwen2.5-14B-Instruct", "Qwen/Qwen2.5-1.5B-Instruct", 1e-6),
    "qwen3_agent_14b": ("Qwen/Qwen3-14B", "Qwen/Qwen3-1.7B", 1e-6),
    "qwen3_agent_32b": ("Qwen/Qwen3-32B", "Qwen/Qwen3-1.7B", 1e-6),
}

AGENTS = tuple(name for name in PAPER if "agent" in name)
DEEPPLANNING = ("deepplanning_14b", "deepplanning_32b")
EPOCHS, TRAINING_TASKS = 15, 2 * 96


def without_selection(tree: Tree) -> Tree:
    return {key: value for key, value in tree.items() if key not in ("selector", "ratio")}


def test_every_pair_of_the_paper_and_the_embedded_one_is_a_preset() -> None:
    assert set(options("experiment")) == {*PAPER, *DEEPPLANNING, "qwen3_32b", "tiny", "tiny_agent"}
    assert set(options("model")) == {*PAPER, "qwen3_32b", "tiny", "tiny_agent", "base", "smollm2"}


@pytest.mark.parametrize("name", ["llama", "qwen3_32b", "qwen3_agent_32b", "deepplanning_32b"])
def test_large_pairs_are_for_a_node_and_the_run_is_the_same(name: str) -> None:
    cfg = load([f"experiment={name}"])
    exp = build(cfg)
    assert (exp.hardware.strategy, exp.hardware.fsdp_size, exp.loop.processes) == ("fsdp", "auto", 8)
    assert (exp.hardware.micro_batch, exp.hardware.gradient_checkpointing) == (1, True)
    on_one = load([f"experiment={name}", "hardware=paper", "loop.processes=null"])
    assert build(on_one).hardware.strategy == "ddp"
    assert identity(resolve(cfg)) == identity(resolve(on_one))


@pytest.mark.parametrize("name", [name for name in PAPER if name not in AGENTS])
def test_preset_has_the_papers_values(name: str) -> None:
    exp = build(load([f"experiment={name}"]))
    teacher, student, lr = PAPER[name]
    assert (exp.model.teacher.path, exp.model.student.path) == (teacher, student)
    assert exp.optim.lr == lr
    assert (exp.optim.schedule, exp.optim.clip) == ("cosine", 1.0)
    assert (exp.loop.prompts, exp.loop.rollouts, exp.loop.sequences) == (8, 16, 128)
    assert (exp.loop.max_prompt_tokens, exp.rollout.max_new_tokens) == (2048, 8192)
    assert (exp.rollout.temperature, exp.rollout.top_p, exp.rollout.top_k) == (1.0, 1.0, 0)
    assert (exp.eval.n, exp.eval.sampling.temperature, exp.eval.sampling.max_new_tokens) == (16, 1.0, 8192)
    assert "DAPO-Math-17k" in exp.data.hub[0]
    assert list(exp.benchmark.parts) == ["math500", "aime24", "aime25"]
    assert exp.divergence == ReverseKL()
    assert exp.loop.denominator == "kept"
    assert exp.ratio == 1.0
    assert exp.selector.pick == Everything()
    assert exp.model.template.thinking is None


@pytest.mark.parametrize("name", AGENTS)
def test_agents_have_the_papers_values(name: str) -> None:
    exp = build(load([f"experiment={name}"]))
    teacher, student, lr = PAPER[name]
    assert (exp.model.teacher.path, exp.model.student.path, exp.optim.lr) == (teacher, student, lr)
    assert exp.model.template.thinking is True
    assert (exp.loop.prompts, exp.loop.rollouts) == (8, 16)
    assert exp.loop.steps * exp.loop.prompts == EPOCHS * TRAINING_TASKS
    assert (exp.data.slices, exp.data.split) == (("travel_en", "travel_zh"), "train")
    assert (exp.benchmark.slices, exp.benchmark.split) == (exp.data.slices, "test")
    # The same draw, or tests would be trained on.
    assert (exp.benchmark.split_seed, exp.benchmark.test_share) == (exp.data.split_seed, exp.data.test_share)
    assert (exp.benchmark.headline, exp.benchmark.name, exp.eval.n) == (
        "hard_constraint_rate",
        "deepplanning_travel",
        16,
    )
    # A prompt of 6,000 tokens and all that may be said fit in what Qwen3 reads.
    assert exp.loop.max_prompt_tokens > 6000
    assert exp.loop.max_prompt_tokens + exp.rollout.max_new_tokens <= exp.rollout.context == 32768
    assert exp.eval.sampling.context == exp.rollout.context
    assert exp.rollout.tool_response_max_chars is exp.rollout.max_parallel_calls is None
    assert exp.divergence == ReverseKL()


@pytest.mark.parametrize("size", ["14b", "32b"])
def test_deepplanning_is_another_name(size: str) -> None:
    assert resolve(load([f"experiment=deepplanning_{size}"])) == resolve(load([f"experiment=qwen3_agent_{size}"]))


@pytest.mark.parametrize("name", [*PAPER, "tiny", "tiny_agent"])
def test_model_brings_all_of_its_recipe_and_experiment_adds_only_what_is_selected(name: str) -> None:
    pair, preset = resolve(load([f"model={name}"])), resolve(load([f"experiment={name}"]))
    assert without_selection(pair) == without_selection(preset)
    assert preset == resolve(load([f"model={name}", "selector=full", "ratio=1.0"]))


def test_another_row_of_the_paper_is_its_preset_with_another_selector() -> None:
    exp = build(load(["experiment=qwen3", "selector=q3_only", "ratio=0.1"]))
    assert isinstance(exp.selector.score, Q3)
    assert (exp.selector.score.divergence, exp.selector.pick.ratio) == ("forward_kl", 0.1)
    assert exp.model.student.path == "Qwen/Qwen3-4B"


@cache
def composed(*overrides: str) -> Tree:
    return resolve(load(overrides))


@pytest.mark.parametrize("choice", ["loop=standard", "optim=adamw", "data=arithmetic", "rollout=hf", "hardware=auto"])
@pytest.mark.parametrize("preset", ["model=qwen3", "experiment=qwen3"])
def test_what_the_user_chooses_wins_over_the_recipe(preset: str, choice: str) -> None:
    group = choice.split("=", maxsplit=1)[0]
    plain, mixed = composed(choice), composed(preset, choice)
    pairs_own = ("optim.lr", "rollout.max_new_tokens")  # they belong to the pair, and stay
    keys = [key for key in leaf_keys(plain, "") if key.startswith(f"{group}.") and key not in pairs_own]
    assert len(keys) > 2
    assert [value_at(mixed, key) for key in keys] == [value_at(plain, key) for key in keys]
