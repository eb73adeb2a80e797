"""Documents show what is there: commands can be typed, files can be read, links and pictures lead somewhere.

A command can be typed if its options exist and its overrides compose and build. A file that a document shows under its
name (`mine.yaml`, then a fence) lies in the working directory of the document's commands.
"""

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import typer
import yaml

from tipx.cli import app
from tipx.config import build, check_launcher, load
from tipx.errors import ConfigError
from tipx.noise import Noise
from tipx.report.spec import load as load_report
from tipx.sweep.plan import plan_sweep
from tipx.types import TokenStats

pytestmark = pytest.mark.long(35)

PROJECT = Path(__file__).parent.parent
FENCE = re.compile(r"^( *)(```+|~~~+)([^\n]*)\n(.*?)^ *\2", re.DOTALL | re.MULTILINE)
NAME = re.compile(r"`([\w./-]+\.(?:yaml|py|jsonl))`[^`\n]*:\s*$")
"""The words before a fence that shows a file."""
STARTS = re.compile("python|accelerate|torchrun")
"""What may stand before `-m tipx`."""
LINK = re.compile(r"(?<!\\)\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)")
DOCS = PROJECT / "docs"
PAGES = sorted(path.relative_to(PROJECT).as_posix() for path in [*DOCS.glob("*.md"), *DOCS.glob("[a-z]*/*.md")])
DOCUMENTS = ["README.md", "CONTRIBUTING.md", *PAGES]


class Block(NamedTuple):
    """What stands between fences, without the indent of its fence; `file` is the name that the words before it give."""

    language: str
    text: str
    file: str | None


def blocks(text: str) -> list[Block]:
    return list(find_blocks(text))


def find_blocks(text: str) -> Iterator[Block]:
    for fence in FENCE.finditer(text):
        indent, _, language, content = fence.groups()
        named = NAME.search(text[: fence.start()].rstrip())
        yield Block(language, re.sub(f"^{indent}", "", content, flags=re.MULTILINE), named[1] if named else None)


def prose(text: str) -> str:
    """What stands outside fences and code spans."""
    return re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "", FENCE.sub("", text), flags=re.DOTALL)


def commands(text: str) -> list[list[str]]:
    """The words after `tipx` of each such command in a fenced block, without prompt, comment and environment."""
    found = []
    for block in blocks(text):
        if block.language == "text":  # what a command prints
            continue
        for line in block.text.replace("\\\n", " ").splitlines():
            try:
                words = shlex.split(line.strip().removeprefix("$ "), comments=True)
            except ValueError:  # a quote that does not close: no shell line
                continue
            for at, word in enumerate(words):
                starts = all(re.match(r"[A-Z_]+=", before) for before in words[:at])
                module = at > 0 and words[at - 1] == "-m" and any(STARTS.match(Path(w).name) for w in words)
                if Path(word).name == "tipx" and (starts or module):
                    rest = words[at + 1 :]
                    end = next((i for i, w in enumerate(rest) if w in ("&&", "||", "|", ";", "&", ">")), len(rest))
                    found.append(rest[:end])
    return found


def check(words: list[str]) -> None:
    """Fails unless typer takes the words and hydra the overrides among them."""
    command, rest = typer.main.get_command(app), list(words)
    while rest and rest[0] in getattr(command, "commands", {}):
        command = command.commands[rest.pop(0)]
    if hasattr(command, "commands") and not command.invoke_without_command:  # `tipx`, `tipx --help`
        assert not rest or rest[0].startswith("-"), f"{rest[0]}: no such command"
        return
    params = command.make_context("tipx", rest).params
    overrides, folder = params.get("overrides") or [], params.get("config_dir")
    if words[0] in ("train", "preflight") or (words[0] == "show" and not names_a_run(overrides)):
        build(load(overrides, "train", folder), folder)
    elif words[0] == "sweep" and params["words"]:
        typed = [*params["words"], *([] if any("seed=" in word for word in params["words"]) else ["seed=0"])]
        plan_sweep(typed, folder)
    elif words[0] == "eval":
        build(load(overrides, "eval", folder), folder)


