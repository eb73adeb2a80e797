"""Calls are read as they were written, and whatever a model may write is read without an error."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.agents.toy import TOOL
from tipx.agents.calls import DEEPEST, Call, CallFormat, HermesCalls, Malformed, XmlCalls

FORMATS = [HermesCalls(), XmlCalls()]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAME = st.from_regex(r"[a-z_]{1,12}", fullmatch=True)


@given(calls=st.lists(st.builds(Call, NAME, st.dictionaries(NAME, JSON, max_size=3)), max_size=4))
def test_hermes_reads_what_it_writes(calls: list[Call]) -> None:
    # The tag itself cannot stand in a value, as it cannot in a real model's.
    text = HermesCalls().write(calls)
    if text.count("<tool_call>") == len(calls) and text.count("</tool_call>") == len(calls):
        assert HermesCalls().read(f"Let me see.\n{text}", []) == calls


@given(by=st.integers(), words=st.text(st.characters(exclude_characters="<", exclude_categories=["Cs"])))
def test_xml_reads_what_it_writes_by_the_types_of_the_schema(by: int, words: str) -> None:
    tool = {
        "function": {"name": "f", "parameters": {"properties": {"by": {"type": "integer"}, "s": {"type": "string"}}}}
    }
    calls = [Call("f", {"by": by, "s": words}), Call("f", {"s": str(by)})]
    assert XmlCalls().read(XmlCalls().write(calls), [tool]) == calls


def test_xml_values() -> None:
    def read(value: str, kind: str) -> Any:
        tool = {"function": {"name": "f", "parameters": {"properties": {"x": {"type": kind}}}}}
        (call,) = XmlCalls().read(
            f"<tool_call>\n<function=f>\n<parameter=x>\n{value}\n</parameter>\n</function>\n</tool_call>", [tool]
        )
        assert isinstance(call, Call)
        return call.arguments["x"]

    assert read("7", "integer") == 7
    assert read("7", "string") == "7"
    assert read('["a", "b"]', "array") == ["a", "b"]
    assert read("seven", "integer") == "seven"  # the tool says what is wrong with it
    assert read("two\nlines\n", "string") == "two\nlines\n"
    assert read("NaN", "number") == "NaN"
    assert read("1e999", "number") == "1e999"


def test_reasoning_holds_no_calls() -> None:
    call = HermesCalls().write([Call("add", {"by": 1})])
    assert HermesCalls().read(f"<think>\nMaybe {call}?\n</think>\n\nNo.", [TOOL]) == []
    assert HermesCalls().read(f"Maybe {call}?\n</think>\n{call}", [TOOL]) == [Call("add", {"by": 1})]


ONE, TWO = Call("add", {"by": 1}), Call("add", {"by": 2})


@pytest.mark.parametrize("format_", FORMATS, ids=lambda f: type(f).__name__)
@pytest.mark.parametrize("tag", ["</think>", "<think>", "<think> no </think>"])
def test_an_argument_may_hold_the_tags_of_reasoning(format_: CallFormat, tag: str) -> None:
    calls = [ONE, Call("note", {"text": f"a{tag}b"}), TWO]
    tools = [TOOL, {"function": {"name": "note", "parameters": {"properties": {"text": {"type": "string"}}}}}]
    for before in ("", "<think>Hm.</think>", "Hm.</think>"):
        assert format_.read(before + format_.write(calls), tools) == calls


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("<think>{1}", []),
        ("{1}<think>{2}", [ONE]),
        ("{1}<think>Or {1}?</think>{2}", [ONE, TWO]),
        ("<think>Maybe {1}?</think>{2}</think>", [TWO]),
        ("Maybe {1}?</think>{2}</think>{1}", [TWO, ONE]),
        # Reasoning may name the tag without calling.
        ("<think>By <tool_call>.</think>{1}", [ONE]),
        ("By <tool_call>, </tool_call>.</think>{1}", [ONE]),
        ("By <tool_call>.</think>{1}", [ONE]),
        ("By <tool_call>.</think>None.", []),
        ("By <tool_call>.</think>", []),
    ],
)
def test_where_reasoning_ends(text: str, calls: list[Call]) -> None:
    one, two = HermesCalls().write([ONE]), HermesCalls().write([TWO])
    assert HermesCalls().read(text.replace("{1}", one).replace("{2}", two), [TOOL]) == calls


def test_a_last_call_may_lack_its_closing_tag() -> None:
    assert HermesCalls().read('<tool_call>{"name": "add"}', []) == [Call("add", {})]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "not valid JSON"),
        ("{'name': 'add'}", "not valid JSON"),
        ('{"name": "add", "arguments": {"by": NaN}}', "NaN is no JSON number"),
        ('{"name": "add", "arguments": {"by": 1e999}}', "1e999 is too large a number"),
        ('{"name": "add", "arguments": {"by": -9' + "0" * 400 + ".5}}", "is too large a number"),
        ("[1]", "expected a JSON object"),
        ('{"name": 7}', "expected a JSON object"),
        ('{"arguments": {}}', "expected a JSON object"),
        ('{"name": "add", "arguments": "{}"}', "are no JSON object"),
        ('{"name": "add", "arguments": {"a": ' + "[" * 40 + "]" * 40 + "}}", "nested deeper than 32"),
        ('{"name": "add", "arguments": ' + "[" * 100_000, "not valid JSON"),
        ('{"name": "add", "arguments": {"by": ' + "9" * 10_000 + "}}", "not valid JSON"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_hermes_cannot_read_is_said(body: str, reason: str) -> None:
    good = HermesCalls().write([Call("add", {"by": 1})])
    bad, other = HermesCalls().read(f"<tool_call>{body}</tool_call>{good}", [])
    assert isinstance(bad, Malformed)
    assert reason in bad.reason
    assert len(bad.reason) < 300
    assert other == Call("add", {"by": 1})


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("add(1)", "expected <function=NAME>"),
        ("<function=add", "expected <function=NAME>"),
        ("<function=add>", "is not closed"),
        ("<function=add><parameter=by>1</function>", "is not closed"),
        ("<function=add><parameter=by</function>", "is not closed"),
    ],
)
def test_what_xml_cannot_read_is_said(body: str, reason: str) -> None:
    (bad,) = XmlCalls().read(f"<tool_call>{body}</tool_call>", [TOOL])
    assert isinstance(bad, Malformed)
    assert reason in bad.reason


def test_depth() -> None:
    def nested(depth: int) -> str:
        # The arguments are the first container.
        return json.dumps({"name": "f", "arguments": {"a": json.loads("[" * (depth - 1) + "]" * (depth - 1))}})

    kinds = [type(HermesCalls().read(f"<tool_call>{nested(d)}</tool_call>", [])[0]) for d in (DEEPEST, DEEPEST + 1)]
    assert kinds == [Call, Malformed]


PIECES = [
    *("<tool_call>", "</tool_call>", "<think>", "</think>", "{", "}", '"name"', ":", '"a"'),
    *("<function=", "<parameter=", ">", "</parameter>", "</function>", "\ud800", "\0", "é"),
]


@pytest.mark.parametrize("format_", FORMATS, ids=lambda f: type(f).__name__)
@given(text=st.lists(st.sampled_from(PIECES)).map("".join))
def test_anything_is_read(format_: CallFormat, text: str) -> None:
    assert all(isinstance(one, Call | Malformed) for one in format_.read(text, [TOOL]))


@pytest.mark.parametrize("format_", FORMATS, ids=lambda f: type(f).__name__)
@pytest.mark.parametrize(
    "piece",
    [
        *("<tool_call>", "x", "</think><tool_call>{", "<parameter=", "<tool_call><function=add>"),
        *("<think>", "<tool_call></think></tool_call>"),
    ],
)
def test_ten_megabytes_take_no_longer_than_they_are_long(format_: CallFormat, piece: str) -> None:
    text = "<tool_call>" + piece * (10_000_000 // len(piece))
    start = time.perf_counter()
    assert format_.read(text, [TOOL])
    assert time.perf_counter() - start < 20
