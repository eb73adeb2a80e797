"""The memory check of `tipx preflight`: what is predicted against what there is."""

import os

import pytest

from tipx.config import build, load
from tipx.memory import Layout, predict_memory
from tipx.memory.finding import memory_finding

GIB = 2**30


@pytest.mark.parametrize(("share", "level"), [(1.01, "ok"), (0.99, "warning")])
def test_the_peak_is_held_against_the_machine(share: float, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    exp = build(load(["hardware.device=cpu"]))
    peak = predict_memory(exp, Layout(device="cpu")).peak
    there = {"SC_PHYS_PAGES": round(peak * share), "SC_PAGE_SIZE": 1}
    monkeypatch.setattr(os, "sysconf", there.__getitem__)
    found = memory_finding(exp)
    assert (found.check, found.level) == ("memory", level)
    assert found.text.startswith(f"predicted peak {peak / GIB:.3g} GiB (")
    assert ("hardware.gradient_checkpointing=true" in found.text) == (level == "warning")
