"""A tiny random agent with a chat template, and backends for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase, Qwen3ForCausalLM

from tests.agents.stub import agents, play, stub  # noqa: F401 - fixtures
from tests.agents.toy import build_model, build_tokenizer, save
from tests.selectors.conftest import pytest_configure  # noqa: F401 - no cache, the same examples each time
from tipx.agents.calls import HermesCalls
from tipx.agents.chat import Chat
from tipx.agents.loop import AgentRollouts
from tipx.agents.script import Script
from tipx.rollout.hf import HFRollouts, eos_ids


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    return build_tokenizer()


@pytest.fixture(scope="session")
def model() -> Qwen3ForCausalLM:
    return build_model(0)


@pytest.fixture(scope="session")
def chat(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerBase) -> Chat:
    return Chat(tokenizer, eos_ids(model, tokenizer))


@pytest.fixture(scope="session")
def agent() -> Callable[..., AgentRollouts]:
    """An agent without limits that matter, sampled by transformers, with some settings changed."""
    hf = HFRollouts(temperature=1.0, top_p=1.0, top_k=0, max_new_tokens=24, batch_size=4)
    plain: dict[str, Any] = {
        "max_turns": 8,
        "max_new_tokens": 1000,
        "context": None,
        "max_parallel_calls": None,
        "tool_response_max_chars": None,
        "malformed": "tell",
        "backend": hf,
        "calls": HermesCalls(),
    }
    return lambda **changed: AgentRollouts(**(plain | changed))


@pytest.fixture(scope="session")
def scripted(agent: Callable[..., AgentRollouts]) -> Callable[..., AgentRollouts]:
    """An agent that says these turns, one list a row; none is the task's gold."""

    def make(*turns: tuple[str, ...], **changed: Any) -> AgentRollouts:
        return agent(backend=Script(turns=turns or None, max_new_tokens=10**7, batch_size=4), **changed)

    return make


@pytest.fixture(scope="session")
def pair_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random `teacher` and `student` that chat."""
    folder = tmp_path_factory.mktemp("agents")
    save(folder / "teacher", seed=1, hidden=24, layers=2)
    save(folder / "student", seed=2)
    return folder
