"""Whether a step will fit the device, as a check before the first step."""

import os

import torch

from tipx.errors import ModelError
from tipx.memory.layout import Layout
from tipx.memory.predict import predict_memory
from tipx.train.experiment import Experiment
from tipx.train.preflight import Finding

GIB = 2**30


def memory_finding(exp: Experiment) -> Finding:
    """The predicted peak of one process at the lengths' limits, against what the run's device has."""
    on_gpu = exp.hardware.device == "auto" and torch.cuda.is_available()
    there = torch.cuda.mem_get_info()[1] if on_gpu else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        prediction = predict_memory(exp, Layout(device="cuda" if on_gpu else "cpu"))
    except ModelError as error:
        return Finding("memory", "warning", f"it cannot be predicted: {error}")
    where = "the GPU" if on_gpu else "this machine"
    text = f"predicted peak {prediction.peak / GIB:.3g} GiB ({prediction.highest}); {where} has {there / GIB:.3g}"
    if prediction.peak <= there:
        return Finding("memory", "ok", text)
    remedy = "try hardware.micro_batch=1, hardware.gradient_checkpointing=true, a smaller rollout.batch_size"
    return Finding("memory", "warning", f"{text}; {remedy}; `tipx memory` shows more")
