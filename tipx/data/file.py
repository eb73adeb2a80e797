"""Training prompts from a table: a local file or folder, or one on the hub."""

from typing import Any

from tipx.data.layout import Columns, read_prompts
from tipx.data.table import DataTable, Place
from tipx.spec import PathText, spec
from tipx.types import Prompt


@spec
class FilePrompts:
    """Rows of `path`, or of the first of the `hub` addresses that can be had.

    `prompt_field` and `answer_field` name the columns; null finds them. A question is text, or
    a chat.
    """

    path: PathText | None
    hub: tuple[PathText, ...]
    prompt_field: str | None
    answer_field: str | None

    @property
    def place(self) -> Place:
        """Where the table may be."""
        return Place("data.path", "prompts", self.path, self.hub)

    def load(self) -> list[Prompt]:
        """Every row; raises DataError when the file cannot be had, lacks the columns, or a row has no question."""
        return self.read(self.place.find())

    def record(self) -> dict[str, Any]:
        """The files that `load` reads; raises DataError."""
        return self.place.find().record()

    def read(self, table: DataTable) -> list[Prompt]:
        """The prompts of a table; raises DataError."""
        return read_prompts(table.rows(), Columns(self.prompt_field, self.answer_field), "data.path", table.origin)
