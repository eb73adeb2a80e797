"""Whether the parts of a run fit together, as far as seconds tell: before its first step, without weights.

An error stops the run, a warning is shown and kept with it. To add a check, write a function from `Facts` to a
`Finding` and name it in `CHECKS`.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from typing import Literal, NamedTuple

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedConfig, PreTrainedTokenizerBase

from tipx.agents.loop import check_chat, check_tasks
from tipx.errors import ConfigError, DataError, ModelError
from tipx.evals.contamination import Contamination, normalise_spelling
from tipx.evals.heldout import encode_texts
from tipx.files.untrusted import RAISED, error_text
from tipx.models.locate import silence_libraries
from tipx.models.pair import ModelSource, check_rows, check_tokenizers
from tipx.models.pruning import keep_layers, select_layers
from tipx.rollout.vllm import VLLMRollouts, check_one_engine
from tipx.text.encoding import special_tokens
from tipx.text.token_ids import count_rows
from tipx.train.experiment import Experiment
from tipx.types import Prompt

Level = Literal["ok", "warning", "error"]
MOVABLE = 0.5
"""The share of weights that a step has to be able to move."""
GIB = 2**30
SHOWN = 6
"""Tokens of a prompt that are shown, at either end."""


@dataclass(frozen=True)
class ModelFacts:
    """One model, as far as it is known without its weights."""

    tokenizer: PreTrainedTokenizerBase
    config: PreTrainedConfig
    generation: GenerationConfig

    @property
    def endings(self) -> dict[int, str]:
        """Token ids that end a response, with their text: the tokenizer's, and those that generation stops at."""
        extra = self.generation.eos_token_id
        ids = [self.tokenizer.eos_token_id, *([] if extra is None else [extra] if isinstance(extra, int) else extra)]
        return {int(i): str(self.tokenizer.convert_ids_to_tokens(int(i))) for i in ids}


class EncodedPrompt(NamedTuple):
    """A question, and the token ids of its prompt."""

    question: Prompt
    ids: list[int]


@dataclass(frozen=True)
class RunFacts:
    """What the checks look at.

    `questions` is the training set without what the guard left out, `fit` those of it that are not too long.
    """

    exp: Experiment
    student: ModelFacts
    teacher: ModelFacts
    guard: Contamination
    questions: Sequence[Prompt]
    fit: list[EncodedPrompt]

    @property
    def prompts(self) -> list[list[int]]:
        """Token ids of those that fit."""
        return [asked.ids for asked in self.fit]

    @property
    def fingerprint(self) -> str:
        """sha256 of the token ids of those that fit, in order."""
        return hashlib.sha256(json.dumps(self.prompts).encode()).hexdigest()

    @property
    def sides(self) -> dict[str, ModelFacts]:
        return {"student": self.student, "teacher": self.teacher}


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    check: str
    level: Level
    text: str

    def row(self) -> dict[str, str]:
        return asdict(self)


def gather_facts(exp: Experiment, guard: Contamination | None = None) -> RunFacts:
    """Tokenizers, settings and encoded prompts; raises ModelError or DataError when they cannot be had.

    `guard` is what an earlier start of the same run left out.
    """
    student, teacher = read_model_facts(exp.model.student, "student"), read_model_facts(exp.model.teacher, "teacher")
    questions = exp.data.load()
    found = exp.guard(questions, exp.benchmark, exp.eval.path) if guard is None else guard
    clean = [question for question in questions if question.id not in found.ids]
    if questions and not clean:
        raise DataError(
            f"data: all {len(questions)} prompts are problems of a benchmark; choose another data set "
            "(`tipx list data`), or guard.enabled=false"
        )
    check_tasks(clean, exp.rollout, "rollout")
    exp.model.template.check_length(student.tokenizer, student.config)
    if clean and clean[0].task is not None:
        check_chat(exp.model.template.build_chat(student.tokenizer, tuple(student.endings)), clean)
    return RunFacts(exp, student, teacher, found, clean, fitting_prompts(exp, student.tokenizer, clean))


def read_model_facts(source: ModelSource, role: str) -> ModelFacts:
    tokenizer = source.load_tokenizer(role)
    return ModelFacts(tokenizer, *source.load_settings(role))


def fitting_prompts(
    exp: Experiment, tokenizer: PreTrainedTokenizerBase, questions: Sequence[Prompt]
) -> list[EncodedPrompt]:
    """Every question that fits, with its token ids; raises DataError if none does.

    Too long ones are left out: cutting a prompt would silently distil out of context.
    """
    limit = exp.loop.max_prompt_tokens
    asked = [EncodedPrompt(question, exp.model.template.encode_prompt(tokenizer, question)) for question in questions]
    fit = [one for one in asked if 0 < len(one.ids) <= limit]
    if not fit:
        raise DataError(
            f"data: none of {len(asked)} prompts is within loop.max_prompt_tokens={limit}; raise it, or choose "
            "another data set (`tipx list data`)"
        )
    return fit


