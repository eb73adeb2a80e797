"""`tipx eval`: which model, which benchmark, and how."""

from tipx.evals import Benchmark, Evaluation
from tipx.evals.suite import Suite
from tipx.models import Template
from tipx.spec import Count, Whole, spec
from tipx.world import Hardware


@spec
class EvalJob:
    """One evaluation, as composed from `conf/eval.yaml`. `checkpoint` is `last` or a step, for a run."""

    benchmark: Benchmark | Suite
    eval: Evaluation
    template: Template
    hardware: Hardware
    checkpoint: str | int
    n: Count
    limit: Count | None
    seed: Whole
