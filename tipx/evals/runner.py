"""One runner for every benchmark: sample, grade, summarise, write."""

import json
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tipx.agents.loop import AgentRollouts, check_chat, check_tasks
from tipx.agents.server import ServedAgents
from tipx.errors import DataError, ModelError
from tipx.evals import Evaluation, Remarked, agents
from tipx.evals.exam import SAMPLING, Exam, hide_environment_texts, problems_fingerprint
from tipx.evals.journal import Journal
from tipx.evals.summary import Sample, summarise_samples
from tipx.files.atomic import make_folder, write_json, write_text
from tipx.grading.answers import MARKS
from tipx.grading.grade import Answer, Grader, read_both, start_grader
from tipx.models.pair import Template, check_subject
from tipx.noise import Noise
from tipx.processes import World
from tipx.rollout import RolloutRequest
from tipx.rollout.hf import HFRollouts, eos_ids
from tipx.rollout.vllm import VLLMRollouts
from tipx.runs.results import CHECKSUM, FILE, SAMPLES, read_result, seal_facts, text_checksum
from tipx.types import Prompt, Rollout

Tick = Callable[[int], None]
FIRST = 512
"""Tokens of the first prompt that are looked at."""
Sampling = HFRollouts | VLLMRollouts | agents.Agents


@dataclass(frozen=True)
class Subject:
    """The model under test, where it is on this machine and not behind a server."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def check_ready(subject: Subject, exam: Exam) -> None:
    """Raises ModelError where a model cannot be examined: seconds, where answers take hours and would be none."""
    model, tokenizer = subject.model, subject.tokenizer
    exam.template.check_length(tokenizer, model.config)
    check_room(subject, exam)
    for problem in exam.problems[:1]:
        check_subject(model, tokenizer, exam.template.encode_prompt(tokenizer, problem)[:FIRST])


def check_room(subject: Subject, exam: Exam) -> None:
    """Raises ModelError where a problem with its answer may be longer than what the model can read.

    One with learned positions ends in an error there, one with rotary positions goes on and says less and less.
    """
    limit = getattr(subject.model.config.get_text_config(), "max_position_embeddings", None)
    if limit is None or isinstance(exam.how.sampling, agents.Agents):  # these end a trajectory at the limit
        return
    new = exam.how.sampling.max_new_tokens
    lengths = {problem.id: len(exam.template.encode_prompt(subject.tokenizer, problem)) for problem in exam.problems}
    longest = max(lengths, key=lengths.__getitem__)
    if (length := lengths[longest]) + new <= limit:
        return
    remedy = f"type eval.sampling.max_new_tokens={limit - length}" if length < limit else "take a model that reads more"
    raise ModelError(
        f"{exam.benchmark.name}: problem {longest!r} has {length} tokens, with eval.sampling.max_new_tokens={new} more "
        f"than the {limit} the model reads; {remedy}"
    )


def evaluate_exam(
    subject: Subject | None,
    exam: Exam,
    out: Path,
    world: World,
    tick: Tick | None = None,
    trained_on: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Evaluate and write `samples.jsonl` and `result.json` (last) under `out`; an existing result is returned as it is.

    What an earlier start answered is not asked again. `tick` is told after each batch how many answers it made.
    `trained_on` are ids of problems that the model was trained on, if that is known. Problems are shared over the
    processes of `world`, which are taken to be equally fast.
    """
    done = out / FILE
    if done.exists():
        return read_result(done)
    benchmark, how, problems = exam.benchmark, exam.how, exam.problems
    if not problems:
        raise DataError(f"benchmark={benchmark.name}: holds no problems; expected at least one")
    check_tasks(problems, how.sampling, "eval")
    if isinstance(how.sampling, AgentRollouts) and subject is not None:
        check_chat(exam.template.build_chat(subject.tokenizer, eos_ids(subject.model, subject.tokenizer)), problems)
    start, journal = time.perf_counter(), Journal(out, world)
    before = journal.read()
    samples = run_all(subject, exam, before, journal, tick)
    seconds = time.perf_counter() - start
    text = "".join(json.dumps(s) + "\n" for s in samples)
    lengths = [s["length"] for i, s in enumerate(samples) if i not in before]
    acted = isinstance(how.sampling, agents.Agents)
    result = (agents.summarise_trajectories(samples, how, benchmark) if acted else summarise_samples(samples, how)) | {
        "benchmark": benchmark.name,
        "problems": len(problems),
        "problems_sha256": problems_fingerprint(problems),
        "source": benchmark.source(how.path),
        "partial": len(problems) < len(exam.everything),
        "n": how.n,
        "seed": exam.seed,
        **exam_conditions(exam),
        **longest_prompt(how, subject),
        **({} if acted else {"grading": read_both()}),
        "seconds": seconds,
        "answers_before": len(before),
        "tokens_per_s": None if None in lengths else sum(lengths) / seconds,
        **({} if trained_on is None else {"trained_on": list(trained_on)}),
        "first_prompt": samples[0]["prompt"],
        CHECKSUM: text_checksum(text),
    }
    remarks = benchmark.remarks(how) if isinstance(benchmark, Remarked) else {}
    notes = [*result.get("notes", ()), *exam.notes, *remarks.get("notes", ())]
    result |= remarks | ({"notes": notes} if notes else {})
    result = seal_facts(hide_environment_texts(result, exam.unread))
    if world.is_main:
        make_folder(out)
        write_text(out / SAMPLES, text)
        write_json(done, result)
    world.barrier()
    if world.is_main:
        journal.remove()
    return result


