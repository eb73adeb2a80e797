"""Turns by vLLM, by its stand-in: weights once a rollout, ids in and out, log-probabilities of sampled tokens alone."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.agents.toy import CountTo
from tests.rollout.stand_in import LLM, in_its_place
from tipx.agents.chat import Chat
from tipx.agents.loop import AgentRollouts
from tipx.config import build, load
from tipx.noise import Noise
from tipx.rollout import RolloutRequest
from tipx.rollout.hf import eos_ids
from tipx.types import response_ends

Make = Callable[..., AgentRollouts]


def test_turns_share_one_awake_engine(agent: Make, chat: Chat, pair_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = build(load(["rollout=vllm", "rollout.max_new_tokens=24"])).rollout
    model = AutoModelForCausalLM.from_pretrained(pair_dir / "student").eval()
    own = Chat(chat.tokenizer, eos_ids(model, chat.tokenizer))
    tasks = [CountTo(goal, asks=2) for goal in range(1, 5)]
    prompts = [own.start(task.messages, task.tools) for task in tasks]
    request = RolloutRequest(prompts=prompts, rows=range(4), noise=Noise(0))
    with in_its_place(monkeypatch):
        made = agent(backend=backend, max_new_tokens=40).rollout(model, own, tasks, request)
    (llm,) = LLM.made
    assert max(numbers["turns"] for numbers in made.numbers) > 1
    assert llm.weights.reloads == 1
    assert llm.asleep == {"weights", "kv_cache"}
    assert all(n <= 40 for n in made.lengths)
    assert response_ends(made.valid_BT) != made.lengths
    expected = []
    with torch.no_grad():
        for b, prompt in enumerate(made.prompt_ids):
            ids = torch.tensor([[*prompt, *made.response_BT[b, : response_ends(made.valid_BT)[b]].tolist()]])
            places = made.valid_BT[b].nonzero()[:, 0]
            log_p_NV = model(input_ids=ids).logits[0, len(prompt) - 1 + places].log_softmax(-1)
            expected.append(log_p_NV.gather(-1, made.response_BT[b, places][:, None])[:, 0])
    assert made.logprobs_N is not None
    torch.testing.assert_close(made.logprobs_N, torch.cat(expected), rtol=1e-4, atol=1e-4)


def test_the_engine_s_own_limit_ends_an_episode(
    agent: Make, chat: Chat, pair_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = AutoModelForCausalLM.from_pretrained(pair_dir / "student").eval()
    own = Chat(chat.tokenizer, eos_ids(model, chat.tokenizer))
    tasks = [CountTo(goal, asks=9) for goal in range(1, 5)]
    prompts = [own.start(task.messages, task.tools) for task in tasks]
    request = RolloutRequest(prompts=prompts, rows=range(4), noise=Noise(0))
    most = max(map(len, prompts)) + 50
    backend = build(load(["rollout=vllm", "rollout.max_new_tokens=24", f"rollout.max_model_len={most}"])).rollout
    with in_its_place(monkeypatch):
        episodes = agent(backend=backend).play(model, own, tasks, request)
    (llm,) = LLM.made
    assert llm.kwargs["max_model_len"] == most
    assert "context" in {episode.stop for episode in episodes}
    assert all(episode.length <= most for episode in episodes)
    assert agent(backend=backend, context=most - 1).longest(model) == most - 1
