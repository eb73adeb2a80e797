"""`tipx eval`: which model, which benchmark, and how."""

from dataclasses import replace
from typing import Literal, Self

from pydantic import model_validator

from tipx.evals import Benchmark, Evaluation
from tipx.evals.suite import Suite, check_answers
from tipx.models.pair import Dtype, Template
from tipx.processes import Hardware
from tipx.spec import Auto, Count, Samples, Seed, spec


@spec
class EvalJob:
    """One evaluation, as composed from `conf/eval.yaml`."""

    benchmark: Benchmark | Suite
    """The problems that are answered. A run's own benchmark is not taken over: type it."""
    eval: Evaluation
    """How they are answered: samples for each problem, limits, sampling."""
    template: Template
    """How a question becomes a prompt. A run brings its own; for a model folder the benchmark says it."""
    hardware: Hardware
    """Device and batch size. They change speed and memory, not which result it is."""
    checkpoint: str | int
    """Of a run: last, or the number of a step that has a checkpoint. A model folder has none."""
    n: Samples | None
    """Samples for each problem, short for eval.n. null leaves that as it is."""
    limit: Count | None
    """Only the first so many problems, short for eval.limit. null leaves that as it is."""
    seed: Seed
    """Seed of the sampling."""
    sampling: Literal["eval", "model_card"]
    """eval: as eval.sampling says. model_card: temperature, top-p and top-k are those of the model's
    generation_config.json."""
    dtype: Dtype | Auto
    """Of the weights: auto is the folder's own, or float32, bfloat16, float16."""
    trust_remote_code: bool
    """true runs the Python code that comes with the model, with all rights of the user. A run's own setting is not
    taken over."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_answers(self.benchmark, self.how)
        return self

    @property
    def how(self) -> Evaluation:
        """The evaluation with `n` and `limit`, where they are given."""
        return replace(self.eval, n=self.n or self.eval.n, limit=self.limit or self.eval.limit)
