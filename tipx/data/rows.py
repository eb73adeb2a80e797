"""The one conversion from a value of a table to what is asked and what is answered; nothing is guessed.

A question is text, a list of text parts, or a chat: messages of `role` and `content` (OpenAI) or `from` and `value`
(ShareGPT), whose content is text or a list of text parts.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pandas as pd

from tipx.types import Turn

ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
}
KEYS = (("role", "content"), ("from", "value"))
# A list of messages that a csv, or a careless str(), has made one text.
WRITTEN = re.compile(r"\s*\[\s*\{\s*(['\"])(?:role|content|from|value)\1\s*:")
# DAPO-Math as first published asks for another form of answer than a box.
DAPO_HEAD = re.compile(r"^Solve the following math problem step by step\. [^\n]*Answer: \$Answer[^\n]*\n\n")
DAPO_TAIL = re.compile(r"\s*Remember to put your answer on its own line after \"Answer:\"\.?\s*$")


class UnreadablePromptError(ValueError):
    """Why a value is neither text nor a chat, in a few words."""


@dataclass(frozen=True)
class ReadQuestion:
    """A question, the turns before it, and the assistant's turn after it if there is one."""

    question: str
    before: tuple[Turn, ...] = ()
    reply: str | None = None


def read_question(value: Any) -> ReadQuestion:
    """What a value asks; raises UnreadableError when it asks nothing."""
    if isinstance(value, str) or are_parts(value):
        return ReadQuestion(clean_question(text_of(value)))
    if not isinstance(value, list) or not value:
        raise UnreadablePromptError("it is neither")
    *turns, last = [read_turn(one) for one in value]
    reply = None
    if last.role == "assistant" and turns:
        reply, (*turns, last) = last.text, turns
    if last.role != "user":
        raise UnreadablePromptError(f"the user's turn should be the last, or the last but one, and {last.role}'s is")
    # An empty system turn says nothing; an empty user turn is a hole.
    before = [one for one in turns if one.text.strip() or one.role != "system"]
    if any(one.role == "user" and not one.text.strip() for one in before):
        raise UnreadablePromptError("an earlier turn of the user's is empty")
    return ReadQuestion(clean_question(last.text), tuple(before), reply)


def clean_question(text: str) -> str:
    """Without the instructions of DAPO-Math; raises UnreadableError for an empty one, and for a chat in one text."""
    text = DAPO_TAIL.sub("", DAPO_HEAD.sub("", text))
    if not text.strip():
        raise UnreadablePromptError("it is empty")
    if WRITTEN.match(text):
        raise UnreadablePromptError("chat messages are written as one text: save the table as jsonl or parquet")
    return text


def read_turn(message: Any) -> Turn:
    """One message of a chat; raises UnreadableError."""
    found = [pair for pair in KEYS if isinstance(message, dict) and pair[0] in message]
    if not found:
        raise UnreadablePromptError("a message has neither role and content nor from and value")
    role, content = (message.get(key) for key in found[0])
    if not isinstance(role, str) or role.casefold() not in ROLES:
        raise UnreadablePromptError(f"expected a turn of {', '.join(ROLES)}, got one of {role!r:.40}")
    if message.get("tool_calls"):
        raise UnreadablePromptError("a turn calls tools")
    if content is None:
        raise UnreadablePromptError(f"a turn of {role!r} has no {found[0][1]}")
    return Turn(ROLES[role.casefold()], text_of(content))


def are_parts(value: Any) -> bool:
    """Whether a value is content in parts: objects that name their type, and not whose words they are."""
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(part, dict) and "type" in part and not is_turn(part) for part in value)


def text_of(value: Any) -> str:
    """Text, or the text of parts, one behind the other; raises UnreadableError."""
    if isinstance(value, str):
        return check_text(value)
    if not isinstance(value, list) or not value:
        raise UnreadablePromptError(f"{value!r:.40} is no text")
    return "".join(part_text(part) for part in value)


def part_text(part: Any) -> str:
    """The text of one part of a message's content; raises UnreadableError."""
    if isinstance(part, str):
        return check_text(part)
    if isinstance(part, dict) and part.get("type") in ("text", "input_text", "output_text"):
        text = part.get("text")
        if isinstance(text, str):
            return check_text(text)
    kind = part.get("type") if isinstance(part, dict) else part
    raise UnreadablePromptError(f"a part of type {kind!r:.40} is no text")


def check_text(text: str) -> str:
    """The text; raises UnreadableError for one with half a surrogate pair, which no tokenizer takes."""
    if any("\ud800" <= sign <= "\udfff" for sign in text):
        raise UnreadablePromptError("it holds half of a surrogate pair")
    return text


def read_answer(value: Any) -> str | None:
    """An answer as text: a number as it is written, a reply's words; None for a missing one. Raises UnreadableError."""
    if value is None or value is pd.NA:
        return None
    if isinstance(value, bool | int):
        return str(value)
    if isinstance(value, float | Decimal):
        return None if math.isnan(value) else number_text(value)
    if isinstance(value, list) and len(value) == 1 and is_turn(value[0]):
        alone = read_turn(value[0])
        if alone.role != "assistant":
            raise UnreadablePromptError(f"expected the assistant's turn, got {alone.role}'s")
        return alone.text
    return text_of(value)


def number_text(value: float | Decimal) -> str:
    """5 for 5.0, 0.0000001 for 1e-07; raises UnreadableError for an infinite one."""
    if math.isinf(value):
        raise UnreadablePromptError("it is not finite")
    return str(int(value)) if value == int(value) else f"{Decimal(str(value)):f}"


def is_turn(value: Any) -> bool:
    """Whether a value looks like a message of a chat."""
    return isinstance(value, Mapping) and any(set(pair) <= value.keys() for pair in KEYS)


def with_input(one: ReadQuestion, given: Any, history: Any) -> ReadQuestion:
    """Alpaca's instruction, with what it is given and pairs of turns before both. Raises UnreadableError."""
    more = read_answer(given) or ""
    before: list[Turn] = []
    for pair in history or ():
        if not isinstance(pair, list) or len(pair) != 2:
            raise UnreadablePromptError(f"its history holds {pair!r:.40}, expected pairs of a question and an answer")
        before += [Turn("user", text_of(pair[0])), Turn("assistant", text_of(pair[1]))]
    text = f"{one.question}\n\n{more}" if more.strip() else one.question
    return ReadQuestion(text, (*before, *one.before), one.reply)


def with_system(one: ReadQuestion, system: Any) -> ReadQuestion:
    """With the turn of a column for the system's; raises UnreadableError where the chat has another one."""
    text = read_answer(system)
    if text is None or not text.strip():
        return one
    there = [turn.text for turn in one.before if turn.role == "system"]
    if there and there != [text]:
        raise UnreadablePromptError("the chat and the column of the system's turn say different things")
    before = one.before if there else (Turn("system", text), *one.before)
    return ReadQuestion(one.question, before, one.reply)
