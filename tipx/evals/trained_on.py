"""Which problems of a benchmark a run has trained on, looked up when it is evaluated.

What the guard could not read when the run began may be here now.
"""

from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from tipx import config
from tipx.data import PromptSource, used_indices
from tipx.data.file import FilePrompts
from tipx.errors import ConfigError, DataError
from tipx.evals.contamination import overlapping_ids, problem_hashes
from tipx.evals.exam import Exam
from tipx.files.atomic import damaged
from tipx.models.pair import Template
from tipx.runs.directory import UNNEEDED, Run
from tipx.runs.metrics_file import Row
from tipx.types import Prompt


class TrainedPrompts:
    """The prompts of a run's first `steps` steps, as far as its training set can be read without network.

    Making one raises DataError where it cannot, and ConfigError for a configuration that is none.
    """

    def __init__(self, run: Run, steps: int, tokenizer: PreTrainedTokenizerBase, config_dir: Path | None) -> None:
        made = run.config()
        parts = {key.split(".")[-1]: run.need(made, key, dict) for key in ("data", "model.template")}
        built = config.rebuild(parts, config_dir)
        self.prompts, self.longest = (run.need(made, f"loop.{key}", int) for key in ("prompts", "max_prompt_tokens"))
        self.template: Template = built["template"]
        self.steps, self.seed, self.tokenizer = steps, run.need(made, "seed", int), tokenizer
        left_out = dropped_ids(run)
        self.questions = [question for question in load_offline(built["data"]) if question.id not in left_out]

    def among(self, problems: Sequence[Prompt]) -> list[str]:
        """Ids of the problems that were trained on."""
        known = problem_hashes(problems)
        if not any(problem_hashes([question]) & known for question in self.questions):
            return []
        encoded = [
            (question, len(self.template.encode_prompt(self.tokenizer, question))) for question in self.questions
        ]
        fit = [question for question, length in encoded if 0 < length <= self.longest]
        used = used_indices(len(fit), self.steps, self.prompts, self.seed)
        return overlapping_ids(problems, [fit[i] for i in used])


def find_trained_problems(
    run: Run, step: int, tokenizer: PreTrainedTokenizerBase | None, exams: Sequence[Exam], config_dir: Path | None
) -> list[Row]:
    """Of each benchmark the ids of problems that were trained on, or why these are not known."""
    if tokenizer is None:
        return [{} for _ in exams]
    try:
        trained = TrainedPrompts(run, step, tokenizer, config_dir)
    except (DataError, ConfigError) as error:
        return [{"unchecked": str(error)} for _ in exams]
    return [{"trained_on": trained.among(exam.problems)} for exam in exams]


def dropped_ids(run: Run) -> set[str]:
    """Ids of prompts that the guard left out when the run began; raises Damaged."""
    noted = run.provenance().get("guard") or {}
    lists = noted.get("dropped", {}) if isinstance(noted, dict) else None
    if not isinstance(lists, dict) or not all(isinstance(ids, list) for ids in lists.values()):
        raise damaged(run.path / "provenance.json", "its guard does not say what was left out", UNNEEDED)
    return {str(one) for ids in lists.values() for one in ids}


def load_offline(data: PromptSource) -> list[Prompt]:
    """A training set that is on this machine; raises DataError."""
    if not isinstance(data, FilePrompts):
        return data.load()
    table = data.place.offline()
    if table is None:
        raise DataError("data: its training set is not on this machine; `tipx data pull` fetches it")
    return data.read(table)
