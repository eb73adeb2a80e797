"""What is taken out of texts and values, and what stays."""

from pathlib import Path

import pytest

from tipx.export.scrub import Scrubber


@pytest.fixture
def private(monkeypatch: pytest.MonkeyPatch) -> Scrubber:
    """Knows the user jane of the machine gpu7, and a path with a blank."""
    monkeypatch.setenv("HOME", "/home/jane")
    monkeypatch.setattr("getpass.getuser", lambda: "jane")
    monkeypatch.setattr("socket.gethostname", lambda: "gpu7.lab.example")
    return Scrubber.for_texts_in({"path": "/data/my models/qwen", "argv": ["x=/home/bob.k/a/b"]})


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/data/jane/Qwen3-4B", "Qwen3-4B"),
        ("~/models/x", "x"),
        ("../../jane/x.jsonl", "x.jsonl"),
        ("see /home/jane/a/b.json, and /home/bob.k/c/d/", "see b.json, and d"),
        ("[/a/b.jsonl,/c/d.jsonl]", "[b.jsonl,d.jsonl]"),
        ("file:/home/jane/x", "file:x"),
        ("under /data/my models/qwen now", "under qwen now"),
        ("'/srv/other models/llama' here", "'llama' here"),
        ("<code>/srv/other models/llama</code>", "<code>llama</code>"),
        ("--out &#39;/srv/other models/out&#39;", "--out &#39;out&#39;"),
        ("jane and bob.k on gpu7", "[user] and [user] on [host]"),
        ("http://jane:pw@gpu7.lab.example:8000/v1", "http://[host]:8000/v1"),
        ("http://10.1.2.3:8000/v1", "http://[host]:8000/v1"),
        ("https://jane:pw@github.com/x", "https://[host]/x"),
        ("logger.key=abc d", "logger.key=[removed]"),
        ("run with api_key='a b' and token: xyz", "run with api_key=[removed] and token: [removed]"),
        ("it is hf_abcdefghijklmnopqrst.", "it is [removed]."),
        ("sk-proj-abcdefghijklmnop", "[removed]"),
    ],
)
def test_what_is_private_is_taken_out(text: str, left: str, private: Scrubber) -> None:
    assert private.word(text) == left
    assert sum(private.removed.values()) >= 1


@pytest.mark.parametrize(
    "text",
    [
        "Qwen/Qwen3-4B",
        "hf://datasets/openai/gsm8k/main/test.parquet",
        "https://arxiv.org/abs/2604.14084",
        "<svg xmlns='http://www.w3.org/2000/svg'><path d='M 0 0'/></svg>",
        "<td>a</td><td>b/c</td>",
        "/no_think",
        "prompts and/or answers, 3/4, 50 tok/s",
        "loop.max_prompt_tokens=128",
        "seed=1",
        "runs/paper/tiny-soft_or-1a2b3c4d",
        "janet and gpu77",
        "ed412b877bb6a09201475a78439e79e01fccc7cc",
        "${oc.env:HOME}",
    ],
)
def test_what_tells_nothing_stays(text: str, private: Scrubber) -> None:
    assert private.word(text) == private.text(text) == text
    assert not private.removed


def test_values_under_private_keys_go_and_numbers_stay(private: Scrubber) -> None:
    tree = {"logger": {"entity": "team", "mode": "offline"}, "eos_token": None, "key": 3, "x": [{"api_key": "k"}]}
    assert private.tree(tree) == tree | {
        "logger": {"entity": "[removed]", "mode": "offline"},
        "x": [{"api_key": "[removed]"}],
    }


@pytest.mark.parametrize("name", ["root", "ab", "Ubuntu"])
def test_ordinary_names_are_not_looked_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: name)
    assert Scrubber.for_texts_in().text(f"the {name} of it") == f"the {name} of it"


def test_a_user_without_a_name_or_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert Scrubber.for_texts_in().text(f"see {Path('/a/b')}") == "see b"
