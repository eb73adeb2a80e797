"""A run's checkpoint as a folder that others can check: the model and its card, what made it, and what was measured.

tipx writes a folder and says the command that uploads it. It uploads nothing itself: what was public once stays public,
so somebody looks through the folder before. Nor does it need the network, or a token of the hub, that way.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from tipx.display.plots import learning_curve
from tipx.errors import RunError
from tipx.export.model import write_model
from tipx.export.scrub import Scrubber
from tipx.files.atomic import read_text, write_json, write_text
from tipx.files.names import wrong_path
from tipx.runs.reader import StoredRun, open_run

CONFIG, METRICS, PROVENANCE = "run_config.yaml", "metrics.jsonl", "provenance.json"
"""The configuration has a name of its own: a folder with a `config.yaml` of tipx would be taken for a run."""
CURVE, PAGE = "curve.png", "report.html"
TOLD = {
    "run": ("starts", "choices", "overrides", "guard", "data"),
    "start": ("argv", "commit", "dirty", "versions", "python", "platform", "device", "cores", "processes", "strategy"),
}
"""What is told of the provenance; what else somebody noted there is not."""


@dataclass(frozen=True)
class PublishPlace:
    """Where a published model goes: a folder, and its name on the hub where it has one."""

    folder: Path
    hub_id: str | None

    @classmethod
    def of(cls, text: str) -> "PublishPlace":
        """`owner/name` is a name on the hub, and its folder `name` here; all else is a folder. Raises RunError."""
        if wrong := wrong_path(text):
            raise RunError(f"--to: {wrong}")
        if "://" in text:
            raise RunError(f"--to {text}: expected a folder, or a name on the hub such as me/my-model")
        owner, slash, name = text.partition("/")
        if not slash or "/" in name or not name or owner in ("", ".", "..") or owner[0] == "~" or Path(owner).is_dir():
            return cls(Path(text), None)
        try:
            validate_repo_id(text)
        except HFValidationError as error:
            reason = str(error).split(": ")[0].rstrip(".")
            raise RunError(f"--to {text}: no name on the hub ({reason}); for a folder type ./{text}") from error
        return cls(Path(name), text)


@dataclass(frozen=True)
class Published:
    """What was written, and how much was taken out of it, by kind."""

    run: StoredRun
    step: int
    place: PublishPlace
    report: str | None
    reports: list[str]
    removed: Counter[str]

    @property
    def upload(self) -> str:
        """The command that uploads it."""
        return f"hf upload {self.place.hub_id or 'OWNER/NAME'} {self.place.folder} ."


def publish_run(name: str, to: str, which: str, report: str | None, runs_dir: Path, *, force: bool) -> Published:
    """Write the folder. Raises RunError as `export_model` does, and for a report that does not show the run."""
    place, run = PublishPlace.of(to), open_run(name, runs_dir)
    reports = find_reports(run)
    page = choose_report(run, reports, report)
    private = Scrubber.for_texts_in(run.tree, run.provenance, str(runs_dir.resolve()), str(place.folder.resolve()))
    # What cannot be read is said before anything is written.
    add = partial(add_record, run=run, page=None if page is None else read_text(page), private=private)
    step = write_model(run, place.folder, which, force=force, also=add)
    chosen = None if page is None else page.parent.name
    return Published(run, step, place, chosen, sorted(reports), private.removed)


def add_record(folder: Path, *, run: StoredRun, page: str | None, private: Scrubber) -> None:
    """What a published folder has besides the model; texts that are there lose what is private too."""
    for file in sorted(folder.glob("*.json")):
        clean_model_file(file, private)
    card = folder / "README.md"
    write_text(card, private.text(read_text(card)))
    write_text(folder / CONFIG, yaml.safe_dump(private.tree(run.tree), sort_keys=False))
    write_text(folder / METRICS, "".join(json.dumps(private.tree(row)) + "\n" for row in run.rows))
    write_json(folder / PROVENANCE, private.tree(told_provenance(run)))
    if run.rows:
        figure = learning_curve(run)
        figure.suptitle("")  # the card names the run
        figure.savefig(folder / CURVE, format="png")
    if page is not None:
        write_text(folder / PAGE, private.text(page))


def told_provenance(run: StoredRun) -> dict[str, Any]:
    """The provenance, of its own keys alone."""
    starts = [{key: start[key] for key in TOLD["start"] if key in start} for start in run.starts]
    told = {key: run.provenance[key] for key in TOLD["run"] if key in run.provenance}
    return told | {"run": run.name, "starts": starts}


def clean_model_file(file: Path, private: Scrubber) -> None:
    """Takes out where a model or tokenizer was loaded from. All else is the model: texts of tokens look like paths."""
    text = read_text(file)
    spot = re.compile(r'("[\w]*name_or_path"\s*:\s*")((?:[^"\\]|\\.)*)(")')
    clean = spot.sub(lambda found: found[1] + json.dumps(private.word(json.loads(f'"{found[2]}"')))[1:], text)
    if clean != text:
        write_text(file, clean)


def find_reports(run: StoredRun) -> dict[str, Path]:
    """Pages of the group's reports that show this run, by the report's name."""
    pages = sorted((run.path.parent / "report").glob("*/index.html"))
    return {page.parent.name: page for page in pages if run.name in read_text(page)}


def choose_report(run: StoredRun, reports: dict[str, Path], name: str | None) -> Path | None:
    """The page of that name, or the only one; raises RunError for one that is not there or does not show the run."""
    if name is None:
        return next(iter(reports.values())) if len(reports) == 1 else None
    if name not in reports:
        there = f"there are {', '.join(reports)}" if reports else f"make one: tipx report {run.group}"
        raise RunError(f"--report {name}: no report of that name shows {run.name}; {there}")
    return reports[name]
