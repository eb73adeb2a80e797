"""`tipx eval`: which model, which benchmark, and how."""

from dataclasses import replace
from typing import Self

from pydantic import model_validator

from tipx.evals import Benchmark, Evaluation
from tipx.evals.suite import Suite, check_answers
from tipx.models import Template
from tipx.spec import Count, Samples, Seed, spec
from tipx.world import Hardware


@spec
class EvalJob:
    """One evaluation, as composed from `conf/eval.yaml`. `checkpoint` is `last` or a step, for a run.

    `n` and `limit` are short for those of `eval`. `trust_remote_code` is as in `ModelSource`; a run, which may
    be somebody else's, does not lend it.
    """

    benchmark: Benchmark | Suite
    eval: Evaluation
    template: Template
    hardware: Hardware
    checkpoint: str | int
    n: Samples | None
    limit: Count | None
    seed: Seed
    trust_remote_code: bool

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_answers(self.benchmark, self.how)
        return self

    @property
    def how(self) -> Evaluation:
        """The evaluation with `n` and `limit`, where they are given."""
        return replace(self.eval, n=self.n or self.eval.n, limit=self.limit or self.eval.limit)