def exam_conditions(exam: Exam) -> dict[str, Any]:
    """How the model is asked, and how its answers are sampled."""
    how = exam.how.sampling
    said: dict[str, Any] = {"template": asdict(exam.template), "max_new_tokens": how.max_new_tokens}
    if exam.dtype is not None:
        said["dtype"] = exam.dtype
    if not isinstance(how, agents.Agents):
        return said | {name: getattr(how, name) for name in SAMPLING}
    server = {"server": how.shown} if isinstance(how, ServedAgents) else {}
    return said | {"agent": agents.agent_settings(how)} | server


def longest_prompt(how: Evaluation, subject: Subject | None) -> dict[str, int | None]:
    """The text, in tokens, at which an agent's trajectory ends as `context`."""
    if not isinstance(how.sampling, AgentRollouts):
        return {}
    return {"longest": None if subject is None else how.sampling.longest(subject.model)}


def run_all(
    subject: Subject | None, exam: Exam, before: Mapping[int, Sample], journal: Journal, tick: Tick | None
) -> list[Sample]:
    """Every answer, graded, in the order (mode, problem, sample); those of `before` are there already, by place."""
    how, problems, world = exam.how, exam.problems, journal.world
    jobs = [("sample", p, i) for p in range(len(problems)) for i in range(how.n)]
    if how.greedy:
        jobs += [("greedy", p, 0) for p in range(len(problems))]
    mine = [j for j in range(len(jobs)) if j not in before][world.rank :: world.size]
    made: list[tuple[int, Sample]] = []
    if tick is not None:
        tick(len(before))
    with start_grader() as judge:
        for mode in ("sample", "greedy"):
            rows = [j for j in mine if jobs[j][0] == mode]
            rollouts = how.sampling if mode == "sample" else greedy(how.sampling)
            # These take the next when they are done with one, not when they are done with a batch.
            size = len(rows) if isinstance(rollouts, ServedAgents | HFRollouts) else rollouts.batch_size
            for start in range(0, len(rows), max(size, 1)):
                batch = rows[start : start + size]
                some, noise = [problems[jobs[j][1]] for j in batch], Noise(exam.seed, stream="eval")
                parts = sample_answers(subject, exam.template, some, rollouts, batch, noise, judge)
                with closing(parts):  # requests in flight end with it, whatever ends the loop
                    for part in parts:
                        done = [(batch[i], {"mode": mode, "sample": jobs[batch[i]][2]} | a) for i, a in part]
                        journal.add(done)
                        made += done
                        if tick is not None:
                            tick(len(done) * world.size)  # the others are as far
    return [sample for _, sample in sorted([*before.items(), *world.gather_list(made)], key=lambda item: item[0])]


