"""Run directories as tables; reads files, needs neither torch nor hydra."""

from collections.abc import Iterator, Sequence
from numbers import Number
from typing import Any, Literal

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from tipx.display.console import clean_text
from tipx.runs import metric_keys as keys
from tipx.runs.reader import StoredRun
from tipx.runs.results import TRUNCATED

FACTS = (keys.STEP, "steps", "student", "rule", "ratio", "seed", "kept", "before", "after")
"""What is known of a run unless it is damaged."""


def runs_frame(runs: Sequence[StoredRun]) -> pd.DataFrame:
    """One row a run: where it is, what it is, how far it got, how accurate it was before and after.

    Values are objects, as they are: a number that some runs do not have would make all of its column fractions.
    """
    return pd.DataFrame([run_row(run) for run in runs], columns=["run", "group", "state", *FACTS, "path"], dtype=object)


def run_row(run: StoredRun) -> dict[str, Any]:
    """The facts of one run; of a damaged one only where it is."""
    state = run.state
    place = {"run": run.name, "group": run.group, "state": state, "path": str(run.path)}
    facts = dict.fromkeys(FACTS) if state == "damaged" else facts_of(run)
    return {key: printable(value) for key, value in (place | facts).items()}


def facts_of(run: StoredRun) -> dict[str, Any]:
    """By the names of `FACTS`."""
    return {
        keys.STEP: run.step,
        "steps": run.steps,
        "student": run.tree["model"]["student"]["path"],
        "rule": rule(run),
        "ratio": run.tree["selector"]["pick"].get("ratio"),
        "seed": run.seed,
        "kept": run.last(keys.KEPT_FRAC),
        "before": run.accuracy_before,
        "after": run.accuracy_after,
    }


def progress(state: str, step: int | None) -> str:
    """How far a run got, in a word or two."""
    return state if state in ("finished", "damaged") else f"step {step}"


def printable(value: Any) -> Any:
    """`value`, or its text without what commands a terminal: pandas takes no half of a character either."""
    return clean_text(value) if isinstance(value, str) else value


def rule(run: StoredRun) -> str:
    """The selector's name, or the classes of its score and pick where these were set apart or are all that is known."""
    apart = any(word.lstrip("+~").startswith(("selector/", "selector.")) for word in run.overrides)
    if apart or "selector" not in run.choices:
        selector = run.tree["selector"]
        return f"{short(selector['score'])} {short(selector['pick'])}"
    return run.choices["selector"]


def short(section: dict[str, Any]) -> str:
    """A section's class, as in `SoftOr`."""
    return str(section["_target_"]).rsplit(".", 1)[-1]


