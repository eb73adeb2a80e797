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
    """One evaluation, as composed from `conf/eval.yaml`. `checkpoint` is `last` or a step, for a run.

    `n` and `limit` are short for those of `eval`. `sampling=model_card` takes temperature, top-p and top-k from the
    model's generation_config.json. `dtype` is that of the weights; auto is the folder's own. `trust_remote_code` is as
    in `ModelSource`; a run, which may be somebody else's, does not lend it.
    """

    benchmark: Benchmark | Suite
    eval: Evaluation
    template: Template
    hardware: Hardware
    checkpoint: str | int
    n: Samples | None
    limit: Count | None
    seed: Seed
    sampling: Literal["eval", "model_card"]
    dtype: Dtype | Auto
    trust_remote_code: bool

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_answers(self.benchmark, self.how)
        return self

    @property
    def how(self) -> Evaluation:
        """The evaluation with `n` and `limit`, where they are given."""
        return replace(self.eval, n=self.n or self.eval.n, limit=self.limit or self.eval.limit)
