"""The keys of metrics.jsonl: spelled in one module, documented, and the same for files of older runs."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

import tipx
from tests.rows import as_older, declared, undeclared
from tipx.agents.episode import COUNTS
from tipx.runs import metric_keys as keys
from tipx.runs.directory import Run
from tipx.types import StopReason

ROOT = Path(tipx.__file__).parent
PROJECT = ROOT.parent
STORED = Path(__file__).with_name("metrics_2026-11-29.jsonl")
GROUPS = {keys.group(name) for one in keys.DECLARED for name in (one.name, one.was or one.name)} - {"step"}
SPELLED = re.compile(rf"(?<![\w./])({'|'.join(sorted(GROUPS))})/(?=[a-z_]|$)")
# Where `agent/` is no group of keys, and why.
OTHER_AGENTS = {
    "models/locate.py": "an embedded model",
    "export/licences.py": "an embedded model",
    "deepplanning/checkout.py": "a folder of the official code",
}
# Tables of their own, and the file's own reader, which counts lines by their step.
OWN_STEP = ("inspect/", "runs/")


def texts(tree: ast.Module) -> Iterator[ast.Constant]:
    """Every string but docstrings, also the parts of f-strings."""
    said = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node


def lookups(tree: ast.Module) -> Iterator[ast.expr]:
    """What stands where a key of a line would: `row["step"]`, `{"step": 1}`, `row.get("step")`, `set_index("step")`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript):
            yield node.slice
        elif isinstance(node, ast.Dict):
            yield from (key for key in node.keys if key is not None)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith((".get", ".pop", ".set_index")):
            yield from node.args[:1]


def spelled(tree: ast.Module) -> list[str]:
    """Keys in a source, and group prefixes that a key could be made from."""
    steps = [ast.unparse(node) for node in lookups(tree) if isinstance(node, ast.Constant) and node.value == keys.STEP]
    return [node.value for node in texts(tree) if SPELLED.search(node.value)] + steps


@pytest.mark.parametrize("file", sorted(ROOT.rglob("*.py")), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_other_module_spells_a_key(file: Path) -> None:
    name, found = file.relative_to(ROOT).as_posix(), spelled(ast.parse(file.read_text()))
    if name in OTHER_AGENTS:
        found = [text for text in found if "agent/" not in text]
    if name.startswith(OWN_STEP):
        found = [text for text in found if text != repr(keys.STEP)]
    assert bool(found) == (name == "runs/metric_keys.py"), found


@pytest.mark.parametrize(
    "line",
    [
        'row["train/loss"]',
        'f"eval/{name}/mean"',
        'f("such as tokens/q1")',
        'row["step"]',
        '{"step": 1}',
        'f.get("step")',
    ],
)
def test_a_key_that_is_spelled_would_be_seen(line: str) -> None:
    assert spelled(ast.parse(line))


def test_every_name_is_a_group_and_a_name_and_declared_once() -> None:
    names = [one.name for one in keys.DECLARED]
    assert len(set(names)) == len(names)
    for one in keys.DECLARED:
        assert one.name == keys.STEP or re.fullmatch(r"[a-z]+(/([a-z_]|<[a-z]+>)+)+", one.name)
        assert one.meaning[0].isupper()
        assert "|" not in one.meaning
        assert one.unit.text != "fraction" or re.search(r"_frac(_of_kept)?$|^eval/", one.name)
    assert not keys.RENAMED.keys() & set(names)
    assert all(declared(new) for new in keys.RENAMED.values())
    assert len(set(keys.RENAMED.values())) == len(keys.RENAMED)


def test_families_have_the_parts_that_are_written() -> None:
    assert keys.AGENT_ENDED_FRAC.parts == get_args(StopReason)
    assert keys.AGENT_COUNT.parts == COUNTS


def test_a_part_is_found_in_its_own_family_alone() -> None:
    assert keys.EVAL_MEAN.part_of(keys.EVAL_MEAN.of("math500")) == "math500"
    assert keys.TIME.part_of("time/train_s") == "train"
    others = ("eval/math500/mean_se", "heldout/x/mean", "eval//mean", "time/lunch_s", "time/train", "train/loss")
    assert [one.part_of(key) for one in (keys.EVAL_MEAN, keys.TIME) for key in others] == [None] * 12


# --- older files -----------------------------------------------------------------------------------------------------

RENAMED = {
    "tokens/n": "rollout/tokens",
    "tokens/q3": "quadrant/q3_frac",
    "select/q1_of_kept": "quadrant/q1_frac_of_kept",
    "select/div_dropped": "select/reverse_kl_dropped",
    "select/loss_mass_kept": "select/kept_loss_frac",
    "train/weights_changed": "train/weights_changed_frac",
    "rollout/clipped_ratio": "rollout/truncated_frac",
    "rollout/mismatch_mean": "rollout/mismatch_abs_mean",
    "rollout/mismatch_max": "rollout/mismatch_abs_max",
    "agent/ended_context": "agent/ended_context_frac",
    "agent/empty": "agent/empty_trajectories",
    "time/heldout": "time/heldout_s",
    "memory/sample": "memory/sample_mib",
}
"""One of each; written by hand, for users have typed them."""


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_old_key_is_that_of_today(old: str, new: str) -> None:
    assert keys.current(old) == keys.current(new) == new
    assert keys.with_current_keys({old: 0.5}) == {new: 0.5}


@pytest.mark.parametrize(
    "key", ["step", "train/loss", "select/kept_frac", "eval/tokens/mean", "agent/hit", "time/lunch"]
)
def test_a_key_that_kept_its_name(key: str) -> None:
    assert keys.current(key) == key


def test_a_task_may_call_a_score_as_a_key_was_called() -> None:
    row = {"agent/empty": 0.25, "agent/empty_trajectories": 2}
    assert keys.with_current_keys(row) == row


def write(folder: Path, lines: list[dict[str, Any]]) -> Run:
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Run(folder)


def test_lines_of_before_are_read_by_the_keys_of_today(tmp_path: Path) -> None:
    before = [json.loads(line) for line in STORED.read_text().splitlines()]
    now = write(tmp_path / "old", before).rows()
    assert [list(row.values()) for row in now] == [list(row.values()) for row in before]
    assert [as_older(row) for row in now] == before
    assert [undeclared(row) for row in now] == [{}] * len(before)
    assert all(undeclared(row) for row in before)
    mixed = write(tmp_path / "mixed", [*before[:2], *now[2:]])
    assert mixed.rows() == now
    assert mixed.good_rows() == (now, None)


def test_what_goes_on_from_older_lines_writes_new_ones(tmp_path: Path) -> None:
    before = [json.loads(line) for line in STORED.read_text().splitlines()]
    run = write(tmp_path / "run", before)
    now = run.rows()
    run.rewind(2)
    run.log(now[3])
    assert [json.loads(line) for line in run.metrics_file.read_text().splitlines()] == now[:4]


# --- names that tipx ships -------------------------------------------------------------------------------------------


def test_reports_name_keys_of_today() -> None:
    named = [
        name
        for file in (PROJECT / "reports").glob("*.yaml")
        for report in [yaml.safe_load(file.read_text())]
        for name in [*report.get("values", []), *(one.get("value") or "" for one in report.get("figures", []))]
        if "/" in name
    ]
    assert len(named) > 5
    assert [name for name in named if declared(name) is None or keys.current(name) != name] == []