def greedy(sampling: Sampling) -> Sampling:
    """The same without chance."""
    if isinstance(sampling, agents.Agents):
        return agents.greedy_agents(sampling)
    return replace(sampling, temperature=0, top_p=1, top_k=0)


def sample_answers(
    subject: Subject | None,
    template: Template,
    problems: Sequence[Prompt],
    how: Sampling,
    rows: Sequence[int],
    noise: Noise,
    judge: Grader,
) -> Generator[list[tuple[int, Sample]]]:
    """(place in `problems`, graded answer or trajectory) of each, some at a time; draws are keyed by `rows`."""
    if isinstance(how, ServedAgents):
        for place, sample in agents.act_behind_server(how, problems, rows, noise):
            yield [(place, sample)]
        return
    if subject is None:
        raise TypeError(f"{type(how).__name__} needs a model, and there is none on this machine")
    model, tokenizer = subject.model, subject.tokenizer
    prompts = [template.encode_prompt(tokenizer, problem) for problem in problems]
    request = RolloutRequest(prompts=prompts, rows=rows, noise=noise)
    if isinstance(how, AgentRollouts):
        chat = template.build_chat(tokenizer, eos_ids(model, tokenizer))
        yield list(enumerate(agents.act_with_model(how, model, chat, problems, request)))
    elif isinstance(how, HFRollouts):
        for places, rollout in how.stream(model, tokenizer, request):
            yield list(zip(places, grade_rollout(subject, [problems[i] for i in places], rollout, judge), strict=True))
    else:
        yield list(enumerate(grade_rollout(subject, problems, how(model, tokenizer, request), judge)))


def grade_rollout(subject: Subject, problems: Sequence[Prompt], rollout: Rollout, judge: Grader) -> list[Sample]:
    """One graded answer for each problem; `response` is without special tokens but those that mark reasoning."""
    decode = subject.tokenizer.decode
    lengths, stops = rollout.lengths, rollout.stop_reasons
    kept = marks(subject.tokenizer)
    texts = [readable_text(subject.tokenizer, kept, rollout.response_BT[b, :n].tolist()) for b, n in enumerate(lengths)]
    asked = [str(decode(list(prompt))) for prompt in rollout.prompt_ids]
    grades = judge.grade_all(
        [Answer(texts[b], p.answer or "", stops[b] == "length", asked[b]) for b, p in enumerate(problems)]
    )
    return [
        {
            "id": problem.id,
            "prompt": asked[b],
            "gold": problem.answer,
            "response": texts[b],
            "extracted": grades[b].extracted,
            "outcome": grades[b].outcome,
            "value": grades[b].value,
            "length": lengths[b],
            "stop": stops[b],
        }
        for b, problem in enumerate(problems)
    ]


def marks(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Special tokens that mark reasoning, or are a part of what does."""
    special = {i: added.content.strip() for i, added in tokenizer.added_tokens_decoder.items() if added.special}
    return frozenset(i for i, text in special.items() if text and any(text in mark for pair in MARKS for mark in pair))


def readable_text(tokenizer: PreTrainedTokenizerBase, kept: frozenset[int], tokens: Sequence[int]) -> str:
    """The text of some tokens, without special ones but those of `kept`."""
    parts: list[list[int]] = [[]]
    for token in tokens:
        if token in kept:
            parts += [[token], []]
        else:
            parts[-1].append(token)
    # Every other part is one of the kept.
    return "".join(str(tokenizer.decode(part, skip_special_tokens=i % 2 == 0)) for i, part in enumerate(parts) if part)
