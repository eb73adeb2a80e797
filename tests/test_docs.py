"""Every command that a document shows can be typed: its options exist, and its overrides compose and build."""

import re
import shlex
from pathlib import Path

import pytest
import torch
import typer
import yaml

from tipx.cli import app
from tipx.config import build, load
from tipx.noise import Noise
from tipx.sweep.plan import plan_sweep
from tipx.types import TokenStats

PROJECT = Path(__file__).parent.parent
FENCE = re.compile(r"^( *)(```+|~~~+)[^\n]*\n(.*?)^ *\2", re.DOTALL | re.MULTILINE)
DOCUMENTS = ["README.md", "CONTRIBUTING.md"]


def blocks(text: str) -> list[str]:
    """What stands between fences."""
    return [found.group(3) for found in FENCE.finditer(text)]


def commands(text: str) -> list[list[str]]:
    """The words after `tipx` of each such command in a fenced block, without prompt, comment and environment."""
    found = []
    for block in blocks(text):
        for line in block.replace("\\\n", " ").splitlines():
            try:
                words = shlex.split(line.strip().removeprefix("$ "), comments=True)
            except ValueError:  # a quote that does not close: no shell line
                continue
            for at, word in enumerate(words):
                starts = all(re.match(r"[A-Z_]+=", before) for before in words[:at])
                module = at > 0 and words[at - 1] == "-m" and any("python" in w or "accelerate" in w for w in words)
                if Path(word).name == "tipx" and (starts or module):
                    rest = words[at + 1 :]
                    end = next((i for i, w in enumerate(rest) if w in ("&&", "||", "|", ";", "&", ">")), len(rest))
                    found.append(rest[:end])
    return found


def check(words: list[str]) -> None:
    """Fails unless typer takes the words and hydra the overrides among them."""
    command, rest = typer.main.get_command(app), list(words)
    while rest and not rest[0].startswith("-") and hasattr(command, "commands"):
        assert rest[0] in command.commands, f"{rest[0]}: no such command"
        command = command.commands[rest.pop(0)]
    if hasattr(command, "commands"):  # `tipx`, `tipx --help`
        return
    params = command.make_context("tipx", rest).params
    overrides = params.get("overrides") or []
    if words[0] == "train" or (words[0] == "show" and not names_a_run(overrides)):
        build(load(overrides, "train"))
    elif words[0] == "sweep":
        plan_sweep([*params["words"], *([] if any("seed=" in word for word in words) else ["seed=0"])])
    elif words[0] == "eval":
        build(load(overrides, "eval"))


def names_a_run(overrides: list[str]) -> bool:
    return len(overrides) == 1 and "=" not in overrides[0]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_can_be_typed(document: str) -> None:
    text = (PROJECT / document).read_text()
    found = commands(text)
    if document == "README.md":
        assert found, "a README without a command"
    for words in found:
        try:
            check(words)
        except Exception as error:
            error.add_note(f"{document}: tipx {' '.join(words)}")
            raise


def test_the_parser_finds_what_it_should() -> None:
    text = """
Text: `tipx nothing`, and tipx too.

```bash
$ tipx train ratio=0.2 \\
    seed=1   # a comment
HF_HUB_OFFLINE=1 .venv/bin/tipx runs && echo tipx list
```

1. In a list:

   ```
   accelerate launch --num_processes 2 -m tipx train model=tiny
   tipx eval RUN 'name="a, b"'
   make tipx
   it's tipx
   ```
"""
    assert commands(text) == [
        ["train", "ratio=0.2", "seed=1"],
        ["runs"],
        ["train", "model=tiny"],
        ["eval", "RUN", 'name="a, b"'],
    ]


@pytest.mark.parametrize("wrong", ["train ratoi=0.2", "train ratio=2", "trian", "train --frsh", "eval RUN n=0", "eval"])
def test_a_command_that_fails_would_be_found(wrong: str) -> None:
    with pytest.raises(Exception, match=r"ratoi|ratio|trian|frsh|n: must be|target"):
        check(wrong.split())


def test_the_selector_of_contributing_works_from_a_users_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (PROJECT / "CONTRIBUTING.md").read_text()
    shown = [re.sub(r"^   ", "", block, flags=re.MULTILINE) for block in blocks(text)]
    (code,) = [block for block in shown if "class Surprise" in block]
    (config,) = [block for block in shown if "tipx.selectors.surprise.Surprise" in block]
    (tmp_path / "surprise_rule.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = tmp_path / "conf" / "selector" / "score"
    folder.mkdir(parents=True)
    assert list(yaml.safe_load(config)) == ["_target_"]
    (folder / "surprise.yaml").write_text(config.replace("tipx.selectors.surprise", "surprise_rule"))
    (typed,) = re.findall(r"`tipx train (selector=soft_or selector/score=surprise [^`]*)`", text)
    selector = build(load(typed.split(), "train", tmp_path / "conf"), tmp_path / "conf").selector
    assert selector.needs == {"student_logprob"}
    # ratio=0.2 of 5 tokens is 1: the one the student found least likely.
    stats = TokenStats(student_logprob=torch.tensor([[-1.0, -0.5, -4.0, -2.0, -0.1]]))
    assert selector(stats, torch.ones(1, 5, dtype=torch.bool), Noise(0)).tolist() == [[0, 0, 1, 0, 0]]
