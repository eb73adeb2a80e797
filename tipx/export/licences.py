"""Under which licence a model is, as far as what lies on this machine says."""

import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import yaml
from huggingface_hub import try_to_load_from_cache

from tipx.models.locate import AGENTS, PAIR

UNKNOWN = "unknown: check"
LOCAL = ("/", ".", "~")


def shown_name(path: str) -> str:
    """A model or file as a card may name it: what a folder of one's own is called, not where it is."""
    return Path(path).name if path.startswith(LOCAL) or Path(path).exists() else path


def find_licence(path: str) -> str:
    """Of a model path: its card's, beside it or in the hub's cache, or its package's; UNKNOWN if none says."""
    scheme, _, name = path.partition(":")
    if scheme == "embedded":
        return card_licence((AGENTS if name.startswith("agent/") else PAIR) / "README.md")
    if scheme == "package":
        return package_licence(name)
    try:
        local = Path(path).expanduser()
    except RuntimeError:  # the home of somebody who is not here
        return UNKNOWN
    if local.exists():
        return card_licence((local if local.is_dir() else local.parent) / "README.md")
    if path.startswith(LOCAL) or path.count("/") != 1:
        return UNKNOWN
    cached = try_to_load_from_cache(path, "README.md")
    return card_licence(Path(cached)) if isinstance(cached, str) else UNKNOWN


def card_licence(card: Path) -> str:
    """`license` in the front matter of a model card."""
    found = re.match(r"---\n(.*?)\n---", card.read_text(errors="replace"), re.DOTALL) if card.is_file() else None
    try:
        matter = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError:
        return UNKNOWN
    named = matter.get("license_name") or matter.get("license") if isinstance(matter, dict) else None
    return str(named) if named else UNKNOWN


def package_licence(name: str) -> str:
    """What an installed package's metadata says."""
    try:
        facts = metadata(name.replace("_", "-"))
    except PackageNotFoundError:
        return UNKNOWN
    said = [facts[key] for key in ("License-Expression", "License") if key in facts]
    return said[0].lower() if said and "\n" not in said[0] else UNKNOWN
