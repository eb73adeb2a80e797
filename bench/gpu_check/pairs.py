"""Random Qwen3 pairs, and what a step on them needs besides."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel, Qwen3Config

from tipx.config import build, load
from tipx.embedded.arithmetic.tokenizer import build_tokenizer
from tipx.memory.architectures import TABLE
from tipx.models.pair import LoadedPair
from tipx.rollout.collect import from_lists
from tipx.train.experiment import Experiment
from tipx.types import Rollout

WIDE = {"teacher": "Qwen/Qwen3-8B", "student": "Qwen/Qwen3-4B"}
SEED = {"teacher": 0, "student": 1}
SPREAD = 0.1
"""Standard deviation of the small models' weights: large enough that their logits differ."""


def wide_config(role: str, layers: int) -> PretrainedConfig:
    """Of the real models' widths, with so many layers."""
    sizes: dict[str, Any] = yaml.safe_load(TABLE.read_text())[WIDE[role]]
    return AutoConfig.for_model(**sizes | {"num_hidden_layers": layers})


def small_config(role: str, layers: int, vocab: int = 8192) -> PretrainedConfig:
    """The teacher is wider than the student, and has a head of its own."""
    hidden = 96 if role == "teacher" else 64
    return Qwen3Config(
        vocab_size=vocab,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=4096,
        tie_word_embeddings=role == "student",
        initializer_range=SPREAD,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )


def make_model(config: PretrainedConfig, dtype: torch.dtype, device: torch.device, seed: int) -> PreTrainedModel:
    """With random weights, drawn on the device."""
    torch.manual_seed(seed)
    with device:
        model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
    evaluated: PreTrainedModel = model.eval()
    return evaluated


@dataclass(frozen=True)
class Shape:
    """Sequences of a step, all of the same lengths, but for prompts that are one token apart if `ragged`."""

    sequences: int
    prompt: int
    response: int
    micro_batch: int

    @property
    def tokens(self) -> int:
        return self.sequences * self.response

    def make_rollout(self, vocab: int, device: torch.device) -> Rollout:
        """Random tokens. Prompts are one token apart where several share a micro-batch, so that there is padding."""
        g = torch.Generator().manual_seed(0)
        prompts = torch.randint(2, vocab, (self.sequences, self.prompt), generator=g).tolist()
        prompts = [ids[: len(ids) - (self.micro_batch > 1 and at % 2)] for at, ids in enumerate(prompts)]
        responses = torch.randint(2, vocab, (self.sequences, self.response), generator=g).tolist()
        return from_lists(prompts, responses, ["length"] * self.sequences, device)


def build_experiment(shape: Shape, device: torch.device, *words: str) -> Experiment:
    """A run's configuration for steps of this shape, in bf16 unless `words` say otherwise, without logs."""
    exp: Experiment = build(
        load(
            [
                f"loop.prompts={shape.sequences}",
                "loop.rollouts=1",
                "loop.precision=bf16",
                "loop.sample_every=0",
                "loop.monitor_every=0",
                f"loop.max_prompt_tokens={shape.prompt}",
                f"rollout.max_new_tokens={shape.response}",
                f"hardware.device={'cpu' if device.type == 'cpu' else 'auto'}",
                f"hardware.micro_batch={shape.micro_batch}",
                "optim.warmup_steps=0",
                "optim.lr=1e-6",
                *words,
            ]
        )
    )
    return exp


def make_pair(configs: dict[str, PretrainedConfig], dtypes: dict[str, torch.dtype], device: torch.device) -> LoadedPair:
    """Both models with random weights; the tokenizer is one that nobody asks."""
    models = {role: make_model(configs[role], dtypes[role], device, SEED[role]) for role in configs}
    models["teacher"].requires_grad_(requires_grad=False)
    rows = min(int(config.vocab_size) for config in configs.values())
    return LoadedPair(models["teacher"], models["student"], build_tokenizer(), rows)


def save_configs(configs: dict[str, PretrainedConfig], folder: Path) -> list[str]:
    """Overrides that name these models as a run's, without weights."""
    for role, config in configs.items():
        config.save_pretrained(folder / role)
    return [f"model.{role}.path={folder / role}" for role in configs]
