"""Agents behind a chat server, by a stub of one: what is asked, what is counted, and what calls come to."""

import json
from typing import Any

import pytest

from tests.agents.stub import Make, Play, Stub, played
from tests.agents.toy import TOOL, CountTo


def test_a_conversation(stub: tuple[Stub, str], play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sesame")
    stub[0].script = [[("add", '{"by": 2}'), ("add", '{"by": 1}')], "At 3.", "Yes, 3."]
    (episode,) = play(CountTo(3), key_env="MY_KEY", extra={"chat_template_kwargs": {"enable_thinking": True}})
    assert episode.scores == {"reached": 1, "said": 1, "whole": 1}
    assert (episode.stop, episode.turns, episode.calls, episode.sampled, episode.known) == ("eos", 3, 2, 21, 120)
    models, first, second, third = stub[0].asked
    assert models[0] == "/v1/models"
    assert {key for _, _, key in stub[0].asked} == {"Bearer sesame"}
    assert first[1] | {"seed": 0} == {
        "model": "the-model",
        "messages": CountTo(3).messages,
        "tools": [TOOL],
        "temperature": 0.0,  # sent, though it is false in Python
        "top_p": 1.0,
        "max_tokens": 50,
        "seed": 0,
        "chat_template_kwargs": {"enable_thinking": True},
    }
    assert [m["role"] for m in third[1]["messages"]] == ["user", "assistant", "tool", "tool", "assistant", "user"]
    assert [m.get("tool_call_id") for m in second[1]["messages"]] == [None, None, "call-0", "call-1"]
    assert second[1]["messages"][1]["tool_calls"][1]["function"] == {"name": "add", "arguments": '{"by": 1}'}


def test_arguments_that_are_no_json_are_answered(stub: tuple[Stub, str], play: Play) -> None:
    stub[0].script = [[("add", "{by: 1}"), ("add", "[1]")]]
    (episode,) = play(CountTo(1))
    assert (episode.malformed, episode.calls, episode.stop) == (2, 0, "eos")
    assert all("tool call not understood" in m["content"] for m in episode.messages if m["role"] == "tool")


def test_limits(stub: tuple[Stub, str], play: Play) -> None:
    call = [("add", '{"by": 1}')]
    stub[0].script = [call] * 9
    assert [(e.stop, e.turns) for e in play(CountTo(1), max_turns=2)] == [("turns", 2)]
    assert [(e.stop, e.turns) for e in play(CountTo(1), max_new_tokens=14)] == [("tokens", 2)]
    assert stub[0].asked[-1][1]["max_tokens"] == 7  # what is left
    assert [(e.stop, e.turns) for e in play(CountTo(1), context=105)] == [("context", 2)]
    stub[0].script = [call, (400, {"message": "This model's maximum context length is 100 tokens"})]
    assert [(e.stop, e.turns) for e in play(CountTo(1))] == [("context", 1)]
    assert len(stub[0].bodies) == 2 + 2 + 2 + 3
    cut = {"message": {"content": "To"}, "finish_reason": "length"}
    stub[0].script = [(200, {"choices": [cut], "usage": None})]
    assert [(e.stop, e.turns, e.sampled) for e in play(CountTo(1))] == [("length", 1, 0)]


def test_episodes_at_once_are_apart(stub: tuple[Stub, str], play: Play) -> None:
    stub[0].script = [[("add", '{"by": 2}')]]
    episodes = play(*(CountTo(goal) for goal in range(1, 6)))
    assert [e.scores["reached"] for e in episodes] == [0, 1, 0, 0, 0]
    assert len({body["seed"] for place, body, _ in stub[0].asked if "chat" in place}) > 5


def test_what_is_served_is_known_before_it_plays(stub: tuple[Stub, str], agents: Make) -> None:
    one = agents()
    assert one.served() == "the-model"
    played(one, [CountTo(1)], [0])
    played(one, [CountTo(2)], [1])
    assert [place for place, _, _ in stub[0].asked].count("/v1/models") == 1
    assert agents(model="mine").served() == "mine"
    stub[0].models = (404, {"detail": "Not Found"})  # a server need not list them
    assert played(agents(model="mine", server=f"{stub[1]}/v1/"), [CountTo(1)], [0])[0].stop == "eos"
    assert [body["model"] for body in stub[0].bodies] == ["the-model"] * 4 + ["mine"] * 2


def test_parts_and_reasoning(stub: tuple[Stub, str], play: Play) -> None:
    parts = [{"type": "text", "text": "At "}, {"type": "thinking", "text": "2?"}, {"type": "text", "text": "3."}, 5]
    call = {"id": "c", "type": "function", "function": {"name": "add", "arguments": {"by": 3}}}
    stub[0].script = [
        {"reasoning_content": "Add three.", "tool_calls": [call]},
        {"content": parts, "reasoning": "Done \ud83d.", "tool_calls": []},
        {"content": "Yes.", "reasoning_content": "It is 3."},
    ]
    (episode,) = play(CountTo(3))
    assert (episode.text, episode.scores["reached"], episode.scores["said"]) == ("Yes.", 1, 0)
    _, first, _, second, _, third = episode.messages
    assert first["reasoning_content"] == "Add three."
    assert first["tool_calls"] == [{**call, "function": {"name": "add", "arguments": '{"by": 3}'}}]
    assert second == {"role": "assistant", "content": "At 3.", "reasoning": "Done ?."}
    assert third["reasoning_content"] == "It is 3."
    assert stub[0].bodies[2]["messages"] == episode.messages[:5]


@pytest.mark.parametrize(
    "call",
    [
        {"id": "c"},
        {"id": "c", "function": None},
        {"id": "c", "function": "add"},
        {"id": "c", "function": {"arguments": "{}"}},
        {"id": 3, "function": {"name": "add", "arguments": 5}},
        {"id": "c", "function": {"name": "add", "arguments": '{"by": '}},
        {"function": {"name": "add", "arguments": "[1]"}},
        "add",
        None,
    ],
)
def test_a_malformed_call_is_answered(call: Any, stub: tuple[Stub, str], play: Play) -> None:
    good = {"id": "d", "function": {"name": "add", "arguments": '{"by": 1}'}}
    stub[0].script = [{"tool_calls": [call, good]}]
    (episode,) = play(CountTo(1))
    assert (episode.malformed, episode.calls, episode.scores["reached"]) == (1, 1, 1)
    turn, *answers = stub[0].bodies[1]["messages"][1:]
    # What is sent back is what a strict server takes: ids with an answer each, and arguments that are an object.
    assert [one["id"] for one in turn["tool_calls"]] == [answer["tool_call_id"] for answer in answers]
    assert all(isinstance(json.loads(one["function"]["arguments"]), dict) for one in turn["tool_calls"])
    assert all(one["function"]["name"] and one["type"] == "function" for one in turn["tool_calls"])
    assert "tool call not understood" in answers[0]["content"]


def test_malformed_as_text_leaves_no_call_without_answer(stub: tuple[Stub, str], play: Play) -> None:
    stub[0].script = [[("add", "{by: 1}"), ("add", '{"by": 1}')]]
    (episode,) = play(CountTo(1), malformed="text")
    assert (episode.malformed, episode.calls, episode.stop, episode.turns) == (1, 0, "eos", 2)
    assert [set(message) for message in stub[0].bodies[1]["messages"]] == [{"role", "content"}] * 3


def test_calls_that_are_not_run_are_answered_each(stub: tuple[Stub, str], play: Play) -> None:
    stub[0].script = [[("add", '{"by": 1}')] * 5]
    (episode,) = play(CountTo(2), max_parallel_calls=2)
    assert (episode.calls, episode.refused, episode.scores["reached"]) == (2, 3, 1)
    answers = stub[0].bodies[1]["messages"][2:]
    assert [answer["tool_call_id"] for answer in answers] == [f"call-{i}" for i in range(5)]
    assert ["not run" in answer["content"] for answer in answers] == [False, False, True, True, True]


@pytest.mark.parametrize(
    "text", ['<tool_call>\n{"name": "add", "arguments": {"by": 1}}\n</tool_call>', "<tool_call>add("]
)
def test_calls_handed_on_as_text_are_malformed(text: str, stub: tuple[Stub, str], play: Play) -> None:
    stub[0].script = [f"<think><tool_call></think>{text}"]
    (episode,) = play(CountTo(1))
    assert (episode.malformed, episode.calls, episode.turns, episode.stop) == (1, 0, 3, "eos")
    last = stub[0].bodies[1]["messages"][-1]
    assert (set(last), last["role"]) == ({"role", "content"}, "user")
    assert "tool call not understood" in last["content"]
    (episode,) = play(CountTo(1), malformed="text")
    assert (episode.malformed, episode.turns, episode.messages[2]["content"]) == (1, 2, "Sure? (1)")


def test_a_turn_fits_the_servers_window(stub: tuple[Stub, str], play: Play) -> None:
    stub[0].models = (200, {"data": [{"id": "the-model", "max_model_len": 120}]})
    stub[0].script = [[("add", '{"by": 1}')]] * 9
    (episode,) = play(CountTo(1))
    # The stub's texts are 100, 110 and 120 tokens long.
    assert [body["max_tokens"] for body in stub[0].bodies] == [50, 20, 10]
    assert (episode.stop, episode.turns) == ("context", 3)
    cut = {"message": {"content": "To"}, "finish_reason": "length"}
    stub[0].script = [[("add", "{}")], (200, {"choices": [cut]})]
    assert play(CountTo(1))[0].stop == "context"
    stub[0].models = (200, {"data": [{"id": "another", "max_model_len": 1}, {"id": "the-model"}]})
    assert play(CountTo(1), model="the-model")[0].turns == 2


def test_a_server_that_does_not_count(stub: tuple[Stub, str], play: Play) -> None:
    stub[0].usage = False
    stub[0].script = [[("add", '{"by": 1}')]] * 9
    (episode,) = play(CountTo(1), max_turns=5, max_new_tokens=20)
    assert (episode.stop, episode.turns, episode.counted) == ("turns", 5, False)
    assert {body["max_tokens"] for body in stub[0].bodies} == {20}
