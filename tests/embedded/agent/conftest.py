"""The errands' tokenizer and its chat."""

import pytest
from transformers import PreTrainedTokenizerBase

from tipx.agents.chat import Chat
from tipx.embedded.agent.tokenizer import build_tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    return build_tokenizer()


@pytest.fixture(scope="session")
def chat(tokenizer: PreTrainedTokenizerBase) -> Chat:
    return Chat(tokenizer, (tokenizer.eos_token_id,))