def names_a_run(overrides: list[str]) -> bool:
    return len(overrides) == 1 and "=" not in overrides[0]


def lay_out(text: str, folder: Path) -> None:
    """Write the files that a document shows under their names."""
    for block in blocks(text):
        if block.file is not None:
            (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.file).write_text(block.text)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_can_be_typed(document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (PROJECT / document).read_text()
    lay_out(text, tmp_path)
    monkeypatch.chdir(tmp_path)
    found = commands(text)
    if document == "README.md":
        assert found, "a README without a command"
    for words in found:
        try:
            check(words)
        except Exception as error:
            error.add_note(f"{document}: tipx {' '.join(words)}")
            raise


@pytest.mark.parametrize("document", DOCUMENTS)
def test_sweeps_and_reports_can_be_read(document: str, tmp_path: Path) -> None:
    for number, block in enumerate(blocks((PROJECT / document).read_text())):
        tree = yaml.safe_load(block.text) if block.language == "yaml" else {}
        file = tmp_path / f"shown-{number}.yaml"
        file.write_text(block.text)
        if "rows" in tree:
            assert load_report(str(file), None) is not None
        if "variants" in tree:
            assert plan_sweep([str(file)]).points


def anchors(text: str) -> set[str]:
    """Of each heading, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ +(.+?) *$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(text: str) -> list[str]:
    """Where links and pictures lead, but for the web."""
    return [place for place in LINK.findall(prose(text)) if not re.match(r"\w+:", place)]


def wrong_links(page: Path) -> list[str]:
    """The links of a page that lead to no file, or to no heading of it."""
    text = page.read_text()
    wrong = []
    for link in links(text):
        place, _, anchor = link.partition("#")
        target = page.parent / place if place else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            wrong.append(link)
    return wrong


def orphans(folder: Path) -> list[str]:
    """The pages in folders of a folder that its README.md does not link."""
    pages = {path.relative_to(folder).as_posix() for end in ("md", "ipynb") for path in folder.glob(f"[a-z]*/*.{end}")}
    return sorted(pages - set(links((folder / "README.md").read_text())))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_and_pictures_lead_somewhere(document: str) -> None:
    assert wrong_links(PROJECT / document) == []


def test_no_page_is_missing_in_the_list_of_pages() -> None:
    assert orphans(DOCS) == []


def test_wrong_links_and_orphans_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "index.md").write_text(
        "# A page\n\n[b](b.md#what-it-is) [no heading](b.md#what) [no file](c.md) ![no picture](d.png)\n"
        '[here](#a-page) [web](https://example.org/x) `[code](e.md)` [with a "title"](f.md "F")\n\n'
        "```\n[code](g.md)\n# No heading\n```\n\n[in a fence](#no-heading)\n"
    )
    (tmp_path / "b.md").write_text("# B\n\n## What it is?\n")
    assert wrong_links(tmp_path / "index.md") == ["b.md#what", "c.md", "d.png", "f.md", "#no-heading"]
    (tmp_path / "README.md").write_text("[here](howto/linked.md)\n")
    (tmp_path / "howto").mkdir()
    for name in ("linked.md", "alone.md"):
        (tmp_path / "howto" / name).write_text("# A page\n")
    assert orphans(tmp_path) == ["howto/alone.md"]


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
   torchrun --nnodes 2 -m tipx train model=tiny seed=1
   tipx eval RUN 'name="a, b"'
   make tipx
   it's tipx
   ```

```text
tipx trian prints this
```
"""
    assert commands(text) == [
        ["train", "ratio=0.2", "seed=1"],
        ["runs"],
        ["train", "model=tiny"],
        ["train", "model=tiny", "seed=1"],
        ["eval", "RUN", 'name="a, b"'],
    ]


@pytest.mark.parametrize("wrong", ["train ratoi=0.2", "train ratio=2", "trian", "train --frsh", "eval RUN n=0", "eval"])
def test_a_command_that_fails_would_be_found(wrong: str) -> None:
    with pytest.raises(Exception, match=r"ratoi|ratio|trian|frsh|n: must be|target"):
        check(wrong.split())


def shown_file(document: str, name: str) -> str:
    """The content of the file that a document shows under this name."""
    (content,) = [block.text for block in blocks((PROJECT / document).read_text()) if block.file == name]
    return content


EXTEND = "docs/howto/extend.md"


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Makes a user's folder of YAML, and a package beside it, of what the page shows under these two names."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(module: str, config: str) -> Path:
        name = f"own_{Path(module).stem}"
        (tmp_path / f"{name}.py").write_text(shown_file(EXTEND, module))
        (tmp_path / config).parent.mkdir(parents=True)
        path = module.removesuffix(".py").replace("/", ".")
        text = shown_file(EXTEND, config)
        assert path in text
        (tmp_path / config).write_text(text.replace(path, name))
        return tmp_path / "conf"

    return make


def typed(beginning: str) -> list[str]:
    """The words of the one `tipx train` of the page that begins so."""
    (words,) = re.findall(rf"`tipx train ({re.escape(beginning)}[^`]*)`", (PROJECT / EXTEND).read_text())
    return words.split()


def test_the_score_works_from_a_users_folder(own_folder: Callable[[str, str], Path]) -> None:
    folder = own_folder("tipx/selectors/surprise.py", "conf/selector/score/surprise.yaml")
    selector = build(load(typed("selector=soft_or selector/score=surprise"), "train", folder), folder).selector
    assert selector.needs == {"student_logprob"}
    # ratio=0.2 of 5 tokens is 1: the one the student found least likely.
    stats = TokenStats(student_logprob=torch.tensor([[-1.0, -0.5, -4.0, -2.0, -0.1]]))
    assert selector(stats, torch.ones(1, 5, dtype=torch.bool), Noise(0)).tolist() == [[0, 0, 1, 0, 0]]


def test_the_pick_works_from_a_users_folder(own_folder: Callable[[str, str], Path]) -> None:
    folder = own_folder("tipx/selectors/near_best.py", "conf/selector/pick/near_best.yaml")
    pick = build(load(typed("selector=soft_or selector/pick=near_best"), "train", folder), folder).selector.pick
    # 0.3 of the highest, 4, is 1.2; the last column is padding.
    score_BT = torch.tensor([[1.0, 1.3, 4.0, 9.0], [0.0, 0.0, 0.0, 0.0]])
    valid_BT = torch.tensor([[True, True, True, False]] * 2)
    assert pick(score_BT, valid_BT, Noise(0)).tolist() == [[0, 1, 1, 0], [1, 1, 1, 0]]


def test_the_training_set_works_from_a_users_folder(own_folder: Callable[[str, str], Path]) -> None:
    folder = own_folder("tipx/data/counting.py", "conf/data/counting.yaml")
    prompts = build(load(["data=counting"], "train", folder), folder).data.load()
    assert (len(prompts), prompts[3].text, prompts[3].answer) == (90, "q : 3 . 4 . how many ? a :", "5")


def test_the_launcher_is_one_that_hydra_knows(tmp_path: Path) -> None:
    name = "my_conf/hydra/launcher/our_slurm.yaml"
    (tmp_path / name).parent.mkdir(parents=True)
    # There may be no Slurm here: submitit's other launcher has the same settings but the partition.
    text = shown_file(EXTEND, name).replace("submitit_slurm", "submitit_local").replace("partition: gpu\n", "")
    (tmp_path / name).write_text(text)
    check_launcher(["hydra/launcher=our_slurm"], tmp_path / "my_conf")
    with pytest.raises(ConfigError, match="no such launcher"):
        check_launcher(["hydra/launcher=our_slrum"], tmp_path / "my_conf")
