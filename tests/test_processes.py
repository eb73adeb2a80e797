"""What is kept for the life of the process, and how the processes find each other."""

import sys
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.conftest import make_hardware
from tipx import processes
from tipx.processes import keep_process_group, take_fsdp_wish


@pytest.mark.parametrize("there", [True, False])
def test_a_process_group_is_never_freed(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    group = object()
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: there)
    monkeypatch.setattr(torch.distributed, "group", SimpleNamespace(WORLD=group))
    before = sys.getrefcount(group)
    keep_process_group()
    assert sys.getrefcount(group) - before == int(there)


@pytest.mark.parametrize("typed", ["true", "True", "1", "yes"])
def test_use_fsdp_is_a_wish_that_accelerate_does_not_hear(typed: str) -> None:
    environ = {"ACCELERATE_USE_FSDP": typed, "FSDP_VERSION": "2"}
    assert take_fsdp_wish(environ)
    assert environ == {"FSDP_VERSION": "2"}


@pytest.mark.parametrize("environ", [{}, {"ACCELERATE_USE_FSDP": "false"}, {"ACCELERATE_USE_FSDP": ""}])
def test_without_use_fsdp_there_is_no_wish(environ: dict[str, str]) -> None:
    assert not take_fsdp_wish(environ)
    assert environ == {}


def test_processes_wait_for_each_other_as_long_as_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    class Stand:
        device, process_index, num_processes, is_main_process = torch.device("cpu"), 0, 1, True

        def __init__(self, *, kwargs_handlers: list[Any], **_others: object) -> None:
            given.extend(kwargs_handlers)

    monkeypatch.setattr(processes, "Accelerator", Stand)
    make_hardware(timeout_min=90).start("no")
    assert [handler.to_kwargs() for handler in given] == [{"timeout": timedelta(minutes=90)}]
