"""Agents on a benchmark's tasks: what their trajectories scored, how they ended, and what they took."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields, replace
from statistics import fmean
from typing import Any, get_args

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tipx.agents.episode import COUNTS, Episode
from tipx.agents.loop import AgentRollouts
from tipx.agents.script import Script
from tipx.agents.server import ServedAgents
from tipx.evals import Aggregated, Benchmark, Evaluation
from tipx.evals.summary import Sample, grouped
from tipx.models.pair import Template
from tipx.noise import Noise
from tipx.rollout.hf import eos_ids
from tipx.stats.estimates import best_at_k, mean_and_error, powers_of_two
from tipx.types import Prompt, StopReason

Agents = AgentRollouts | ServedAgents
PACE = ("batch_size", "timeout_s", "retries", "server", "key_env", "backend", "calls")
"""What changes no trajectory, or is said by itself."""
TURN = ("temperature", "top_p", "top_k", "max_new_tokens", "turns")


def settings(agents: Agents) -> dict[str, Any]:
    """All that decides a trajectory, besides the model, in plain containers."""
    found = {f.name: getattr(agents, f.name) for f in fields(agents) if f.name not in PACE}
    found["engine"] = type(agents).__name__
    if isinstance(agents, AgentRollouts):
        backend = {key: value for key, value in asdict(agents.backend).items() if key in TURN}
        found |= {"turn": backend | {"engine": type(agents.backend).__name__}, "calls": type(agents.calls).__name__}
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def greedy(agents: Agents) -> Agents:
    """The same agents without chance."""
    if isinstance(agents, ServedAgents):
        return replace(agents, temperature=0, top_p=1)
    if isinstance(agents.backend, Script):
        return agents
    return replace(agents, backend=replace(agents.backend, temperature=0, top_p=1, top_k=0))


def act(
    agents: AgentRollouts,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    problems: Sequence[Prompt],
    rows: Sequence[int],
    noise: Noise,
) -> list[Sample]:
    """One trajectory for each task; draws are keyed by `rows`."""
    prompts = [template.encode_prompt(tokenizer, problem) for problem in problems]
    chat = template.build_chat(tokenizer, eos_ids(model, tokenizer))
    asked = [(problem.task, prompt) for problem, prompt in zip(problems, prompts, strict=True)]
    episodes = agents.play(model, chat, asked, rows, noise)
    return [
        sample(episode, chat.text(prompt)) | {"text_length": episode.length}
        for episode, prompt in zip(episodes, prompts, strict=True)
    ]


def served(
    agents: ServedAgents, problems: Sequence[Prompt], rows: Sequence[int], noise: Noise
) -> Iterator[tuple[int, Sample]]:
    """(place in `problems`, trajectory) of each by a server, as they end."""
    for place, episode in agents.as_they_end([problem.task for problem in problems], rows, noise):
        yield place, sample(episode, problems[place].text) | {"text_length": episode.known if episode.counted else None}


def sample(episode: Episode, prompt: str) -> Sample:
    """A trajectory with all that was said."""
    return {
        "id": episode.task.id,
        "slice": episode.task.slice,
        "prompt": prompt,
        "gold": None,
        "response": episode.text,
        "extracted": None,
        "outcome": episode.stop,
        "value": episode.score,
        "length": episode.sampled if episode.counted else None,
        "stop": episode.stop,
        "scores": episode.scores,
        **episode.counts,
        "messages": episode.messages,
    }


def summarise(samples: Sequence[Sample], how: Evaluation, benchmark: Benchmark) -> dict[str, Any]:
    """Means over tasks with standard errors, the best of k, and trajectories by how they ended, which add up.

    Trajectories of one task are not independent, so the error is that of the tasks' means. `scores` holds those means,
    for paired tests.
    """
    sampled = [s for s in samples if s["mode"] == "sample"]
    by_task = grouped(sampled)
    values = [[s["value"] for s in group] for group in by_task]
    mean, error = mean_and_error([fmean(one) for one in values])
    summary: dict[str, Any] = {
        "mean": mean,
        "mean_se": error,
        "best_at": {str(k): fmean(best_at_k(one, k) for one in values) for k in powers_of_two(how.n)},
        "outcomes": outcomes(sampled),
        "mean_length": mean_known([s["length"] for s in sampled]),
        "mean_text_length": mean_known([s["text_length"] for s in sampled]),
        "clipped_ratio": fmean(s["stop"] != "eos" for s in sampled),
        **{f"mean_{name}": fmean(s[name] for s in sampled) for name in COUNTS},
        "metrics": metrics(by_task),
        "slices": slices(by_task),
        "notes": list(notes(sampled)),
        "scores": {group[0]["id"]: fmean(s["value"] for s in group) for group in by_task},
    }
    if isinstance(benchmark, Aggregated):
        runs = [aggregate(benchmark, sampled, i) for i in range(how.n)]
        summary["aggregate"] = {name: fmean(run[name] for run in runs) for name in runs[0]}
    if how.greedy:
        one = [s for s in samples if s["mode"] == "greedy"]
        summary["greedy"], summary["greedy_se"] = mean_and_error([s["value"] for s in one])
        summary["greedy_outcomes"] = outcomes(one)
        summary["greedy_metrics"] = metrics([[s] for s in one])
        if isinstance(benchmark, Aggregated):
            summary["greedy_aggregate"] = aggregate(benchmark, one, 0)
    return summary


def notes(samples: Sequence[Sample]) -> Iterator[str]:
    """What makes a score say nothing about the model."""
    unheard = sum(s["turns"] == 0 for s in samples)
    if unheard:
        yield f"{unheard} of {len(samples)} trajectories ended before a first turn: the limits are too low for the task"


def mean_known(lengths: Sequence[int | None]) -> float | None:
    """Mean length in tokens; None where a server left one out."""
    known = [length for length in lengths if length is not None]
    return fmean(known) if len(known) == len(lengths) else None


def aggregate(benchmark: Aggregated, samples: Sequence[Sample], number: int) -> dict[str, float]:
    """The benchmark's own numbers, from every task's trajectory of this number."""
    return benchmark.aggregate([(s["slice"], s["scores"]) for s in samples if s["sample"] == number])


def metrics(by_task: Sequence[Sequence[Sample]]) -> dict[str, dict[str, float | None]]:
    """Each score's mean over the tasks that have it, with its standard error."""
    found: dict[str, list[float]] = {}
    for group in by_task:
        for name in group[0]["scores"]:
            found.setdefault(name, []).append(fmean(s["scores"][name] for s in group))
    return {name: dict(zip(("mean", "se"), mean_and_error(values), strict=True)) for name, values in found.items()}


def slices(by_task: Sequence[Sequence[Sample]]) -> dict[str, dict[str, Any]]:
    """The headline of each part of the benchmark."""
    found: dict[str, list[float]] = {}
    for group in by_task:
        found.setdefault(group[0]["slice"], []).append(fmean(s["value"] for s in group))
    return {
        name: {"tasks": len(values)} | dict(zip(("mean", "mean_se"), mean_and_error(values), strict=True))
        for name, values in found.items()
    }


def outcomes(samples: Sequence[Sample]) -> dict[str, int]:
    """How many trajectories ended in each way; nothing is dropped."""
    counts = Counter(s["outcome"] for s in samples)
    return {reason: counts[reason] for reason in get_args(StopReason)}
