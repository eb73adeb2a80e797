"""Small pairs of the three architectures, and experiments on them."""

from dataclasses import dataclass
from typing import Any

from transformers import LlamaConfig, PretrainedConfig, Qwen2Config, Qwen3Config

from tipx.config import build, load
from tipx.memory.layout import Implementation, Layout, step_sizes
from tipx.memory.predict import MemoryCase
from tipx.train.experiment import Experiment

KINDS: dict[str, Any] = {"qwen3": Qwen3Config, "llama": LlamaConfig, "qwen2": Qwen2Config}


def config(kind: str, layers: int, hidden: int, *, tied: bool, vocab: int = 8192) -> PretrainedConfig:
    extra = {"head_dim": 32} if kind == "qwen3" else {}
    made: PretrainedConfig = KINDS[kind](
        vocab_size=vocab,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=tied,
        **extra,
    )
    return made


@dataclass(frozen=True, kw_only=True)
class Small:
    """A pair and a step: sequences, how many at once, and their lengths. The teacher has a layer more."""

    kind: str = "qwen3"
    layers: int = 6
    tied: bool = True
    sequences: int = 4
    micro: int = 2
    prompt: int = 64
    tokens: int = 24
    ratio: float = 0.5
    precision: str = "no"
    how: Implementation = "tiled"
    checkpointing: bool = False
    offload: str = "none"
    vocab: int = 8192
    overrides: tuple[str, ...] = ()

    @property
    def teacher(self) -> PretrainedConfig:
        return config(self.kind, self.layers + 1, 96, tied=False, vocab=self.vocab + 64)

    @property
    def student(self) -> PretrainedConfig:
        return config(self.kind, self.layers, 64, tied=self.tied, vocab=self.vocab)

    @property
    def exp(self) -> Experiment:
        words = [
            "selector=q3_only",
            f"ratio={self.ratio}",
            f"loop.prompts={self.sequences}",
            f"loop.precision={self.precision}",
            f"hardware.micro_batch={self.micro}",
            "hardware.device=cpu",
            f"hardware.gradient_checkpointing={self.checkpointing}",
            f"model.teacher.offload={self.offload}",
            f"rollout.max_new_tokens={self.tokens}",
            f"rollout.batch_size={self.sequences}",
            *self.overrides,
        ]
        made: Experiment = build(load(words))
        return made

    def case(self, **layout: Any) -> MemoryCase:
        settings: dict[str, Any] = {"device": "cpu"} | layout
        laid = Layout(prompt_tokens=self.prompt, **settings)
        return MemoryCase(self.exp, laid, step_sizes(self.exp, laid), self.how, self.teacher, self.student)
