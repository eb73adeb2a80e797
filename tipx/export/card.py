"""A model card made from a run directory: what was done, to what, and what came of it. Reads files, needs no torch."""

import re
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from tipx.display.markdown import escape_markdown
from tipx.export.licences import UNKNOWN, find_licence, shown_name
from tipx.runs import metric_keys as keys
from tipx.runs.metrics_file import Row
from tipx.runs.reader import StoredRun
from tipx.runs.results import is_number

Tree = dict[str, Any]
HELD_OUT = "held-out texts"
HUB_DATASET = re.compile(r"hf://datasets/([^/]+/[^/@]+)")
ARGS = ("problems", "texts", "tokens", "partial", "n", "max_new_tokens", "temperature", "top_p", "top_k", "dtype")
"""What a result on the hub says of how it was measured."""
INTRODUCTION = """A student that learned from a teacher on its own answers (on-policy distillation,
[arXiv 2604.14084](https://arxiv.org/abs/2604.14084)), made with `tipx`. This card was written from the run's files.

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("path/to/this/folder")
tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
```"""


ADAPTED = INTRODUCTION.replace(
    """from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.""",
    """from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer

model = AutoPeftModelForCausalLM.""",
)
"""The same of adapters without their base."""


def model_card(run: StoredRun, step: int, version: str, commit: str | None, *, adapter: bool = False) -> str:
    """README.md of the model at `step`, with the front matter that the hub reads. `adapter`: it is adapters alone."""
    made = run.tree
    parents = {role: made["model"][role]["path"] for role in ("student", "teacher")}
    licences = {role: find_licence(path) for role, path in parents.items()}
    parts = [
        front_matter(parents, licences, run, step, "peft" if adapter else "transformers"),
        f"# {escape_markdown(run.name)}, step {step}",
        ADAPTED if adapter else INTRODUCTION,
        "## Parents",
        markdown_table(
            ["", "model", "licence"], [[role, shown_name(parents[role]), licences[role]] for role in parents]
        ),
        "Whether a distilled model may be passed on, and how, is for the licences of both to say.",
        "## Training",
        markdown_table(["", ""], [[name, cell_text(value)] for name, value in run_facts(made, step).items()]),
        "## Results",
        results_section(run, step),
        "## Where it comes from",
        markdown_table(
            ["", ""], [[name, cell_text(value)] for name, value in origin_facts(run, version, commit).items()]
        ),
    ]
    return "\n\n".join(parts) + "\n"


def front_matter(parents: dict[str, str], licences: dict[str, str], run: StoredRun, step: int, library: str) -> str:
    """Metadata for the hub. A licence is claimed only where both parents' are known to be the same."""
    known = set(licences.values())
    hub = [path for path in dict.fromkeys(parents.values()) if shown_name(path) == path and path.count("/") == 1]
    data = ModelCardData(
        library_name=library,
        pipeline_tag="text-generation",
        license=known.pop() if len(known) == 1 and UNKNOWN not in known else None,
        base_model=hub or None,
        tags=["on-policy-distillation", "tipx"],
        model_name=run.name,
        eval_results=[entry for result in run.results_at(step) for entry in hub_results(result.facts)] or None,
    )
    return f"---\n{data.to_yaml()}\n---"


def run_facts(made: Tree, step: int) -> Row:
    """The configuration, as far as it says what the model is."""
    model, loop, rollout = made["model"], made["loop"], made["rollout"]
    return {
        "steps": f"{step} of {loop['steps']}",
        "layers kept of the student": model["student"].get("keep_layers") or "all",
        "LoRA": short_adapters(model["student"].get("lora")),
        "score": short_rule(made["selector"]["score"]),
        "pick": short_rule(made["selector"]["pick"]),
        "share of tokens": made["selector"]["pick"].get("ratio", 1.0),
        "divergence": short_rule(made["divergence"]),
        "prompts": shown_name(str(made["data"].get("path") or short_rule(made["data"]))),
        "prompts x responses a step": f"{loop['prompts']} x {loop['rollouts']}",
        "longest prompt, response": f"{loop['max_prompt_tokens']}, {rollout.get('max_new_tokens')} tokens",
        "sampling temperature": rollout.get("temperature"),
        "learning rate": made["optim"]["lr"],
        "precision": f"{model['student']['dtype']}, mixed: {loop['precision']}",
        "chat template": model["template"]["chat"],
        "instruction after each question": repr(model["template"]["instruction"]),
        "seed": made["seed"],
    }


