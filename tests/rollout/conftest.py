"""A tiny random model whose distributions are far from flat, and the embedded task's tokenizer."""

from collections.abc import Callable

import pytest
import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase, Qwen3Config, Qwen3ForCausalLM

from tipx.embedded.arithmetic.tokenizer import build_tokenizer
from tipx.rollout.hf import HFRollouts

VOCAB = 60


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    return build_tokenizer()


@pytest.fixture
def same_pad() -> PreTrainedTokenizerBase:
    """A tokenizer that pads with its end-of-sequence token, as many do."""
    tokenizer = build_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


@pytest.fixture
def model() -> Qwen3ForCausalLM:
    """60 tokens, of which 1 and 10..15 end a response: about one token in eight."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCAB,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        initializer_range=0.2,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
        tie_word_embeddings=False,
    )
    model = Qwen3ForCausalLM(config).eval()
    model.generation_config = GenerationConfig(eos_token_id=[1, *range(10, 16)], pad_token_id=0)
    return model


@pytest.fixture(scope="session")
def hf() -> Callable[..., HFRollouts]:
    """The backend at temperature 1, with some settings changed."""
    plain = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_new_tokens": 12, "batch_size": 4}
    return lambda **changed: HFRollouts(**(plain | changed))
