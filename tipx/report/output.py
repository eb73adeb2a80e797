"""A report's files."""

import io
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from tipx.errors import ReportError
from tipx.files.atomic import claim_place, disk_errors, write_text
from tipx.report import formats
from tipx.report.page import page
from tipx.report.table import Table

TEXTS = ("table.md", "table.tex", "table.csv", "index.html")
KINDS = ("png", "pdf", "svg")


def save(table: Table, figures: dict[str, Figure], folder: Path, made: str, *, chosen: bool = False) -> list[Path]:
    """Write every format into `folder`, the page last. The figures are empty then, so that few are in memory.

    Raises ReportError for a folder that cannot be made.
    In one that the user has `chosen`, raises RunError where a file of another's would be written over.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReportError(f"{folder}: cannot make that folder ({error.strerror}); give another with --out") from error
    if chosen:
        claim_place(folder, [*TEXTS, *(f"{name}.{kind}" for name in figures for kind in KINDS)])
    texts = {"table.md": formats.markdown(table), "table.tex": formats.latex(table), "table.csv": formats.csv(table)}
    for name, text in texts.items():
        write_text(folder / name, text)
    paths, inline = [folder / name for name in texts], {}
    for name, figure in figures.items():
        # Laid out once: each format is then drawn once, without a drawing before it to lay out.
        figure.draw_without_rendering()
        figure.set_layout_engine(None)
        inline[name] = as_svg(figure)
        for kind in KINDS:
            paths.append(folder / f"{name}.{kind}")
            save_figure(figure, paths[-1], kind)
        figure.clear()
    write_text(folder / "index.html", page(table, inline, texts, made))
    return [*paths, folder / "index.html"]


def save_figure(figure: Figure, path: Path, kind: str) -> None:
    aside = path.with_name(f".{path.name}.tmp")
    with disk_errors(path), mpl.rc_context({"pdf.fonttype": 42, "svg.hashsalt": "tipx"}):
        # Without a date the same report is the same file.
        meta = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}[kind]
        figure.savefig(aside, format=kind, dpi=200, metadata=meta)
        aside.replace(path)


def as_svg(figure: Figure) -> str:
    """For a page: without a background, and with its text in the colour of the page's."""
    held = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": figure.get_label() or "tipx"}):
        figure.savefig(held, format="svg", transparent=True, metadata={"Date": None})
    text = held.getvalue()
    return text[text.index("<svg") :].replace("#000000", "currentColor").replace("#333333", "currentColor")