def short_adapters(lora: Tree | None) -> str:
    """Adapters as in `r=16, lora_alpha=32, target_modules=all-linear`."""
    if not lora or lora.get("r") is None:
        return "no: all weights were trained"
    names = ("r", "lora_alpha", "target_modules", "use_rslora")
    return ", ".join(f"{name}={cell_text(lora.get(name))}" for name in names)


def short_rule(section: Tree) -> str:
    """A section's class and its own numbers, as in `Q3 (divergence=forward_kl)`."""
    own = [f"{k}={v}" for k, v in section.items() if k not in ("_target_", "ratio") and not isinstance(v, dict | list)]
    own = [pair for pair in own if "path=" not in pair and "field=" not in pair]
    return str(section["_target_"]).rsplit(".", 1)[-1] + (f" ({', '.join(own)})" if own else "")


def results_section(run: StoredRun, step: int) -> str:
    """Every evaluation before training and of this step, and what the metrics say of the student's own responses."""
    rows: list[list[str]] = []
    for when in dict.fromkeys((0, step)):
        for result in run.results_at(when):
            rows += [[str(when), *line] for line in result_rows(result.facts)]
    divergence = keys.REVERSE_KL.of("all")
    steps = [row for row in run.rows if row[keys.STEP] <= step and divergence in row]
    for row in dict.fromkeys((0, len(steps) - 1)) if steps else ():
        at, value = steps[row][keys.STEP], steps[row][divergence]
        rows.append([str(at), "its own responses", "reverse KL, nats a token", f"{value:.3f}", "one step"])
    if not rows:
        return "None at this step: `tipx eval` makes some."
    return markdown_table(["step", "measured on", "what", "value ± standard error", "of"], rows)


def result_rows(result: Row) -> list[list[str]]:
    """Lines of one evaluation."""
    if "benchmark" in result:
        of = f"{result['problems']} problems{', not all' if result.get('partial') else ''}"
    else:
        of = f"{result['texts']} texts"
    where = result.get("benchmark", HELD_OUT)
    return [[where, say, number_text(result, key), of] for key, (_, say) in measured_numbers(result).items()]


def measured_numbers(result: Row) -> dict[str, tuple[str, str]]:
    """(metric on the hub, what it is called) of each number that an evaluation measured."""
    if "benchmark" not in result:
        return {
            "perplexity": ("perplexity", "perplexity"),
            "reverse_kl": ("reverse_kl", "reverse KL, nats a token"),
            "forward_kl": ("forward_kl", "forward KL"),
            "teacher_perplexity": ("teacher_perplexity", "perplexity of the teacher"),
        }
    named = {
        "mean": ("accuracy", f"accuracy, mean of {result['n']} samples"),
        "greedy": ("accuracy", "accuracy, greedy"),
    }
    return {key: name for key, name in named.items() if is_number(result.get(key))}


def hub_results(result: Row) -> list[EvalResult]:
    """The same for the hub's `model-index`, with how they were measured; numbers as `result.json` has them."""
    name = result.get("benchmark", HELD_OUT)
    dataset = HUB_DATASET.match(str(result.get("source")))
    args = {key: result[key] for key in ARGS if result.get(key) is not None}
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type=dataset[1] if dataset else name,
            dataset_name=name,
            metric_type=metric,
            metric_value=result[key],
            metric_name=say,
            metric_args=args | {"standard_error": result.get(f"{key}_se")},
        )
        for key, (metric, say) in measured_numbers(result).items()
    ]


def number_text(result: Row, key: str) -> str:
    error = result.get(f"{key}_se")
    return f"{result[key]:.3f}" + (f" ± {error:.3f}" if is_number(error) else "")


def origin_facts(run: StoredRun, version: str, commit: str | None) -> Row:
    """Versions and hardware of the run, and what exported it."""
    start = run.start
    own = start.get("commit")
    return {
        "run": run.name,
        "trained with": ", ".join(f"{name} {number}" for name, number in start.get("versions", {}).items()),
        "commit": f"{own or 'unknown'}{' with local changes' if start.get('dirty') else ''}",
        "device": f"{start.get('device')}, {start.get('processes')} process(es)",
        "exported with": f"tipx {version}, commit {commit or 'unknown'}",
    }


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """A markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(escape_markdown, line)) + " |" for line in lines)


def cell_text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
