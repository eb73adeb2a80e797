"""From a question to runs: every point composed and checked before the first one starts."""

import hashlib
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tipx import config
from tipx.errors import ConfigError
from tipx.runs.place import run_path
from tipx.runs.sweep_folder import Point, SweepFolder
from tipx.sweep.question import SweepFile, read_sweep

HYDRA = ("hydra/", "hydra.", "+hydra.", "++hydra.")


@dataclass(frozen=True)
class Plan:
    """What was asked for: a sweep's points, where they go, and how they are launched. `command` is what was typed."""

    name: str
    description: str
    command: str
    board: SweepFolder
    points: tuple[Point, ...]
    settings: tuple[str, ...]
    config_dir: Path | None


def plan_sweep(words: Sequence[str], config_dir: Path | None = None) -> Plan:
    """`[NAME] [override ...]` as typed; raises ConfigError for what cannot be composed or built."""
    name, typed = (words[0], list(words[1:])) if words and not is_override(words[0]) else (None, list(words))
    if stray := [word for word in typed if not is_override(word)]:
        raise ConfigError(f"{stray[0]!r}: expected one sweep's name, then overrides KEY=VALUE; got a second name")
    settings = [word for word in typed if word.startswith(HYDRA)]
    typed = [word for word in typed if word not in settings]
    question, description = (SweepFile(), " ".join(typed)) if name is None else read_sweep(name, config_dir)
    if name is None and not typed:
        raise ConfigError("which sweep? Give a name of `tipx list sweeps`, or overrides such as selector=full,soft_or")
    group = (
        Path(name).stem if name is not None else f"sweep-{hashlib.sha256(json.dumps(typed).encode()).hexdigest()[:6]}"
    )
    if not any(config.key_of(word) == "group" for word in typed):
        typed.append(f"group={group}")
    composer = config.Composer(config_dir)
    found = [locate_point(overrides, composer) for overrides in question.combinations(typed, config_dir)]
    groups = {path.parent for path, _ in found}
    if len(groups) > 1:
        raise ConfigError(f"a sweep has one folder, these points have {len(groups)}: {', '.join(map(str, groups))}")
    points: dict[str, Point] = {}
    for _, point in found:
        points.setdefault(point.run, point)
    board, command = SweepFolder(groups.pop()), shlex.join(["tipx", "sweep", *words])
    return Plan(name or group, description, command, board, tuple(points.values()), tuple(settings), config_dir)


def is_override(word: str) -> bool:
    return "=" in word or word.startswith("~")


def locate_point(overrides: Sequence[str], composer: config.Composer) -> tuple[Path, Point]:
    """Where a point's run lies, and the point; building what it describes finds what cannot be."""
    cfg, choices = composer.compose(overrides)
    tree = config.resolve(cfg)
    config.build_resolved(cfg, tree, composer.config_dir)
    path = run_path(tree, choices)
    return path, Point(path.name, tuple(overrides), choices)
