"""Run directories as tables; reads files, needs neither torch nor hydra."""

from collections.abc import Iterable, Iterator, Sequence
from numbers import Number
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from rich.text import Text

from tipx.display.console import clean_text
from tipx.display.fit import FittedTable
from tipx.runs import metric_keys as keys
from tipx.runs.reader import StoredRun, dotted
from tipx.runs.results import FILE, SAMPLES, TRUNCATED

FACTS = (keys.STEP, "steps", "student", "rule", "ratio", "seed", "kept", "before", "after")
"""What is known of a run unless it is damaged."""
LEAST = (
    *("where", "path", "sha256", "hub", "kind", "group", "first", "last"),
    *("kept", "seed", "student", "steps", "before", "score", "teacher", "optimizer"),
)
"""Columns of frames that a narrow terminal leaves out, those that say least first; all others are always shown."""
WHOLE = ("path", "where", "rule", "state", "here")
"""Columns of text that are no prose: a value is never wrapped. The first column of a frame is one as well."""


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


def show_frame(frame: pd.DataFrame, title: str) -> FittedTable:
    """A table of a frame; fractions with three decimals, a dash for what is not known."""
    table = FittedTable(title, least=[name for name in LEAST if name in frame.columns[1:]])
    for i, name in enumerate(frame.columns):
        known = frame[name].dropna()
        numbers = len(known) > 0 and all(isinstance(value, Number) for value in known)
        justify: Literal["left", "right"] = "right" if numbers else "left"
        table.add_column(name, justify=justify, no_wrap=numbers or i == 0 or name in WHOLE)
    for row in frame.itertuples(index=False):
        table.add_row(*(cell(value) for value in row))
    return table


def cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def before_after(run: StoredRun) -> FittedTable | None:
    """Accuracy at each evaluation of a run, with standard errors over problems; None if it was never evaluated."""
    rows = run.rows.having(lambda key: keys.group(key) == keys.EVAL)
    if not rows:
        return None
    families = {"sampled": keys.EVAL_MEAN, "greedy": keys.EVAL_GREEDY}
    names = sorted({name for row in rows for key in row for one in families.values() if (name := one.part_of(key))})
    columns = {f"{name} {kind}": one.of(name) for name in names for kind, one in families.items()}
    columns = {title: key for title, key in columns.items() if any(key in row for row in rows)}
    table = FittedTable(f"accuracy of {run.name}")
    for column in ("step", *columns):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        cells = [cell(row.get(key)) + error_of(row.get(keys.standard_error(key))) for key in columns.values()]
        table.add_row(str(row[keys.STEP]), *cells)
    return table


def held_out(run: StoredRun) -> FittedTable | None:
    """Perplexity and divergence on held-out texts at each step that was measured; None if none was."""
    rows = run.rows.having(lambda key: key == keys.PERPLEXITY)
    if not rows:
        return None
    theirs = rows[0][keys.TEACHER_PERPLEXITY]
    title = f"{rows[0][keys.HELDOUT_TEXTS]} held-out texts (the teacher's perplexity: {theirs:.3f})"
    table = FittedTable(title)
    columns = {
        "perplexity": keys.PERPLEXITY,
        "reverse KL": keys.HELDOUT_REVERSE_KL,
        "forward KL": keys.HELDOUT_FORWARD_KL,
    }
    for column in ("step", *columns):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        cells = [cell(row[key]) + error_of(row.get(keys.standard_error(key))) for key in columns.values()]
        table.add_row(str(row[keys.STEP]), *cells)
    return table


COUNTED = ("turns", "calls", "malformed", "refused", "shortened")
RARE = ("refused", "shortened")
"""Shown where there are any."""


def result_table(result: dict[str, Any]) -> FittedTable:
    """One evaluation."""
    partial = " (partial)" if result["partial"] else ""
    agent = "metrics" in result
    title = f"{result['benchmark']}: {result['problems']} {'tasks' if agent else 'problems'}{partial}"
    table = FittedTable(title, caption="\n".join(result.get("notes", ())))
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


def result_records(results: Iterable[tuple[dict[str, Any], Path]]) -> list[dict[str, Any]]:
    """Each result with the paths of its files."""
    return [result | {"result": str(folder / FILE), "samples": str(folder / SAMPLES)} for result, folder in results]


def results_frame(records: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """A row a benchmark, a column for each number or text, as `pass_at.4`, but for problems' scores and the grading."""
    rows = [{key: value for key, value in record.items() if key not in ("scores", "grading")} for record in records]
    return pd.DataFrame([dict(dotted(row)) for row in rows], dtype=object)


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


def comparison_table(found: dict[str, Any]) -> FittedTable:
    """B against A on one benchmark."""
    table = FittedTable(f"{found['benchmark']}: B - A over {found['problems']} problems, n={found['n']}")
    table.add_column("measure", no_wrap=True)
    for name in ("A", "B", "B - A", f"{found['confidence']:.0%} interval", "p"):
        table.add_column(name, justify="right")
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


def comparison_frame(records: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """A row for each benchmark and measure; only the sampled mean has an interval."""
    rows = []
    for record in records:
        a, b, n = record["a"], record["b"], record["n"]
        place = {"benchmark": record["benchmark"], "problems": record["problems"]}
        test, greedy = record["sampled"], record["greedy"]
        numbers = {name: test[name] for name in ("difference", "low", "high", "p")}
        rows.append(place | {"measure": f"mean@{n}", "a": a["mean"], "b": b["mean"]} | numbers)
        if greedy is not None:
            numbers = {"difference": b["greedy"] - a["greedy"], "low": None, "high": None, "p": greedy["p"]}
            rows.append(place | {"measure": "greedy", "a": a["greedy"], "b": b["greedy"]} | numbers)
    return pd.DataFrame(rows, dtype=object)


def p_value(p: float) -> str:
    return f"{p:.4f}" if p >= 0.0001 else "< 0.0001"


def findings_table(findings: list[dict[str, Any]]) -> FittedTable:
    """What was checked before the first step."""
    colours = {"ok": "green", "warning": "yellow", "error": "red"}
    table = FittedTable("before the first step")
    for column in ("check", "level", "finding"):
        table.add_column(column)
    for finding in findings:
        level = Text(finding["level"], style=colours[finding["level"]])
        table.add_row(finding["check"], level, Text(finding["text"]))
    return table
