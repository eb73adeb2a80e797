"""Training prompts from a table: a local file or folder, or one on the hub."""

from typing import Any

from tipx.data.layout import Columns, read_prompts
from tipx.data.table import DataTable, Place
from tipx.spec import PathText, spec
from tipx.types import Prompt


@spec
class FilePrompts:
    """Rows of a table, each a question (text or a chat) with or without a gold answer."""

    path: PathText | None
    """A file, a folder of parts, a pattern, or hf://datasets/OWNER/NAME/FILE. null takes the first of `hub` that can
    be had."""
    hub: tuple[PathText, ...]
    """Addresses of copies on the hub, tried in order where there is no `path`."""
    prompt_field: str | None
    """The column with the question. null finds it by its name."""
    answer_field: str | None
    """The column with the gold answer. null finds it by its name."""

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
