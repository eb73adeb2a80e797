"""A snapshot as one HTML page that loads itself again; it needs no network and runs no script."""

import base64
import hashlib
import math
import time
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tipx.errors import ConfigError
from tipx.files.atomic import refuse_others, write_text
from tipx.watch.state import Curve, WatchSnapshot
from tipx.watch.words import COLUMNS, summary_text

TEMPLATE = "page.html.j2"
WIDTH, HEIGHT, MARGIN = 120, 32, 3
"""Of a curve, in its own units."""


def save_page(snapshot: WatchSnapshot, out: Path, every_s: float | None) -> None:
    """Put the page in the place of `out`, whole.

    Raises ConfigError for a folder that is missing, and RunError for a file that tipx did not make.
    """
    if out.is_dir() or not out.parent.is_dir():
        raise ConfigError(f"{out}: expected a file in a folder that exists, for a page, e.g. --html watch.html")
    refuse_others(out)
    write_text(out, render_page(snapshot, every_s))


def render_page(snapshot: WatchSnapshot, every_s: float | None) -> str:
    """The file's content; it is loaded again every `every_s` seconds, or never."""
    style = asset("page.css")
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template(TEMPLATE).render(
        policy=f"default-src 'none'; style-src '{digest(style)}'; base-uri 'none'; form-action 'none'",
        # A browser takes whole seconds.
        every=None if every_s is None else max(math.ceil(every_s), 1),
        style=style,
        title=snapshot.title,
        made=time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(snapshot.time)),
        summary=summary_text(snapshot),
        alerts=snapshot.alerts,
        headings=list(COLUMNS),
        several=len({row.group for row in snapshot.rows}) > 1,
        rows=[
            {
                "row": row,
                "share": min(row.step / row.steps, 1.0) if row.steps else 0.0,
                "cells": [(heading, write(row)) for heading, write in COLUMNS.items()],
                "curves": [
                    (name, points)
                    for name, curve in (("loss", row.loss_curve), ("accuracy", row.accuracy_curve))
                    if (points := curve_points(curve))
                ],
            }
            for row in snapshot.rows
        ],
        width=WIDTH,
        height=HEIGHT,
    )


def curve_points(curve: Curve) -> str:
    """Points of an SVG polyline over the curve's own range; "" for fewer than two."""
    if len(curve) < 2:
        return ""
    steps, values = [step for step, _ in curve], [value for _, value in curve]
    low, high, first, last = min(values), max(values), min(steps), max(steps)
    across, up = (WIDTH - 2 * MARGIN) / max(last - first, 1), (HEIGHT - 2 * MARGIN) / ((high - low) or 1.0)
    pairs = [(MARGIN + (x - first) * across, HEIGHT - MARGIN - (y - low) * up) for x, y in curve]
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in pairs) if all(map(math.isfinite, sum(pairs, ()))) else ""


def digest(text: str) -> str:
    """How a content security policy names an element's text."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def asset(name: str) -> str:
    """A file that lies beside this one."""
    return (files("tipx.watch") / name).read_text(encoding="utf-8")
