"""How the embedded agents are built: on worked trajectories, by the case score of errands that they run themselves.

The student stops at the first check whose sampled score reaches a target; the teacher is the same model trained on.

Axes in names: B sequences, T positions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from random import Random

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tipx.agents.calls import Call, HermesCalls
from tipx.agents.chat import Chat
from tipx.agents.loop import AgentRollouts
from tipx.embedded.agent.card import TEXT
from tipx.embedded.agent.family import BENCHMARK_SIZE, ERRANDS, Errand, write_trajectory
from tipx.embedded.agent.tokenizer import build_tokenizer
from tipx.embedded.agent.world import ErrandTask
from tipx.embedded.build import EmbeddedPair
from tipx.embedded.card import Accuracy
from tipx.embedded.tuning import IGNORE, Batch, EarlyStop, Recipe, pad_rows
from tipx.noise import Noise
from tipx.rollout import RolloutRequest
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


def make_batches(tokenizer: PreTrainedTokenizerBase, seed: int, size: int) -> Iterator[Batch]:
    """Yield batches of ``size`` fresh trajectories for ever."""
    errands, rng = ERRANDS.training(seed), Random(f"tiny agent words {seed}")  # noqa: S311 - no secret is made
    chat = Chat(tokenizer, (int(tokenizer.eos_token_id),))
    while True:
        rows = [encode_trajectory(chat, errand, rng) for errand in islice(errands, size)]
        yield pad_rows(rows, int(tokenizer.pad_token_id))


def encode_trajectory(chat: Chat, errand: Errand, rng: Random) -> tuple[list[int], list[int]]:
    """Return the token ids of a perfect trajectory, and as many labels; advances ``rng``.

    The labels are the ids of the assistant's turns, each with its end-of-turn token, and IGNORE elsewhere: the prompt,
    what tools answer, and the marks that the chat template puts between turns are in the text and in no loss.
    """
    task = ErrandTask(errand)
    world, ids = task.start(), chat.start(task.messages, task.tools)
    labels = [IGNORE] * len(ids)
    for turn in write_trajectory(errand, rng):
        said = [*chat.encode(turn), chat.ends[0]]
        heard = [world.call(c.name, c.arguments) for c in HermesCalls().read(turn, task.tools) if isinstance(c, Call)]
        between = chat.between([{"role": "tool", "content": text} for text in heard]) if heard else []
        ids += said + between
        labels += said + [IGNORE] * len(between)
    return ids, labels


def measure(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, errands: Sequence[Errand], temperature: float
) -> Accuracy:
    """Return the mean case score of one trajectory an errand; temperature 0 is greedy."""
    agent = replace(AGENT, backend=replace(TURN, temperature=temperature))
    chat = Chat(tokenizer, (int(tokenizer.eos_token_id),))
    tasks = [ErrandTask(errand) for errand in errands]
    prompts = [chat.start(task.messages, task.tools) for task in tasks]
    request = RolloutRequest(prompts=prompts, rows=range(len(tasks)), noise=Noise(0))
    episodes = agent.play(model, chat, tasks, request)
    return Accuracy.of([episode.score == 1 for episode in episodes])


AGENTS = EmbeddedPair(
    problems=ERRANDS,
    benchmark_size=BENCHMARK_SIZE,
    recipes={
        "student": Recipe(
            hidden=64,
            layers=3,
            batch=32,
            steps=1600,
            decay=0.95,
            stop=EarlyStop(accuracy=0.35, every=25, problems=128),
            bounds=(0.25, 0.5),
        ),
        "teacher": Recipe(hidden=64, layers=3, batch=32, steps=500, decay=0.7, bounds=(0.9, 1.0)),
    },
    first_seed=1,
    continued=True,
    dtype=torch.bfloat16,
    card=TEXT,
    build_tokenizer=build_tokenizer,
    make_batches=make_batches,
    measure=measure,
)
