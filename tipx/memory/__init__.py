"""Peak memory and time of one training step, predicted: no GPU, no weights, no network.

The real modules run on fake tensors with 2 and 4 layers; memory is a straight line in layers, so a deeper model is read
off it.
"""

from tipx.memory.devices import GIB, find_device
from tipx.memory.layout import Layout
from tipx.memory.predict import Prediction, predict_memory
from tipx.memory.report import make_folder, memory_tables, save_report, time_tables
from tipx.memory.table import memory_frame

__all__ = [
    "GIB",
    "Layout",
    "Prediction",
    "find_device",
    "make_folder",
    "memory_frame",
    "memory_tables",
    "predict_memory",
    "save_report",
    "time_tables",
]