def examine_facts(facts: RunFacts) -> list[Finding]:
    """Every check's finding, in order."""
    return [check(facts) for check in CHECKS]


def raise_first_error(findings: Sequence[Finding]) -> None:
    """Raises ModelError with the first error."""
    for finding in findings:
        if finding.level == "error":
            raise ModelError(finding.text)


def check_vocabulary(facts: RunFacts) -> Finding:
    """One tokenizer, and heads that have its rows."""
    student, teacher = facts.student, facts.teacher
    sizes = {role: getattr(s.config.get_text_config(), "vocab_size", None) for role, s in facts.sides.items()}
    known = {role: size for role, size in sizes.items() if size is not None}
    try:
        check_tokenizers(student.tokenizer, teacher.tokenizer)
        rows = check_rows(known, count_rows(student.tokenizer))
    except ModelError as error:
        return Finding("vocabulary", "error", str(error))
    heads = " and ".join(str(size) for size in dict.fromkeys(known.values()))
    text = f"one tokenizer of {len(student.tokenizer)} tokens; heads of {heads} rows, compared on the first {rows}"
    return Finding("vocabulary", "ok", text)


def check_layers(facts: RunFacts) -> Finding:
    """Layers that are to be kept are there."""
    sources = {"student": facts.exp.model.student, "teacher": facts.exp.model.teacher}
    kept = []
    for role, source in sources.items():
        count = getattr(facts.sides[role].config.get_text_config(), "num_hidden_layers", None)
        if source.keep_layers is not None and count is not None:
            try:
                layers_left = select_layers(source.keep_layers, count, f"model.{role}.keep_layers")
                kept.append(f"{len(layers_left)} of the {role}'s {count}")
            except ModelError as error:
                return Finding("layers", "error", str(error))
    return Finding("layers", "ok", f"kept: {' and '.join(kept)}" if kept else "all are kept")


def check_adapters(facts: RunFacts) -> Finding:
    """Layers that get adapters are there, and so is the package that adds them."""
    try:
        return Finding("adapters", "ok", facts.exp.model.student.describe_adapters(facts.student.config))
    except ModelError as error:
        return Finding("adapters", "error", str(error))


def check_precision(facts: RunFacts) -> Finding:
    """The student's weights are kept in a type that training can change; whether they move shows once they are loaded.

    The second moment of a gradient of 1e-4 is below what float16 holds: the first step divides by 0.
    """
    dtype = facts.exp.model.student.dtype
    if dtype == "float16":
        text = (
            "model.student.dtype=float16: AdamW's second moments vanish in it, and weights become NaN; type "
            "model.student.dtype=float32 loop.precision=bf16 (or model.student.dtype=bfloat16, which is less exact)"
        )
        return Finding("precision", "error", text)
    return Finding("precision", "ok", f"the student's weights are kept in {dtype}")


def check_movement(share: float, exp: Experiment) -> Finding:
    """How many of the student's weights, which are loaded now, a step at the peak of the learning rate can move."""
    student = exp.model.student
    whose = f"the student's {student.dtype}" if student.adapters is None else "the adapters' float32"
    shown = f"a step of optim.lr={exp.optim.lr:g} can move {share:.1%} of {whose} weights"
    if share >= MOVABLE:
        return Finding("movement", "ok", shown)
    text = f"{shown}: to the others it is less than half the distance to the next number; type "
    return Finding("movement", "warning", f"{text}model.student.dtype=float32 loop.precision=bf16, or raise optim.lr")


def check_room(facts: RunFacts, processes: int, memory: int) -> Finding:
    """What a process holds from step to step fits its `memory`: weights, gradients and Adam's two moments.

    It is the least that any step takes, so nothing is refused that would fit; `tipx preflight` predicts the rest. Of
    adapters only the frozen weights count.
    """
    on_gpu = facts.exp.hardware.device == "auto" and torch.cuda.is_available()
    try:
        least = state_bytes(facts, processes, on_gpu=on_gpu)
    except RAISED as error:
        return Finding("room", "warning", f"the weights cannot be counted before they are loaded ({error_text(error)})")
    text = f"weights, gradients and Adam take {least / GIB:.3g} GiB of each process, which has {memory / GIB:.3g}"
    if least <= memory:
        return Finding("room", "ok", text)
    return Finding("room", "error", f"hardware: {text}; the same words after `tipx preflight` name a layout that fits")


