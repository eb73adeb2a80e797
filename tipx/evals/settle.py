"""What an evaluation leaves to the model itself: its dtype, its own sampling, and how much it can read."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch
from pydantic import ValidationError
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedTokenizerBase

from tipx.agents.loop import AgentRollouts
from tipx.agents.server import ServedAgents
from tipx.errors import ConfigError, ModelError
from tipx.evals import Benchmark, Evaluation
from tipx.evals.exam import Exam
from tipx.evals.job import EvalJob
from tipx.evals.runner import Subject
from tipx.models.folder import read_first_dtype
from tipx.models.locate import find_model_folder
from tipx.models.pair import Dtype, ModelSource, Template
from tipx.rollout.hf import HFRollouts
from tipx.rollout.vllm import VLLMRollouts

CARD = ("temperature", "top_p", "top_k")
OFF: dict[str, Any] = {"temperature": 1.0, "top_p": 1.0, "top_k": 0}
"""What a card that says nothing of one of them means."""
UNUSED: dict[str, float] = {
    "repetition_penalty": 1.0,
    "min_p": 0.0,
    "typical_p": 1.0,
    "no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
}
"""Settings of sampling that tipx has not, and their values that do nothing."""


@dataclass(frozen=True)
class Settled:
    """How a model is evaluated, with all that is left to the model itself; no source for one behind a server."""

    how: Evaluation
    template: Template
    notes: tuple[str, ...] = ()
    source: ModelSource | None = None
    tokenizer: PreTrainedTokenizerBase | None = None

    def exam(self, benchmark: Benchmark, seed: int, unread: Mapping[str, str], usual: str) -> Exam:
        """A benchmark that is so taken; results in the dtype `usual` are named without it."""
        dtype = None if self.source is None else self.source.dtype
        known = None if dtype is None else usual
        return Exam(benchmark, self.how, seed, self.template, unread, dtype=dtype, usual=known, notes=self.notes)

    def subject(self, device: torch.device) -> Subject | None:
        """The model, loaded; raises ModelError."""
        if self.source is None or self.tokenizer is None:
            return None
        return Subject(self.source.load("student", device), self.tokenizer)


def settle_evaluation(job: EvalJob, how: Evaluation, place: str) -> Settled:
    """Read the model's configuration and tokenizer, no weights; raises ModelError, or ConfigError for its sampling."""
    if isinstance(how.sampling, ServedAgents):
        return Settled(how, job.template)
    source = ModelSource(
        path=place,
        revision=None,
        dtype="float32" if job.dtype == "auto" else job.dtype,
        attn=None,
        keep_layers=None,
        trust_remote_code=job.trust_remote_code,
    )
    tokenizer, (facts, generation) = source.load_tokenizer("student"), source.load_settings("student")
    if job.dtype == "auto":
        source = replace(source, dtype=own_dtype(facts, find_model_folder(source.name_or_path("student"), None), place))
    how, notes = apply_model_card(how, generation, place) if job.sampling == "model_card" else (how, [])
    return Settled(how, job.template.resolve(tokenizer), tuple(notes), source, tokenizer)


def own_dtype(config: PreTrainedConfig, folder: Path | None, place: str) -> Dtype:
    """The one that the model was saved in, by its configuration or its weights; raises ModelError."""
    named = getattr(config, "dtype", None) or getattr(config.get_text_config(), "dtype", None)
    if named is None and folder is not None:
        named = read_first_dtype(folder)
    said = None if named is None else str(named).removeprefix("torch.")
    for known in get_args(Dtype):
        if said == known:
            return known
    wanted = " or ".join(f"dtype={name}" for name in get_args(Dtype))
    what = "does not say in which dtype its weights are" if said is None else f"has its weights in {said}"
    raise ModelError(f"dtype: {place!r} {what}; type {wanted}")


def apply_model_card(how: Evaluation, generation: GenerationConfig, place: str) -> tuple[Evaluation, list[str]]:
    """Sampling as the model's generation_config.json says, and notes of what it says that tipx does not do.

    Raises ModelError if it says nothing, ConfigError where another samples.
    """
    backend = how.sampling.backend if isinstance(how.sampling, AgentRollouts) else how.sampling
    if not isinstance(backend, HFRollouts | VLLMRollouts):
        raise ConfigError(f"sampling=model_card: {type(backend).__name__} does not sample by it; type sampling=eval")
    numbers = card_sampling(generation, place)
    try:
        sampled = replace(backend, **numbers)
    except ValidationError as error:
        first = error.errors()[0]
        name, got = first["loc"][0], first["input"]
        raise ModelError(
            f"sampling=model_card: the generation_config.json of {place!r} has {name}={got!r:.40} ({first['msg']}); "
            "mend it, or type sampling=eval"
        ) from error
    sampling = replace(how.sampling, backend=sampled) if isinstance(how.sampling, AgentRollouts) else sampled
    ignored = {name: getattr(generation, name, None) for name in UNUSED}
    notes = [
        f"the model card's {name}={value} is not applied"
        for name, value in ignored.items()
        if value is not None and value != UNUSED[name]
    ]
    return replace(how, sampling=sampling), notes


def card_sampling(generation: GenerationConfig, place: str) -> dict[str, Any]:
    """Temperature, top-p and top-k of a card; raises ModelError if it says nothing of sampling."""
    found = {name: getattr(generation, name, None) for name in CARD}
    if generation.do_sample is False:
        return OFF | {"temperature": 0.0}
    if all(value is None for value in found.values()):
        raise ModelError(
            f"sampling=model_card: the generation_config.json of {place!r} says no temperature, top_p or top_k; type "
            "sampling=eval"
        )
    return OFF | {name: value for name, value in found.items() if value is not None}
