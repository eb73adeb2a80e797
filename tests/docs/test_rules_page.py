"""docs/concepts/rules.md names every rule, and what it says of each is what the code does."""

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

import tipx
import tipx.vocab.loss
from tipx.config import build, conf_dir, load
from tipx.divergences import GeneralisedJSD, ReverseKL, TokenDivergence
from tipx.selectors import Selector
from tipx.vocab import Head, Hidden, Vocab

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "concepts" / "rules.md").read_text()
NAME = re.compile(r"`([^`]+)`")
N, V, D = 6, 11, 4  # tokens, vocabulary, hidden size

Row = dict[str, str]


def table(first: str) -> dict[str, Row]:
    """The rows of the table whose first column has this head, by the name that stands in it."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line[:1] == "|"]
    start = next(i for i, cells in enumerate(lines) if cells[0] == first)
    heads, rows = lines[start], {}
    for cells in lines[start + 2 :]:
        if len(cells) != len(heads) or not NAME.match(cells[0]):
            break
        rows[NAME.findall(cells[0])[0]] = dict(zip(heads, cells, strict=True))
    return rows


def choices(group: str) -> set[str]:
    """What `tipx list` shows of a group of conf/; a name with an underscore is shared by others."""
    return {path.stem for path in Path(conf_dir(), group).glob("*.yaml") if path.stem[0] != "_"}


def selector(*words: str) -> Selector:
    built: Selector = build(load(list(words), "train")).selector
    return built


RULES, SCORES, PICKS = table("rule"), table("score"), table("pick")


@pytest.mark.parametrize(
    ("group", "rows"), [("selector", RULES), ("selector/score", SCORES), ("selector/pick", PICKS)], ids=["1", "2", "3"]
)
def test_every_choice_is_on_the_page(group: str, rows: dict[str, Row]) -> None:
    assert rows.keys() == choices(group)


@pytest.mark.parametrize("name", sorted(choices("selector")))
def test_a_rule_has_a_section(name: str) -> None:
    assert f"\n### `{name}`\n" in PAGE


@pytest.mark.parametrize("name", sorted(choices("selector")))
def test_a_rule_is_the_score_and_pick_that_are_named(name: str) -> None:
    defaults = yaml.safe_load((Path(conf_dir()) / "selector" / f"{name}.yaml").read_text())["defaults"]
    parts = {key: part[key] for part in defaults if isinstance(part, dict) for key in part}
    assert {key: NAME.findall(RULES[name][key])[0] for key in ("score", "pick")} == parts


@pytest.mark.parametrize("name", sorted(choices("selector")))
def test_a_rule_needs_what_is_said(name: str) -> None:
    assert set(NAME.findall(RULES[name]["needs"])) == selector(f"selector={name}").needs


@pytest.mark.parametrize("name", sorted(choices("selector/score")))
def test_a_score_needs_what_is_said(name: str) -> None:
    assert set(NAME.findall(SCORES[name]["needs"])) == selector(f"selector/score={name}").needs


@pytest.mark.parametrize("name", sorted(choices("selector")))
def test_a_rule_costs_what_is_said(name: str) -> None:
    assert RULES[name]["head products"] == " + ".join(map(str, count_products(selector(f"selector={name}").needs)))


def test_other_costs_are_those_of_the_page() -> None:
    jsd = GeneralisedJSD(beta=0.5)
    said = {
        "a monitored step of a rule that scores less": count_products(
            frozenset({"student_entropy", "reverse_kl", "loss"})
        ),
        "the score `divergence` with `jsd`": count_products(frozenset({"jsd"})),
        "every token, `divergence=jsd`": count_products(frozenset(), jsd),
        "`soft_or`, `divergence=jsd`": count_products(frozenset({"student_entropy", "reverse_kl"}), jsd),
        "`soft_or`, `loop.score_from=rollout`": count_products(frozenset({"reverse_kl"}), reuse=False),
    }
    assert find_costs(PAGE.split("budget_mib=8` |")[0]) == {name: f"{a} + {b}" for name, (a, b) in said.items()}
    lean = {
        "`full`, `random`, `prefix`": count_products(frozenset(), keep=False),
        "`entropy_sampling`, `entropy_top`": count_products(frozenset({"student_entropy"}), keep=False),
        "`soft_or`, `loop.score_from=rollout`": count_products(frozenset({"reverse_kl"}), reuse=False, keep=False),
        "every token, `divergence=jsd`": count_products(frozenset(), jsd, keep=False),
    }
    assert find_costs(PAGE.split("budget_mib=8` |")[1]) == {name: f"{a} + {b}" for name, (a, b) in lean.items()}


def find_costs(text: str) -> dict[str, str]:
    return dict(re.findall(r"^\| ([^|]+) \| (\d \+ \d) \|$", text, re.MULTILINE))


def test_the_papers_numbers_are_those_that_ship() -> None:
    frame = pd.read_csv(Path(tipx.__file__).parent / "report" / "paper.csv", comment="#")
    facts = {
        (row.model, row.selector, row.ratio, row.benchmark): row.value
        for row in frame[frame["metric"] == "mean@16"].itertuples()
    }
    columns = {
        9: [(m, b) for m in ("qwen3", "llama", "qwen2_5") for b in ("math500", "aime24", "aime25")],
        2: [(m, "deepplanning_travel") for m in ("qwen3_agent_14b", "qwen3_agent_32b")],
    }
    shown = {}
    for rule, ratio, rest in re.findall(r"^\| `(\w+)` \| ([\d.]+) \|((?: [\d.-]+ \|){2,})$", PAGE, re.MULTILINE):
        cells = rest.strip(" |").split(" | ")
        for (model, benchmark), value in zip(columns[len(cells)], cells, strict=True):
            if value != "-":
                shown[model, rule, float(ratio), benchmark] = float(value)
    assert shown == facts


def count_products(
    needs: frozenset[str], divergence: TokenDivergence | None = None, *, reuse: bool = True, keep: bool = True
) -> tuple[int, int]:
    """Products of (tokens x vocabulary x hidden size): of scoring a token, and of training on a kept one."""
    draws = torch.manual_seed(0)
    student, teacher = (
        Hidden(torch.randn(N, D, generator=draws), Head(torch.randn(V, D, generator=draws))) for _ in range(2)
    )
    for leaf in (student.states_ND, student.head.weight_VD):
        leaf.requires_grad_()
    engine, trained = Vocab(chunk=2, budget_mib=1, compile=False), divergence or ReverseKL()
    made: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        make_logits = Head.logits_tile

        def logits_tile(*args: object) -> torch.Tensor:
            logits_NC = make_logits(*args)
            made.append(logits_NC.numel() * D)
            return logits_NC

        def counting(product: Callable[..., None]) -> Callable[..., None]:
            def run(left_AB: torch.Tensor, right_BC: torch.Tensor, out_AC: torch.Tensor) -> None:
                made.append(left_AB.numel() * right_BC.shape[1])
                product(left_AB, right_BC, out_AC)

            return run

        patch.setattr(tipx.vocab, "FEWEST_KEPT_ROWS", 1 if keep else 10**9)
        patch.setattr(Vocab, "find_budget", lambda _self, _device: 1 if keep else 0)
        patch.setattr(Head, "logits_tile", logits_tile)
        for name in ("multiply", "add_product"):
            patch.setattr(tipx.vocab.loss, name, counting(getattr(tipx.vocab.loss, name)))
        scores = engine.compute_statistics(student, teacher, torch.zeros(N, dtype=torch.long), needs, trained)
        scoring = sum(made)
        sums = scores.forward_sums if reuse else None
        engine.compute_loss(student, teacher, torch.ones(N), trained, sums).backward()
    whole = N * V * D
    assert scoring % whole == sum(made) % whole == 0
    return scoring // whole, (sum(made) - scoring) // whole
