"""Tool calls in a model's text: what it asked for, and what it meant to ask for but wrote wrongly.

A model can write anything: megabytes, a thousand calls, JSON nested ten thousand deep. Text is searched from left to
right without going back, and nothing here raises.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Protocol, runtime_checkable

from tipx.spec import spec

OPEN, CLOSE = "<tool_call>", "</tool_call>"
THINK, THOUGHT = "<think>", "</think>"
TAG = re.compile(f"{OPEN}|{CLOSE}|{THINK}|{THOUGHT}")
DEEPEST = 32
"""Arguments nested deeper are refused: what reads them, and what writes them down, would have to be as careful."""


@dataclass(frozen=True)
class Call:
    """A tool's name and its arguments."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Malformed:
    """A call that could not be read, and why, in words for the model."""

    reason: str


Calls = list[Call | Malformed]
Tools = Sequence[Mapping[str, Any]]


@runtime_checkable
class CallFormat(Protocol):
    """How a family of models writes calls."""

    def read(self, text: str, tools: Tools) -> Calls:
        """The calls of a turn, in order; [] if it has none. What stands in its reasoning is none."""
        ...

    def write(self, calls: Sequence[Call]) -> str:
        """Calls as the models write them."""
        ...


@spec
class HermesCalls:
    """`<tool_call>{"name": ..., "arguments": {...}}</tool_call>`: Qwen2.5, Qwen3, Hermes."""

    def read(self, text: str, tools: Tools) -> Calls:
        return [hermes_call(block) for block in blocks(said(text))]

    def write(self, calls: Sequence[Call]) -> str:
        bodies = [json.dumps({"name": c.name, "arguments": c.arguments}, ensure_ascii=False) for c in calls]
        return "\n".join(f"{OPEN}\n{body}\n{CLOSE}" for body in bodies)


@spec
class XmlCalls:
    """`<tool_call><function=NAME><parameter=KEY>value</parameter></function></tool_call>`: Qwen3-Coder, Qwen3.5.

    Values are plain text; the tool's schema says which of them are JSON.
    """

    def read(self, text: str, tools: Tools) -> Calls:
        types = {tool["function"]["name"]: argument_types(tool["function"]) for tool in tools}
        return [xml_call(block, types) for block in blocks(said(text))]

    def write(self, calls: Sequence[Call]) -> str:
        return "\n".join(f"{OPEN}\n<function={c.name}>\n{parameters(c)}</function>\n{CLOSE}" for c in calls)


def said(text: str) -> str:
    """A turn without its reasoning, which ends at the first </think>, as vLLM's parser for Qwen3 has it.

    Where no <think> opens it, the prompt may have: all before its end is reasoning. Where none ends it, nothing after
    <think> is said. Tags inside a closed call are an argument's text; vLLM takes a </think> there for the end, and the
    call and those before it would be lost without a word. vLLM also drops what stands before a <think>, which is kept
    here, and knows whether a prompt opened reasoning that never ends, which a text alone does not tell.
    """
    inside, end = False, -1
    for tag in TAG.finditer(text):
        if tag[0] == OPEN and inside and end >= 0:
            break  # What looked like a call was a mention of the tag.
        if tag[0] in (OPEN, CLOSE):
            inside, end = tag[0] == OPEN, -1
        elif inside:
            end = tag.end() if tag[0] == THOUGHT and end < 0 else end
        elif tag[0] == THOUGHT:
            return text[tag.end() :]
        else:
            return text[: tag.start()] + text[tag.end() :].partition(THOUGHT)[2]
    return text[max(end, 0) :]


def blocks(text: str) -> Iterator[str]:
    """What stands between tags; the last may lack its closing one, as servers allow."""
    at = text.find(OPEN)
    while at >= 0:
        start = at + len(OPEN)
        end = text.find(CLOSE, start)
        yield text[start:] if end < 0 else text[start:end]
        at = -1 if end < 0 else text.find(OPEN, end + len(CLOSE))


def hermes_call(block: str) -> Call | Malformed:
    value = parsed(block)
    if isinstance(value, Malformed):
        return value
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return Malformed('expected a JSON object with "name" (text) and "arguments" (an object)')
    return checked(value["name"], value.get("arguments", {}))


def checked(name: str, arguments: Any) -> Call | Malformed:
    """A call, if its arguments are an object, and no deeper than allowed."""
    if not isinstance(arguments, dict):
        return Malformed(f"the arguments of {name!r:.80} are no JSON object")
    if deeper(arguments, DEEPEST):
        return Malformed(f"the arguments of {name!r:.80} are nested deeper than {DEEPEST}")
    return Call(name, arguments)


def parsed(text: str) -> Any:
    """The JSON value of a text, or Malformed. NaN and Infinity are no JSON, and 1e999 would be read as the latter."""
    try:
        return json.loads(text, parse_constant=refuse, parse_float=finite)
    except (ValueError, RecursionError) as error:
        return Malformed(f"not valid JSON ({str(error)[:120]})")


def refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def finite(digits: str) -> float:
    value = float(digits)
    if not isfinite(value):
        raise ValueError(f"{digits:.40} is too large a number")
    return value


def deeper(value: Any, limit: int) -> bool:
    """Whether containers are nested more than `limit` deep."""
    level = [value]
    for _ in range(limit + 1):
        inner = [v for v in level if isinstance(v, dict | list)]
        if not inner:
            return False
        level = [v for one in inner for v in (one.values() if isinstance(one, dict) else one)]
    return True


def argument_types(function: Mapping[str, Any]) -> dict[str, str]:
    """The declared JSON type of each parameter; "" where the schema does not say one."""
    declared = function.get("parameters", {}).get("properties", {})
    return {name: t if isinstance(t := about.get("type"), str) else "" for name, about in declared.items()}


def xml_call(block: str, types: Mapping[str, Mapping[str, str]]) -> Call | Malformed:
    head, opened, rest = block.partition("<function=")
    name, closed, body = rest.partition(">")
    if not opened or not closed or head.strip():
        return Malformed("expected <function=NAME> after <tool_call>")
    body, ended, _ = body.partition("</function>")
    if not ended:
        return Malformed(f"<function={name:.80}> is not closed")
    return xml_arguments(name.strip(), body, types.get(name.strip(), {}))


def xml_arguments(name: str, body: str, types: Mapping[str, str]) -> Call | Malformed:
    arguments = {}
    for part in body.split("<parameter=")[1:]:
        key, closed, value = part.partition(">")
        value, ended, _ = value.partition("</parameter>")
        if not closed or not ended:
            return Malformed(f"<parameter={key.strip():.80}> of {name!r:.80} is not closed")
        arguments[key.strip()] = xml_value(value.removeprefix("\n").removesuffix("\n"), types.get(key.strip(), ""))
    return checked(name, arguments)


def xml_value(text: str, kind: str) -> Any:
    """JSON where the schema asks for something else than text; what is not valid JSON stays text."""
    if kind == "string":
        return text
    value = parsed(text)
    return text if isinstance(value, Malformed) else value


def parameters(call: Call) -> str:
    """Arguments as tags, a line each."""
    texts = {k: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for k, v in call.arguments.items()}
    return "".join(f"<parameter={key}>\n{text}\n</parameter>\n" for key, text in texts.items())
