"""`tipx eval`: which model, which benchmark, and how."""

from dataclasses import replace

from tipx.evals import Benchmark, Evaluation
from tipx.evals.suite import Suite
from tipx.models import Template
from tipx.spec import Count, Whole, spec
from tipx.world import Hardware


@spec
class EvalJob:
    """One evaluation, as composed from `conf/eval.yaml`. `checkpoint` is `last` or a step, for a run.

    `n` and `limit` are short for those of `eval`. `trust_remote_code` is a model folder's, as in `ModelSource`; a run
    lends its student's.
    """

    benchmark: Benchmark | Suite
    eval: Evaluation
    template: Template
    hardware: Hardware
    checkpoint: str | int
    n: Count | None
    limit: Count | None
    seed: Whole
    trust_remote_code: bool = False

    @property
    def how(self) -> Evaluation:
        """The evaluation with `n` and `limit`, where they are given."""
        return replace(self.eval, n=self.n or self.eval.n, limit=self.limit or self.eval.limit)
