"""A family of tasks of our own: count up to a number with a tool, say so, then say it again when asked.

The tokenizer has a token for each byte and a template in ChatML that does what Qwen3's does: it shows tools, puts
results into a user's turn, and rewrites earlier turns of the model.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from tipx.agents.task import Message
from tipx.spec import Count, spec
from tipx.types import Prompt

TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Count up.",
        "parameters": {"type": "object", "properties": {"by": {"type": "integer"}}, "required": ["by"]},
    },
}
TEMPLATE = """
{%- set ns = namespace(last=0) %}
{%- for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
{%- if tools %}{{ '<|im_start|>system\n' }}{% for tool in tools %}{{ (tool | tojson) + '\n' }}{% endfor -%}
{{ '<|im_end|>\n' }}{% endif %}
{%- for m in messages %}
{%- if m.role in ('user', 'system') %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}
{%- elif m.role == 'assistant' %}
{%- set words = m.content.split('</think>')[-1].strip() %}
{%- if loop.last and loop.index0 > ns.last %}{% set words = '<think>\n\n</think>\n\n' + words %}{% endif %}
{{- '<|im_start|>assistant\n' + words }}
{%- for call in m.tool_calls or [] %}
{{- '\n<tool_call>\n{"name": "' + call.function.name + '", "arguments": ' + (call.function.arguments | tojson) }}
{{- '}\n</tool_call>' }}{% endfor %}
{{- '<|im_end|>\n' }}
{%- elif m.role == 'tool' %}
{%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{ '<|im_start|>user' }}{% endif %}
{{- '\n<tool_response>\n' + m.content + '\n</tool_response>' }}
{%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{ '<|im_end|>\n' }}{% endif %}
{%- endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}
{%- if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"""


@dataclass
class Counter:
    """Starts at 0; after the first turn without calls the user asks again."""

    goal: int
    asks: int
    value: int = 0
    asked: int = 0
    heard: list[Any] = field(default_factory=list)

    def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        self.heard.append((name, dict(arguments)))
        by = arguments.get("by")
        if name != "add" or not isinstance(by, int):
            return json.dumps({"error": f"no tool {name!r} with {dict(arguments)!r:.100}"})
        self.value += by
        return json.dumps({"value": self.value if abs(self.value) < 10**6 else "much"})

    def follow_up(self) -> str | None:
        self.asked += 1
        return f"Sure? ({self.asked})" if self.asked <= self.asks else None

    def score(self, text: str, *, complete: bool) -> dict[str, float]:
        # The one that counts is not the first.
        return {"said": float(str(self.goal) in text), "reached": float(self.value == self.goal), "whole": complete}


@dataclass(frozen=True)
class CountTo:
    """Task number `goal`."""

    goal: int
    asks: int = 1
    headline: str = "reached"
    started: list[Counter] = field(default_factory=list)

    @property
    def id(self) -> str:
        return f"count/{self.goal}"

    @property
    def slice(self) -> str:
        return "even" if self.goal % 2 == 0 else "odd"

    @property
    def messages(self) -> list[Message]:
        return [{"role": "user", "content": f"To {self.goal}!"}]

    @property
    def tools(self) -> list[dict[str, Any]]:
        return [TOOL]

    def start(self) -> Counter:
        self.started.append(Counter(self.goal, self.asks))
        return self.started[-1]

    def gold(self) -> list[str | list[tuple[str, dict[str, Any]]]]:
        return [[("add", {"by": self.goal - 1}), ("add", {"by": 1})], f"At {self.goal}.", f"Yes, {self.goal}."]


def prompts(size: int, asks: int = 1) -> list[Prompt]:
    tasks = [CountTo(goal, asks) for goal in range(1, size + 1)]
    return [Prompt(task.id, task.messages[-1]["content"], task=task) for task in tasks]


@spec
class CountPrompts:
    """Tasks to train on."""

    size: Count
    asks: int

    def load(self) -> list[Prompt]:
        return prompts(self.size, self.asks)


@spec
class CountBenchmark:
    """The same, as a benchmark."""

    name: str
    size: Count
    asks: int

    def load(self, path: str | None) -> list[Prompt]:
        return prompts(self.size, self.asks)

    def source(self, path: str | None) -> str:
        return "here"

    def aggregate(self, scores: Sequence[tuple[str, Mapping[str, float]]]) -> dict[str, float]:
        """The worse of both slices, and how many trajectories it is of."""
        found = [[s["reached"] for where, s in scores if where == which] for which in ("odd", "even")]
        return {"worst_slice": min(sum(values) / len(values) for values in found), "of": len(scores)}


SPECIAL = ("<|im_end|>", "<|endoftext|>", "<|im_start|>")


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes, and the marks of ChatML; <tool_call> and <think> are words of one token, as Qwen3's."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    words = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
    tokenizer.add_tokens([AddedToken(word, special=False, normalized=False) for word in words])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def build_model(seed: int, hidden: int = 16, layers: int = 1, positions: int = 2048) -> Qwen3ForCausalLM:
    """A random Qwen3 that ends a turn after some ten tokens: a twelfth of its tokens do."""
    tokenizer = build_tokenizer()
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=hidden // 2,
        initializer_range=0.2,
        max_position_embeddings=positions,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    model = Qwen3ForCausalLM(config).eval()
    ends = [int(tokenizer.eos_token_id), int(tokenizer.pad_token_id), *range(200, 220)]
    model.generation_config = GenerationConfig(eos_token_id=ends, pad_token_id=tokenizer.pad_token_id)
    return model


def save(folder: Path, seed: int, hidden: int = 16, layers: int = 1) -> Path:
    build_model(seed, hidden, layers).save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return folder
