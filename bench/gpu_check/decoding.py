"""The decoding loop on the device against the CPU: greedy token ids.

In fp32 ids are the same. In bf16 rounding may prefer another token where two are nearly as likely. So each token is
read again on the CPU in fp32, after the same text, and must be nearly the likeliest there.
"""

from unittest.mock import patch

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from bench.gpu_check.pairs import make_model, small_config
from bench.gpu_check.results import Work
from tipx.noise import Noise
from tipx.rollout import RolloutRequest
from tipx.rollout.cache import Architecture
from tipx.rollout.hf import HFRollouts
from tipx.types import Rollout

TABLE = "Greedy decoding against the CPU in fp32"
PROMPTS, LENGTH, TOKENS = 6, 9, 24
REGRET_BOUND = 0.1
"""Of a token in bf16: how much less likely it is than the likeliest, nats, mean over tokens."""
VOCAB = 2048
BY_GENERATE = patch.object(Architecture, "selectable", new=False)
"""Inside, transformers' `generate` samples, with tipx's choice of each token."""


def make_tokenizer(vocab: int) -> PreTrainedTokenizerBase:
    """Knows so many ids; 0 is padding, and 1 ends a response."""
    words = Tokenizer(WordLevel({str(i): i for i in range(vocab)}, unk_token=str(vocab - 1)))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words)
    tokenizer.pad_token, tokenizer.eos_token = "0", "1"
    return tokenizer


def make_prompts(vocab: int, rows: int, length: int) -> list[list[int]]:
    """Random ids, the lengths one apart, so that there is padding."""
    ids_RL = torch.randint(2, vocab, (rows, length), generator=torch.Generator().manual_seed(0))
    return [ids[: length - at % 2] for at, ids in enumerate(ids_RL.tolist())]


def compare(work: Work) -> None:
    """fp32 and bf16, by tipx's loop and by `generate`."""
    tokenizer, prompts = make_tokenizer(VOCAB), make_prompts(VOCAB, PROMPTS, LENGTH)
    backend = HFRollouts(temperature=0, top_p=1.0, top_k=0, max_new_tokens=TOKENS, batch_size=PROMPTS)
    config = small_config("student", 2, VOCAB)
    model = make_model(config, torch.float32, torch.device("cpu"), seed=1)
    request = RolloutRequest(prompts=prompts, rows=range(PROMPTS), noise=Noise(0))
    right = backend(model, tokenizer, request)
    for dtype in (torch.float32, torch.bfloat16):
        there = make_model(config, dtype, work.device, seed=1)
        there.load_state_dict(model.state_dict())
        rollout = backend(there, tokenizer, request)
        with BY_GENERATE:
            generated = backend(there, tokenizer, request)
        others, regret = share_of_others(rollout, right), mean_regret(model, rollout)
        name = str(dtype).removeprefix("torch.")
        of_generate = share_of_others(rollout, generated)
        work.row(TABLE, type=name, others=others, regret=regret, others_of_generate=of_generate)
        if dtype is torch.float32:
            work.check("decoding in float32: share of rows with other ids than the CPU's", others, 0.0)
            work.check("decoding in float32: share of rows with other ids than generate's", of_generate, 0.0)
        work.check(f"decoding in {name}: mean regret in nats", regret, REGRET_BOUND)


def share_of_others(rollout: Rollout, right: Rollout) -> float:
    """Share of the responses that are not the same to the last id."""
    pairs = zip(texts(rollout), texts(right), strict=True)
    return sum(ids != expected for ids, expected in pairs) / len(right)


def texts(rollout: Rollout) -> list[list[int]]:
    return [ids[:n].tolist() for ids, n in zip(rollout.response_BT.cpu(), rollout.lengths, strict=True)]


@torch.no_grad()
def mean_regret(model: PreTrainedModel, rollout: Rollout) -> float:
    """Log-probability of the likeliest token less that of the token taken, mean over tokens, nats, by this model."""
    gaps = []
    for prompt, ids in zip(rollout.prompt_ids, texts(rollout), strict=True):
        logits_LV = model(torch.tensor([[*prompt, *ids]], device=model.device)).logits[0, len(prompt) - 1 : -1].float()
        taken_L1 = torch.tensor(ids, device=model.device)[:, None]
        gaps.append(logits_LV.amax(-1) - logits_LV.gather(-1, taken_L1)[:, 0])
    return torch.cat(gaps).mean().item()
