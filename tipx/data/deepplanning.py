"""DeepPlanning's journeys as a training set, and how its tasks are asked."""

from collections.abc import Sequence

from tipx.deepplanning.tasks import AnyTask, Tasks
from tipx.spec import PathText, spec
from tipx.types import Prompt


@spec
class TravelPrompts(Tasks):
    """DeepPlanning's tasks as prompts to train on."""

    path: PathText | None
    """The folder of the benchmark's data. null is the user's cache, which `tipx data pull deepplanning` fills."""

    def load(self) -> list[Prompt]:
        """Raises DataError when the data cannot be had."""
        return prompts(self.choose(self.path, "data").tasks)


def prompts(tasks: Sequence[AnyTask]) -> list[Prompt]:
    return [Prompt(task.id, task.query, task.answer, task) for task in tasks]