def state_bytes(facts: RunFacts, processes: int, *, on_gpu: bool) -> int:
    """The least of a process. A CPU may leave a teacher of whole weights in its file, so that one counts nothing."""
    model, hardware = facts.exp.model, facts.exp.hardware
    shared = hardware.strategy == "fsdp"
    size = hardware.count_sharers(processes) if shared else 1
    held = 0
    if model.teacher.offload == "none" and (on_gpu or shared):
        held += (
            count_weights(facts.teacher.config, model.teacher, "teacher") * getattr(torch, model.teacher.dtype).itemsize
        )
    if not (hardware.cpu_offload and shared and on_gpu):
        copies = 4 if model.student.adapters is None else 1
        weights = count_weights(facts.student.config, model.student, "student")
        held += copies * weights * getattr(torch, model.student.dtype).itemsize
    return held // size


def count_weights(config: PreTrainedConfig, source: ModelSource, role: str) -> int:
    """Elements of a model of this configuration with the layers that are kept."""
    with silence_libraries(), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(deepcopy(config), trust_remote_code=source.trust_remote_code)
    if source.keep_layers is not None:
        keep_layers(model, source.keep_layers, f"model.{role}.keep_layers")
    return sum(parameter.numel() for parameter in model.parameters())


def check_endings(facts: RunFacts) -> Finding:
    """Both models end a response at the same tokens: a Base and an Instruct model often do not."""
    ours, theirs = facts.student.endings, facts.teacher.endings
    if ours.keys() == theirs.keys():
        return Finding("endings", "ok", f"both models end a response at {list_tokens(ours)}")
    text = (
        f"model: the student ends a response at {list_tokens(ours)}, the teacher at {list_tokens(theirs)} (a Base and "
        "an Instruct model?): lengths may explode; take two of one kind, or set eos_token_id in the student's "
        f"generation_config.json to [{', '.join(map(str, theirs))}]"
    )
    return Finding("endings", "warning" if ours.keys() & theirs.keys() else "error", text)


def list_tokens(tokens: dict[int, str]) -> str:
    return " or ".join(tokens.values())


def check_padding(facts: RunFacts) -> Finding:
    """Never wrong, because lengths are counted, but often asked about."""
    ours, theirs = (s.tokenizer.pad_token for s in facts.sides.values())
    tokens = f"{ours}" if ours == theirs else f"the student's is {ours}, the teacher's {theirs}"
    same = "; it ends responses too" if ours == theirs and ours in facts.student.endings.values() else ""
    return Finding("padding", "ok", f"{tokens}{same}; no matter: responses are measured by length")


def check_chat_template(facts: RunFacts) -> Finding:
    """Both models know the prompts' format."""
    student, teacher = (s.tokenizer for s in facts.sides.values())
    template = facts.exp.model.template.resolve(student)
    if not template.chat:
        if student.chat_template is not None and facts.fit[0].question.task is None:
            text = "the tokenizer has one, and questions are plain text: was the model trained to chat? then type "
            return Finding("chat template", "warning", f"{text}template@model.template=chat")
        return Finding("chat template", "ok", "none: questions are plain text")
    if teacher.chat_template is None:
        text = "the teacher's tokenizer has none, the student's is used: was the teacher trained to chat?"
        return Finding("chat template", "warning", text)
    ours = student.decode(template.encode(student, "?"))
    try:
        theirs = teacher.decode(template.encode(teacher, "?"))
    except ModelError as error:
        return Finding("chat template", "warning", f"the teacher's cannot be used, the student's is: {error}")
    if ours == theirs:
        return Finding("chat template", "ok", "the same prompt from both")
    at = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    text = f"they differ: student {ours[at : at + 40]!r}, teacher {theirs[at : at + 40]!r}; both see the student's"
    return Finding("chat template", "warning", text)


def check_budget(facts: RunFacts) -> Finding:
    """Prompt and response fit the context of both models."""
    longest, new = max(map(len, facts.prompts)), facts.exp.rollout.max_new_tokens
    for role, one in facts.sides.items():
        limit = getattr(one.config.get_text_config(), "max_position_embeddings", None)
        if limit is not None and longest + new > limit:
            text = (
                f"rollout.max_new_tokens={new}: with the longest prompt of {longest} tokens that is more than the "
                f"{limit} the {role} can read; lower it, or loop.max_prompt_tokens"
            )
            return Finding("context", "error", text)
    return Finding("context", "ok", f"the longest prompt has {longest} tokens, a response up to {new}; both fit")


def check_engine(facts: RunFacts) -> Finding:
    """What samples by vLLM can be started, as far as is known before weights are loaded."""
    loop = facts.exp.loop
    evaluated = {"eval.sampling": facts.exp.eval.sampling} if loop.eval_every or loop.eval_last else {}
    backends = {"rollout": facts.exp.rollout, **evaluated}
    engines = {key: getattr(how, "backend", how) for key, how in backends.items()}
    by_vllm = {key: how for key, how in engines.items() if isinstance(how, VLLMRollouts)}
    if not by_vllm:
        return Finding("engine", "ok", "none: transformers samples")
    try:
        check_one_engine(by_vllm)
        said = [how.check() for how in by_vllm.values()]
    except ConfigError as error:
        return Finding("engine", "error", str(error))
    return Finding("engine", "ok", " and ".join(dict.fromkeys(said)))


