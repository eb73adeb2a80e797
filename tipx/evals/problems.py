"""A benchmark in a table: on the hub, in several known copies, or in a file of the user's."""

import re
from dataclasses import replace

from tipx.data.layout import CONTROL, Columns, read_prompts
from tipx.data.table import DataTable, Place
from tipx.errors import DataError
from tipx.grading.answers import plain_answer
from tipx.spec import PathText, Size, Words, spec
from tipx.types import Prompt


@spec
class Problems:
    """A table of problems with gold answers."""

    name: Words
    """The benchmark's name in results, reports and metric keys, and of its file in a folder `eval.path`."""
    size: Size
    """How many problems the table must have; another number is refused."""
    integers: bool
    """Whether every gold answer is a whole number from 0 to 999; a table with another one is refused."""
    hub: tuple[PathText, ...]
    """Addresses of known copies on the hub, tried in order where there is no `eval.path`."""
    prompt_field: str | None
    """The column with the question. null finds it by its name."""
    answer_field: str | None
    """The column with the gold answer. null finds it by its name."""

    def place(self, path: str | None) -> Place:
        """Where the table may be; a `path` comes before the hub."""
        return Place("eval.path", self.name, path, self.hub, shared=True)

    def load(self, path: str | None) -> list[Prompt]:
        """Every problem, in order; raises DataError when they cannot be had, or are not what they should be."""
        return self.read(self.place(path).find())

    def source(self, path: str | None) -> str:
        """Where `load` reads from."""
        return self.place(path).find().origin

    def read(self, table: DataTable) -> list[Prompt]:
        """The problems of a table, checked; raises DataError."""
        columns = Columns(self.prompt_field, self.answer_field)
        problems = [self.checked(p, table) for p in read_prompts(table.rows(), columns, table.key, table.origin)]
        if len(problems) != self.size:
            raise DataError(
                f"benchmark.size: expected {self.size} problems of {self.name}, {table.origin!r} has {len(problems)}; "
                f"give the whole set by {table.key}=FILE, or say that it has so many: benchmark.size={len(problems)} "
                "(limit=N takes the first N)"
            )
        return problems

    def checked(self, problem: Prompt, table: DataTable) -> Prompt:
        """The problem, if it has a readable text and the kind of answer it must have; raises DataError."""
        where = f"{table.key}: {table.origin!r}, problem {problem.id!r}"
        text = "\n".join([*(turn.text for turn in problem.before), problem.text])
        if found := CONTROL.search(text):
            near = text[max(found.start() - 20, 0) : found.end() + 20]
            raise DataError(
                f"{where}: a control character in {near!r}, where a copy lost a backslash; take another copy"
            )
        if problem.answer is None:
            raise DataError(f"{where}: has no answer; set benchmark.answer_field to the column that has it")
        if not self.integers:
            return problem
        # One public copy has "336^\circ".
        answer = plain_answer(problem.answer)
        if not re.fullmatch(r"\d{1,3}", answer):
            raise DataError(
                f"{where}: expected a whole number from 0 to 999, got {problem.answer!r}; take another copy"
            )
        return replace(problem, answer=answer)
