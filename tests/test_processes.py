"""What is kept for the life of the process."""

import sys
from types import SimpleNamespace

import pytest
import torch

from tipx.processes import keep_process_group


@pytest.mark.parametrize("there", [True, False])
def test_a_process_group_is_never_freed(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    group = object()
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: there)
    monkeypatch.setattr(torch.distributed, "group", SimpleNamespace(WORLD=group))
    before = sys.getrefcount(group)
    keep_process_group()
    assert sys.getrefcount(group) - before == int(there)