def check_left_out(facts: RunFacts) -> Finding:
    """How much of the training set is too long."""
    missing, total = len(facts.questions) - len(facts.prompts), len(facts.questions)
    golds = sum(question.answer is not None for question in facts.questions)
    unanswered = f"; {total - golds} have no answer that could be read" if 0 < golds < total else ""
    if not missing:
        return Finding("prompts", "ok", f"all {total} are within loop.max_prompt_tokens{unanswered}")
    text = (
        f"left out {missing} of {total} prompts, empty or longer than loop.max_prompt_tokens="
        f"{facts.exp.loop.max_prompt_tokens} ({missing / total:.1%}){unanswered}"
    )
    return Finding("prompts", "warning", text)


def check_contamination(facts: RunFacts) -> Finding:
    """Problems of benchmarks are no training prompts."""
    if warnings := facts.guard.warnings():
        return Finding("contamination", "warning", "; ".join(warnings))
    return Finding("contamination", "ok", facts.guard.line())


def check_separation(facts: RunFacts) -> Finding:
    """Held-out texts are not trained on."""
    if not facts.exp.heldout.every:
        return Finding("held-out texts", "ok", "none")
    trained = {normalise_spelling(question.text) for question in facts.questions}
    texts = [text if question is None else question.text for question, text in facts.exp.heldout.load()]
    scored = encode_texts(facts.exp.heldout, facts.student.tokenizer, facts.exp.model.template)
    missing = len(texts) - len(scored)
    lost = f"; {missing} of {len(texts)} are left out: they have no token to score" if missing else ""
    if found := sum(normalise_spelling(text) in trained for text in texts):
        said = f"{found} of {len(texts)} heldout.texts are training prompts too{lost}"
        return Finding("held-out texts", "warning", said)
    return Finding("held-out texts", "warning" if lost else "ok", f"none of {len(texts)} is a training prompt{lost}")


def check_special_tokens(facts: RunFacts) -> Finding:
    """What stands at both ends of a prompt, as the model sees it: it ends where the answer begins."""
    student, one = facts.student, facts.fit[0]
    shown = [str(student.tokenizer.decode([token])) for token in one.ids]
    ends = f"{list_shown(shown)} ({len(shown)} tokens of prompt {one.question.id!r})"
    if one.ids[-1] in student.endings:
        text = f"it ends with {shown[-1]!r}, at which a response ends: {ends}; give the tokenizer another chat_template"
        return Finding("first and last tokens", "warning", text)
    spelled = sum(
        any(mark in text for mark in special_tokens(student.tokenizer)) for q in facts.questions for text in q.questions
    )
    if spelled:
        chats = facts.exp.model.template.resolve(student.tokenizer).chat
        how = "as plain text" if chats else "as control tokens, for there is no chat template"
        text = f"{ends}; {spelled} prompts spell control tokens of the tokenizer, and are encoded {how}"
        return Finding("first and last tokens", "warning", text)
    return Finding("first and last tokens", "ok", ends)


def list_shown(shown: Sequence[str]) -> str:
    """The first and the last few."""
    few = list(shown) if len(shown) <= 2 * SHOWN else [*shown[:SHOWN], None, *shown[-SHOWN:]]
    return " ".join("..." if text is None else repr(text) for text in few)


def check_thinking(facts: RunFacts) -> Finding:
    """A switch that is set is one that the chat template has."""
    template = facts.exp.model.template.resolve(facts.student.tokenizer)
    if template.thinking is None:
        return Finding("thinking", "ok", "left to the chat template")
    switch = f"model.template.thinking={str(template.thinking).lower()}"
    tokenizer, first = facts.student.tokenizer, facts.fit[0].question
    if not template.chat and first.task is None:
        return Finding("thinking", "warning", f"{switch} has no effect: questions are plain text; leave it out")
    ways = [replace(template, thinking=way).encode_prompt(tokenizer, first) for way in (True, False)]
    if ways[0] == ways[1]:
        return Finding(
            "thinking", "warning", f"{switch} has no effect: the chat template knows no enable_thinking; leave it out"
        )
    return Finding("thinking", "ok", f"{switch}, which the chat template knows")


Check = Callable[[RunFacts], Finding]
CHECKS: tuple[Check, ...] = (
    check_vocabulary,
    check_layers,
    check_adapters,
    check_precision,
    check_endings,
    check_padding,
    check_chat_template,
    check_thinking,
    check_special_tokens,
    check_budget,
    check_engine,
    check_left_out,
    check_contamination,
    check_separation,
)
