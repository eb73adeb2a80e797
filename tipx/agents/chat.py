"""The chat template, in token ids: how a conversation starts, and what stands between two turns of the model.

What the model sampled is never encoded again. After its end-of-turn token come the template's own marks, the tool
results or the user's message, and the marks that open its next turn: these are cut out of the template's rendering of a
small conversation of ours, since templates rewrite earlier turns (Qwen3's drops their reasoning).

A tool's answer that spells a special token ("<|im_end|>") is encoded as that token, as servers do that encode the
rendered text: what a tool says can look like the end of its message, and like turns after it. None of it is trained
on, and it ends no turn of the model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedTokenizerBase

from tipx.agents.task import Message
from tipx.errors import ModelError
from tipx.text.chat_template import render_chat
from tipx.text.encoding import add_prefix_ids, encode_bare

MARK = "turnmark"
"""Stands where the model's own words would."""
TOOL = {"type": "function", "function": {"name": MARK, "arguments": {}}}
PROBES: tuple[list[Message], ...] = (
    [{"role": "tool", "name": "look", "content": "one\n"}],
    [{"role": "tool", "name": "look", "content": " two"}, {"role": "tool", "name": "look", "content": '{"a": 3}'}],
    [{"role": "user", "content": "Go on."}],
)
REMEDY = "take an Instruct model whose template has tools, or give the tokenizer another chat_template"


@dataclass(frozen=True)
class Chat:
    """A tokenizer's chat template with `extra` variables (enable_thinking), and the token ids that end a turn."""

    tokenizer: PreTrainedTokenizerBase
    ends: tuple[int, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)

    def start(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> list[int]:
        """Ids up to where the model's first turn begins."""
        return add_prefix_ids(self.tokenizer, self.encode(self.render(messages, tools)))

    def between(self, messages: Sequence[Message]) -> list[int]:
        """Ids from after the model's end-of-turn token to where its next turn begins, with `messages` in between."""
        return self.encode(self.split(messages)[1])

    def text(self, ids: Sequence[int]) -> str:
        """What ids say, special tokens too."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def said(self, ids: Sequence[int]) -> str:
        """The words of a turn: without its end-of-turn token."""
        return self.text(ids[:-1] if ids and ids[-1] in self.ends else ids)

    def check(self, tools: Sequence[Mapping[str, Any]]) -> None:
        """Raises ModelError for a template that these ids would not be those of."""
        opening = self.render([{"role": "user", "content": "?"}], tools)
        for tool in tools:
            if tool["function"]["name"] not in opening:
                raise ModelError(f"model: the chat template does not show the model its tools; {REMEDY}")
        for messages in PROBES:
            before, after = self.split(messages)
            if self.encode(before + after) != self.encode(before) + self.encode(after):
                raise ModelError(
                    "model: the tokenizer splits the text after an end-of-turn token in another way when it stands "
                    "alone, so that turns cannot be put together; take a tokenizer whose end-of-turn token is special"
                )
            for message in messages:
                if message["content"].strip() not in after:
                    raise ModelError(f"model: the chat template leaves out {message['role']} messages; {REMEDY}")

    def split(self, messages: Sequence[Message]) -> tuple[str, str]:
        """A rendering of a small conversation with `messages` after its one turn, cut behind that turn's end."""
        calls = {"tool_calls": [TOOL]} if messages[0]["role"] == "tool" else {}
        turn = {"role": "assistant", "content": "" if calls else MARK, **calls}
        whole = self.render([{"role": "user", "content": "?"}, turn, *map(encodable, messages)], None)
        marked = whole.find(MARK)
        found = [(at, token) for token in self.end_tokens if (at := whole.find(token, max(marked, 0))) >= 0]
        if marked < 0 or not found:
            raise ModelError(
                f"model: the chat template ends no turn of the model with {' or '.join(self.end_tokens)}; set "
                "eos_token_id in generation_config.json to the token that does"
            )
        at, token = min(found)
        return whole[: at + len(token)], whole[at + len(token) :]

    @property
    def end_tokens(self) -> list[str]:
        """Those of the ends that a template can write as one mark."""
        marks: dict[str, int] = self.tokenizer.get_added_vocab()
        return [mark for mark, token in marks.items() if token in self.ends]

    def render(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None) -> str:
        """The conversation as text; raises ModelError where the template is missing or refuses it."""
        if self.tokenizer.chat_template is None:
            raise ModelError(f"model: an agent needs a chat template, and the tokenizer has none; {REMEDY}")
        return render_chat(self.tokenizer, messages, tools, self.extra, REMEDY)

    def encode(self, text: str) -> list[int]:
        return encode_bare(self.tokenizer, text)


def encodable(message: Message) -> Message:
    """Without halves of surrogate pairs, which JSON may hold and no tokenizer takes."""
    return {**message, "content": str(message["content"]).encode("utf-8", "replace").decode("utf-8")}
