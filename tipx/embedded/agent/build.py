"""Make the embedded agents from a seed: supervised fine-tuning on worked trajectories, as `arithmetic.build` does.

The student stops at the first check whose sampled score reaches a target; the teacher is the same model trained on.
What tools and users say is in the text and in no loss. Weights are saved in bfloat16, and measured as saved.

Axes in names: B sequences, T positions.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from random import Random

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tipx.agents.calls import Call, HermesCalls
from tipx.agents.chat import Chat
from tipx.agents.loop import AgentRollouts
from tipx.embedded.agent.card import model_card
from tipx.embedded.agent.family import Errand, held_out, training, validation, worked
from tipx.embedded.agent.tokenizer import build_tokenizer
from tipx.embedded.agent.world import ErrandTask
from tipx.embedded.arithmetic.card import Built, Score
from tipx.embedded.arithmetic.tuning import (
    IGNORE,
    Log,
    Recipe,
    Stop,
    check,
    fine_tune,
    finish,
    new_model,
    padded,
    reproducible,
    start,
    versions,
)
from tipx.noise import Noise
from tipx.rollout.hf import HFRollouts

# As in conf/model/tiny_agent.yaml.
TURN = HFRollouts(temperature=1.0, top_p=1.0, top_k=0, max_new_tokens=40, batch_size=256)
AGENT = AgentRollouts(
    max_turns=6,
    max_new_tokens=120,
    context=None,
    max_parallel_calls=None,
    tool_response_max_chars=None,
    malformed="tell",
    backend=TURN,
    calls=HermesCalls(),
)


@dataclass(frozen=True, kw_only=True)
class Solving(Stop):
    """Stop by the case score of errands."""

    def score(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Score:
        return measure(model, tokenizer, validation(self.problems), sample=True)


RECIPES: Mapping[str, Recipe] = {
    "student": Recipe(
        hidden=64,
        layers=3,
        batch=32,
        steps=1600,
        decay=0.95,
        stop=Solving(accuracy=0.35, every=25, problems=128),
        bounds=(0.25, 0.5),
    ),
    "teacher": Recipe(hidden=64, layers=3, batch=32, steps=500, decay=0.7, bounds=(0.9, 1.0)),
}
"""In the order of building: the second goes on from the first."""


def build(
    out_dir: Path,
    seed: int = 0,
    log: Log = print,
    recipes: Mapping[str, Recipe] = RECIPES,
    benchmark_size: int = 256,
) -> dict[str, Built]:
    """Train one model per recipe, save each under `out_dir/<name>` and describe them in `out_dir/README.md`.

    Each goes on from the one before it, with an optimizer and errands of its own. The folder is empty or new, and the
    card is written last: where it lies, the pair is whole. Raises RunFailed, before saving it, for a model outside the
    bounds of its recipe.
    """
    start(out_dir)
    tokenizer, built, before = build_tokenizer(), dict[str, Built](), None
    for number, (name, recipe) in enumerate(recipes.items(), start=1):
        with reproducible(1000 * seed + number):
            model = new_model(recipe, tokenizer)
            if before is not None:
                model.load_state_dict(before)
            drawn = batches(tokenizer, 1000 * seed + number, recipe.batch)
            built[name] = make(name, model, tokenizer, recipe, drawn, log, benchmark_size)
        before = model.state_dict()
        save(model, tokenizer, out_dir / name)
    finish(out_dir, model_card(built, seed, versions()))
    return built


def make(
    name: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    recipe: Recipe,
    drawn: Iterable[tuple[Tensor, Tensor]],
    log: Log,
    benchmark_size: int,
) -> Built:
    """Train `model`, round it and measure it; raises RunFailed where it is outside the bounds of its recipe."""
    steps = fine_tune(model, tokenizer, recipe, drawn, lambda line: log(f"{name}: {line}"))
    round_weights(model)
    greedy, sampled = (measure(model, tokenizer, held_out(benchmark_size), sample=how) for how in (False, True))
    made = Built(str(recipe), model.num_parameters(), steps, greedy, sampled)
    check(name, recipe, made, log)
    return made


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """In bfloat16."""
    deepcopy(model).bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@torch.no_grad()
def round_weights(model: PreTrainedModel) -> None:
    """To what bfloat16 can hold; they stay float32, as do the angles of positions, which are no weights."""
    for weight in model.parameters():
        weight.copy_(weight.bfloat16())


def batches(tokenizer: PreTrainedTokenizerBase, seed: int, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """ids_BT and labels_BT of fresh trajectories, for ever."""
    errands, rng = training(seed), Random(f"tiny agent words {seed}")  # noqa: S311 - no secret is made
    chat = Chat(tokenizer, (int(tokenizer.eos_token_id),))
    while True:
        yield padded([trajectory(chat, one, rng) for one in islice(errands, size)], int(tokenizer.pad_token_id))


def trajectory(chat: Chat, errand: Errand, rng: Random) -> tuple[list[int], list[int]]:
    """Token ids of a perfect trajectory, and the same as labels, with IGNORE for what the model does not say."""
    task = ErrandTask(errand)
    world, ids = task.start(), chat.start(task.messages, task.tools)
    labels = [IGNORE] * len(ids)
    for turn in worked(errand, rng):
        said = [*chat.encode(turn), chat.ends[0]]
        heard = [world.call(c.name, c.arguments) for c in HermesCalls().read(turn, task.tools) if isinstance(c, Call)]
        between = chat.between([{"role": "tool", "content": text} for text in heard]) if heard else []
        ids += said + between
        labels += said + [IGNORE] * len(between)
    return ids, labels


def measure(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, errands: Sequence[Errand], *, sample: bool
) -> Score:
    """The case score of one trajectory an errand: greedy, or sampled at temperature 1."""
    agent = replace(AGENT, backend=replace(TURN, temperature=float(sample)))
    chat = Chat(tokenizer, (int(tokenizer.eos_token_id),))
    tasks = [ErrandTask(errand) for errand in errands]
    prompts = [(task, chat.start(task.messages, task.tools)) for task in tasks]
    episodes = agent.play(model.eval(), chat, prompts, range(len(tasks)), Noise(0))
    return Score.of([episode.score == 1 for episode in episodes])
