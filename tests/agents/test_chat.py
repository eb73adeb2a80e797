"""The ids between two turns are those that the tokenizer's own rendering has there."""

from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from tests.agents.toy import TEMPLATE, TOOL, build_tokenizer
from tipx.agents.calls import Call, HermesCalls
from tipx.agents.chat import PROBES, Chat
from tipx.errors import ModelError

WORD: dict[str, Any] = {"role": "user", "content": "And?"}
RESULT: dict[str, Any] = {"role": "tool", "content": '{"value": 3}'}


def test_what_follows_a_turn(chat: Chat) -> None:
    assert chat.text(chat.between([WORD])) == "\n<|im_start|>user\nAnd?<|im_end|>\n<|im_start|>assistant\n"
    assert chat.text(chat.between([RESULT, RESULT])) == (
        '\n<|im_start|>user\n<tool_response>\n{"value": 3}\n</tool_response>\n<tool_response>\n{"value": 3}\n'
        "</tool_response><|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("messages", PROBES)
def test_a_conversation_put_together_is_the_template_s_own(chat: Chat, messages: list[Any]) -> None:
    # Where the template does not rewrite the turn: one that has no reasoning and is not the last.
    begin, turn = [{"role": "user", "content": "To 3!"}], {"role": "assistant", "content": "Well."}
    whole = chat.start([*begin, turn, *messages], [TOOL])
    said = [*chat.encode("Well."), chat.tokenizer.eos_token_id]
    assert [*chat.start(begin, [TOOL]), *said, *chat.between(messages)] == whole


LEAD = "{{- '\n<tool_call>"
# As in Qwen3's own: the first call of a turn without words begins its line.
TIGHT = TEMPLATE.replace(LEAD, "{{- ('\n' if words or not loop.first else '') + '<tool_call>")


@pytest.mark.parametrize(("template", "lead"), [(TEMPLATE, "\n"), (TIGHT, "")], ids=["always", "as Qwen3"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_calls_without_words_put_together_are_the_template_s_own(
    chat: Chat, count: int, template: str, lead: str
) -> None:
    assert TIGHT != TEMPLATE
    own = Chat(with_template(template), chat.ends)
    own.check([TOOL])
    calls = [{"type": "function", "function": {"name": "add", "arguments": {"by": by}}} for by in range(count)]
    begin, turn = [{"role": "user", "content": "To 3!"}], {"role": "assistant", "content": "", "tool_calls": calls}
    whole = own.start([*begin, turn, *[RESULT] * count], [TOOL])
    said = own.encode(lead + HermesCalls().write([Call("add", {"by": by}) for by in range(count)]))
    end = own.tokenizer.eos_token_id
    assert [*own.start(begin, [TOOL]), *said, end, *own.between([RESULT] * count)] == whole


def test_without_thinking_each_turn_opens_as_the_template_says(chat: Chat) -> None:
    quiet = Chat(chat.tokenizer, chat.ends, {"enable_thinking": False})
    assert quiet.text(quiet.between([WORD])).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert quiet.text(quiet.start([WORD], [])).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")


def test_halves_of_characters_are_no_crash(chat: Chat) -> None:
    assert "?" in chat.text(chat.between([{"role": "tool", "content": "\ud800"}]))


def test_a_turn_without_its_end(chat: Chat) -> None:
    ids = chat.encode("Yes <think>")
    assert chat.said([*ids, chat.ends[0]]) == chat.said(ids) == "Yes <think>"
    assert chat.said([]) == ""


def with_template(template: str | None) -> PreTrainedTokenizerBase:
    tokenizer = build_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "an agent needs a chat template"),
        (TEMPLATE.replace("if tools", "if false"), "does not show the model its tools"),
        (TEMPLATE.replace("'tool'", "'nobody'"), "leaves out tool messages"),
        (TEMPLATE.replace("'<|im_end|>\\n'", "'\\n'").replace("<|im_end|>", ""), "ends no turn of the model with"),
    ],
)
def test_a_template_that_does_not_fit_is_refused(template: str | None, message: str) -> None:
    tokenizer = with_template(template)
    with pytest.raises(ModelError, match=message):
        Chat(tokenizer, (int(tokenizer.eos_token_id),)).check([TOOL])


STRICT = "{% for m in messages if m.role == 'system' %}{{ raise_exception('No\n system role') }}{% endfor %}" + TEMPLATE


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (STRICT, r"refuses messages of system, user \(No system role\); take an Instruct model"),
        ("{% if %}", r"refuses messages of system, user \(.*\); take an Instruct model"),
        ({"rag": TEMPLATE}, r"refuses messages of system, user \(.*default.*\); take an Instruct model"),
        (None, "an agent needs a chat template, and the tokenizer has none; take an Instruct model"),
    ],
)
def test_a_template_that_refuses_a_conversation_is_told_in_one_line(chat: Chat, template: Any, message: str) -> None:
    own = Chat(with_template(template), chat.ends)
    with pytest.raises(ModelError, match=message) as caught:
        own.start([{"role": "system", "content": "Count."}, WORD, WORD], [TOOL])
    assert "\n" not in str(caught.value)


def test_ids_that_cannot_be_put_together_are_refused(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    chat.check([TOOL])
    encode = Chat.encode
    # As a sentencepiece tokenizer does, which begins each text with a mark of its own.
    monkeypatch.setattr(Chat, "encode", lambda self, text: [5, *encode(self, text)])
    with pytest.raises(ModelError, match="splits the text after an end-of-turn token in another way"):
        chat.check([TOOL])
