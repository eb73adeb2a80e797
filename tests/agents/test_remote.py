"""A chat server that fails: what is asked again, what ends the evaluation, and what the line says to do."""

import time
from typing import Any

import pytest

from tests.agents.stub import CUT, Make, Play, Reply, Stub
from tests.agents.toy import CountTo
from tipx.errors import ConfigError, RunFailed


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ((200, {"data": []}), "serves no model; give eval.sampling.model=NAME"),
        ((200, b"<html>Welcome</html>"), "not valid JSON.*give its address"),
        ((200, {"data": [{"name": "x"}]}), "data.0.id: Field required.*give its address"),
        ((200, [1]), "the answer: .*give its address"),
        ((404, {}), "answered /v1/models with 404.*give its address"),
        ((307, b""), "answered /v1/models with 307.*give its address"),
        ((503, {}), "answered /v1/models with 503"),
        (CUT, "no answer from .*RemoteProtocolError"),
    ],
)
def test_a_first_contact_that_says_nothing(models: Reply, said: str, stub: tuple[Stub, str], agents: Make) -> None:
    stub[0].models = models
    with pytest.raises(ConfigError, match=said) as error:
        agents().served()
    assert "\n" not in str(error.value)
    assert len(stub[0].asked) == 1


@pytest.mark.parametrize("server", ["http://127.0.0.1:9", "localhost:8000", "127.0.0.1", "http://["])
def test_no_server(server: str, play: Play) -> None:
    with pytest.raises(ConfigError, match=rf"eval.sampling.server: .*'{server.replace('[', '.')}'.*give its address"):
        play(CountTo(1), server=server, model="x")


def test_a_key(stub: tuple[Stub, str], play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    for key, said in ((None, "is not set"), (" ", "is not set"), ("schlüssel", "holds no key")):
        if key is not None:
            monkeypatch.setenv("MY_KEY", key)
        with pytest.raises(ConfigError, match=f"eval.sampling.key_env: .*MY_KEY {said}"):
            play(CountTo(1), key_env="MY_KEY")
    assert not stub[0].asked
    monkeypatch.setenv("MY_KEY", "wrong\n")
    stub[0].models = (401, {"error": "Unauthorized"})
    with pytest.raises(ConfigError, match=r"with 401.*the key in MY_KEY \(eval.sampling.key_env\) is not accepted"):
        play(CountTo(1), key_env="MY_KEY")
    with pytest.raises(ConfigError, match=r"with 401.*give eval.sampling.key_env=NAME"):
        play(CountTo(1))


@pytest.mark.parametrize(
    ("status", "text", "hint"),
    [
        (400, "'auto' tool choice requires --enable-auto-tool-choice", "add --enable-auto-tool-choice"),
        (400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens'", "see eval.sampling.extra"),
        (403, "Forbidden", "eval.sampling.key_env"),
        (404, "Not Found", "give its address: eval.sampling.server"),
        (404, "The model `x` does not exist", "give eval.sampling.model"),
    ],
)
def test_a_refusal_says_what_to_do(status: int, text: str, hint: str, stub: tuple[Stub, str], play: Play) -> None:
    stub[0].script = [(status, {"error": text})]
    with pytest.raises(ConfigError, match=rf"answered /v1/chat/completions with {status}: .*; .*{hint}"):
        play(CountTo(1))
    assert len(stub[0].bodies) == 1


@pytest.mark.parametrize(
    "reply",
    [
        (500, b"Internal Server Error"),
        (503, {"error": "starting"}),
        (429, {"error": "slow down"}, {"Retry-After": "soon"}),
        CUT,
        (200, b"<html>\n<p>Bad gateway"),
        (200, {"choices": []}),
        (200, {"choices": None}),
        (200, {"error": {"code": 502}}),
        (200, [1, 2]),
        (200, {"choices": [{"message": "Hello"}]}),
        (200, {"choices": [{"message": {"content": 3}}]}),
        (200, {"choices": [{"message": {"content": "", "tool_calls": "add"}}]}),
        (200, {"choices": [{"message": {"content": ""}}], "usage": {"total_tokens": "many"}}),
        (200, b"[" * 10**5),
    ],
)
def test_what_may_pass_is_asked_again(reply: Reply, stub: tuple[Stub, str], play: Play) -> None:
    stub[0].script = [[("add", '{"by": 1}')]]
    stub[0].first = [reply] * 2
    (episode,) = play(CountTo(1))
    assert (episode.stop, episode.turns, len(stub[0].bodies)) == ("eos", 3, 5)
    assert stub[0].bodies[0] == stub[0].bodies[2]
    stub[0].asked.clear()
    stub[0].first = [reply] * 3
    with pytest.raises(RunFailed, match=rf"eval.sampling.server: .*'{stub[1]}'.*; tries: 3; .+") as error:
        play(CountTo(1))
    assert (error.value.exit_code, "\n" in str(error.value), len(stub[0].bodies)) == (1, False, 3)


def test_a_server_that_asks_to_wait(stub: tuple[Stub, str], play: Play) -> None:
    stub[0].first = [(429, {}, {"Retry-After": "1"})]
    start = time.monotonic()
    assert play(CountTo(1))[0].stop == "eos"
    assert 1 <= time.monotonic() - start < 10


def test_a_timeout_names_its_setting(stub: tuple[Stub, str], play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = stub[0].answer

    def late(place: str, body: dict[str, Any], key: str | None) -> Reply:
        time.sleep(0.8 if body else 0)
        return answer(place, body, key)

    monkeypatch.setattr(stub[0], "answer", late)
    with pytest.raises(RunFailed, match=r"no answer.*in 0.4 s; tries: 2; raise eval.sampling.timeout_s=0.4"):
        play(CountTo(1), timeout_s=0.4, retries=1)


def test_a_failure_ends_the_other_episodes(stub: tuple[Stub, str], play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    stub[0].script = [[("add", '{"by": 1}')]] * 200
    answer = stub[0].answer

    def some(place: str, body: dict[str, Any], key: str | None) -> Reply:
        bad = body and body["messages"][0]["content"] == "To 2!"
        return (500, {}) if bad else answer(place, body, key)

    monkeypatch.setattr(stub[0], "answer", some)
    with pytest.raises(RunFailed):
        play(CountTo(1), CountTo(2), CountTo(3), max_turns=200, max_new_tokens=10**6)
    assert len(stub[0].bodies) < 150


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (400, "This model's maximum context length is 100 tokens. However, you requested 130"),
        (400, "max_tokens is too large: 50"),
        (413, "Prompt is too long"),
        (422, "`inputs` tokens + `max_new_tokens` must be within the maximum of 4096 tokens"),
        (400, "the request exceeds the available context size"),
        (400, "larger than max_model_len"),
    ],
)
def test_a_text_that_is_too_long_is_tried_with_half(status: int, text: str, stub: tuple[Stub, str], play: Play) -> None:
    stub[0].first = [(status, {"error": text})]
    assert play(CountTo(1))[0].stop == "eos"
    assert [body["max_tokens"] for body in stub[0].bodies] == [50, 25, 50]
    stub[0].asked.clear()
    stub[0].first = [(status, {"error": text})] * 2
    assert [(e.stop, e.turns) for e in play(CountTo(1))] == [("context", 0)]
    assert len(stub[0].bodies) == 2