def show_frame(frame: pd.DataFrame, title: str) -> Table:
    """A rich table; fractions with three decimals, nothing for what is not known."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for i, name in enumerate(frame.columns):
        known = [value for value in frame[name] if not pd.isna(value)]
        numbers = known and all(isinstance(value, Number) for value in known)
        justify: Literal["left", "right"] = "right" if numbers else "left"
        table.add_column(name, justify=justify, overflow="fold", no_wrap=i == 0)
    for row in frame.itertuples(index=False):
        table.add_row(*(cell(value) for value in row))
    return table


def cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def before_after(run: StoredRun) -> Table | None:
    """Accuracy at each evaluation of a run, with standard errors over problems; None if it was never evaluated."""
    rows = [row for row in run.rows if any(keys.group(key) == keys.EVAL for key in row)]
    if not rows:
        return None
    families = {"sampled": keys.EVAL_MEAN, "greedy": keys.EVAL_GREEDY}
    names = sorted({name for row in rows for key in row for one in families.values() if (name := one.part_of(key))})
    columns = {f"{name} {kind}": one.of(name) for name in names for kind, one in families.items()}
    columns = {title: key for title, key in columns.items() if any(key in row for row in rows)}
    table = Table(title=f"accuracy of {run.name}", title_justify="left")
    for column in ("step", *columns):
        table.add_column(column, justify="right")
    for row in rows:
        cells = [cell(row.get(key)) + error_of(row.get(keys.standard_error(key))) for key in columns.values()]
        table.add_row(str(row[keys.STEP]), *cells)
    return table


def held_out(run: StoredRun) -> Table | None:
    """Perplexity and divergence on held-out texts at each step that was measured; None if none was."""
    rows = [row for row in run.rows if keys.PERPLEXITY in row]
    if not rows:
        return None
    theirs = rows[0][keys.TEACHER_PERPLEXITY]
    title = f"{rows[0][keys.HELDOUT_TEXTS]} held-out texts (the teacher's perplexity: {theirs:.3f})"
    table = Table(title=title, title_justify="left")
    columns = {
        "perplexity": keys.PERPLEXITY,
        "reverse KL": keys.HELDOUT_REVERSE_KL,
        "forward KL": keys.HELDOUT_FORWARD_KL,
    }
    for column in ("step", *columns):
        table.add_column(column, justify="right")
    for row in rows:
        cells = [cell(row[key]) + error_of(row.get(keys.standard_error(key))) for key in columns.values()]
        table.add_row(str(row[keys.STEP]), *cells)
    return table


COUNTED = ("turns", "calls", "malformed", "refused", "shortened")
RARE = ("refused", "shortened")
"""Shown where there are any."""


def result_table(result: dict[str, Any]) -> Table:
    """One evaluation."""
    partial = " (partial)" if result["partial"] else ""
    agent = "metrics" in result
    title = f"{result['benchmark']}: {result['problems']} {'tasks' if agent else 'problems'}{partial}"
    notes = "\n".join(result.get("notes", ())) or None
    table = Table(title=title, title_justify="left", caption=notes, caption_justify="left")
    table.add_column("measure")
    table.add_column("value", justify="right")

    def with_error(name: str) -> str:
        return cell(result[name]) + error_of(result.get(f"{name}_se"))

    table.add_row(f"mean@{result['n']}", with_error("mean"))
    for best, first in (("pass", 2), ("best", 2), ("maj", 3)):
        for k, value in result.get(f"{best}_at", {}).items():
            if int(k) >= first:
                table.add_row(f"{best}@{k}", cell(value))
    if "greedy" in result:
        table.add_row("greedy", with_error("greedy"))
    for name, value in agent_rows(result) if agent else ():
        table.add_row(name, value)
    for name, count in result["outcomes"].items():
        table.add_row(f"sampled: {name}", str(count))
    length = result["mean_length"]
    table.add_row("mean length, tokens", "not counted by the server" if length is None else f"{length:.1f}")
    for which in ("correct", "wrong"):
        if (length := result.get(f"mean_length_{which}")) is not None:
            table.add_row(f"mean length, {which}", f"{length:.1f}")
    limit = "ended by a limit" if agent else "cut by the length limit"
    table.add_row(limit, f"{result['clipped_ratio']:.1%}")
    return table


def asked(result: dict[str, Any]) -> str:
    """How a model was asked, in one line."""
    template, agent = result["template"], result.get("agent")
    if agent is None:
        said = ["through the chat template" if template["chat"] else "as plain text"]
        instruction = " ".join(template["instruction"].split())
        said += [f'with "{instruction}"' if instruction else "no instruction"]
        said += [] if template["thinking"] is None else [f"thinking {'on' if template['thinking'] else 'off'}"]
        heat = f"temperature {result['temperature']:g}, top-p {result['top_p']:g}, top-k {result['top_k'] or 'off'}"
        said += [heat if result["temperature"] else "greedy", f"up to {result['max_new_tokens']} new tokens"]
    else:
        said = ["as an agent", f"up to {result['max_new_tokens']} new tokens a trajectory"]
    return f"asked    {', '.join([*said, *([result['dtype']] if result.get('dtype') else [])])}"


def warnings(result: dict[str, Any]) -> Iterator[str]:
    """What a reader of the numbers must know, a line each."""
    name, cut = result["benchmark"], result["clipped_ratio"]
    if cut > TRUNCATED:
        what = "trajectories were ended by a limit" if "agent" in result else "answers were cut by the length limit"
        yield (
            f"{name}: {cut:.0%} of the {what}, and count as wrong; raise eval.sampling.max_new_tokens (now "
            f"{result['max_new_tokens']})"
        )
    if found := result.get("trained_on"):
        yield f"{name}: {len(found)} of {result['problems']} problems are prompts that the run was trained on"
    if "unchecked" in result:
        yield f"{name}: not known whether its problems were trained on ({result['unchecked']})"


def agent_rows(result: dict[str, Any]) -> Iterator[tuple[str | Text, str]]:
    """What only an agent's result has, under headings: the slices, each score, and the benchmark's own numbers.

    The parts of a score ("check/..."), of which there may be dozens, are left to result.json.
    """
    slices = result["slices"]
    if len(slices) > 1:
        yield Text("slice", "bold"), ""
        for name, found in slices.items():
            yield f"{name}, {found['tasks']} tasks", cell(found["mean"]) + error_of(found["mean_se"])
    yield Text("score, mean of tasks", "bold"), ""
    for name, found in result["metrics"].items():
        if "/" not in name:
            yield name, cell(found["mean"]) + error_of(found["se"])
    if aggregate := {k: v for k, v in result.get("aggregate", {}).items() if k.count("/") < 2}:
        yield Text("as the benchmark adds up", "bold"), ""
        for name, value in aggregate.items():
            yield name, cell(value)
    yield Text("trajectories", "bold"), ""
    for name in COUNTED:
        value = result.get(f"mean_{name}", 0)
        if value or name not in RARE:
            yield f"mean {name}", f"{value:.2f}"


def error_of(error: float | None) -> str:
    return "" if error is None else f" ± {error:.3f}"


def comparison_table(found: dict[str, Any]) -> Table:
    """B against A on one benchmark."""
    table = Table(
        title=f"{found['benchmark']}: B - A over {found['problems']} problems, n={found['n']}", title_justify="left"
    )
    for name in ("measure", "A", "B", "B - A", f"{found['confidence']:.0%} interval", "p"):
        table.add_column(name, justify="left" if name == "measure" else "right")
    a, b, test, greedy = found["a"], found["b"], found["sampled"], found["greedy"]
    low, high = test["low"], test["high"]
    span = "-" if low is None else f"{low:+.3f} to {high:+.3f}"
    p = f"{p_value(test['p'])} ({'exact' if test['exact'] else 'drawn'} permutations)"
    table.add_row(f"mean@{found['n']}", cell(a["mean"]), cell(b["mean"]), f"{test['difference']:+.3f}", span, p)
    if greedy is not None:
        only = f"only A {greedy['only_a']}, only B {greedy['only_b']}"
        change = f"{b['greedy'] - a['greedy']:+.3f}"
        table.add_row(
            "greedy", cell(a["greedy"]), cell(b["greedy"]), change, only, f"{p_value(greedy['p'])} (exact McNemar)"
        )
    return table


def p_value(p: float) -> str:
    return f"{p:.4f}" if p >= 0.0001 else "< 0.0001"


def findings_table(findings: list[dict[str, Any]]) -> Table:
    """What was checked before the first step."""
    colours = {"ok": "green", "warning": "yellow", "error": "red"}
    table = Table(title="before the first step", title_justify="left")
    for column in ("check", "", "finding"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        level = Text(finding["level"], style=colours[finding["level"]])
        table.add_row(finding["check"], level, Text(finding["text"]))
    return table
