"""Live bytes by what they are for, from the operators that make tensors and the moment their storages die.

Works on fake tensors, which have sizes and lifetimes but no data. Autograd's saved tensors, autocast's cached copies
and an optimizer's temporaries are storages like any other, so they are counted when and as long as they live.
"""

import weakref
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Parts = dict[str, int]
"""Bytes by part: what the memory is for."""

AWAY = {"teacher on the CPU", "student on the CPU"}
"""Parts that rest on the CPU while the device is another one. They are known, and in no peak."""
INHERITS = {torch.ops.aten.cat.default: "cache", torch.ops.aten._to_copy.default: "student"}  # noqa: SLF001
"""A cache that grows is a cache again, and autocast's copy of a weight is a weight, whenever they are made."""


class Tracker(TorchDispatchMode):
    """Counts while it is entered. `begin` opens a section; `peaks` holds the parts of each at its highest moment.

    A new storage belongs to the section's own part, unless the operator passes its input's part on (`INHERITS`).
    """

    def __init__(self) -> None:
        super().__init__()
        self.live: Counter[str] = Counter()
        self.peaks: dict[str, Parts] = {}
        self.section, self.part = "", "activations"
        self._known: dict[int, tuple[str, int]] = {}
        self._total = self._highest = 0

    def begin(self, section: str, part: str) -> None:
        """What follows is `section`, where a new tensor is counted as `part`."""
        self.section, self.part = section, part
        self._highest = sum(size for name, size in self.peaks.get(section, {}).items() if name not in AWAY)
        self._note()

    def tag(self, tensors: Iterable[Tensor | None], part: str) -> None:
        """Count these tensors' storages as `part` from now on. A part in `AWAY` is not on the device."""
        for key in {id(tensor.untyped_storage()) for tensor in tensors if tensor is not None}:
            if key in self._known:
                old, size = self._known[key]
                self.live[old] -= size
                self.live[part] += size
                self._total += size * ((old in AWAY) - (part in AWAY))
                self._known[key] = part, size

    def ignore(self, tensors: Iterable[Tensor]) -> None:
        """Count these tensors' storages no more: they stand for something that is elsewhere."""
        for tensor in tensors:
            self._forget(tensor)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        part = self._part_of(func, args)
        out = func(*args, **(kwargs or {}))
        if self._accumulates(func, args):
            self._forget(args[0])
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._add(tensor, part)
        return out

    def _accumulates(self, func: Any, args: tuple[Any, ...]) -> bool:
        """A sum of two gradients of the vocabulary, which autograd makes in place unless a mode like this watches."""
        if func is not torch.ops.aten.add.Tensor or self.part != "vocabulary" or torch.is_grad_enabled():
            return False
        return all(isinstance(arg, Tensor) and arg.shape == args[0].shape for arg in args)

    def _forget(self, old: Tensor) -> None:
        """Its bytes are another tensor's from now on."""
        key = id(old.untyped_storage())
        part, size = self._known[key]
        self._known[key] = part, 0
        self.live[part] -= size
        self._total -= size

    def _part_of(self, func: Any, args: tuple[Any, ...]) -> str:
        wanted = INHERITS.get(func)
        # In the vocabulary's tiles a slice of the head is cast anew each time: a temporary, not a cached copy.
        if wanted is None or self.part != "activations":
            return self.part
        keys = [id(tensor.untyped_storage()) for tensor in tree_leaves(args) if isinstance(tensor, Tensor)]
        return wanted if any(self._known.get(key, ("", 0))[0] == wanted for key in keys) else self.part

    def _add(self, tensor: Tensor, part: str) -> None:
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key in self._known:
            return
        self._known[key] = part, size
        self.live[part] += size
        self._total += size
        weakref.finalize(storage, self._drop, key).atexit = False
        self._note()

    def _drop(self, key: int) -> None:
        part, size = self._known.pop(key)
        self.live[part] -= size
        self._total -= 0 if part in AWAY else size

    def _note(self) -> None:
        if self._total > self._highest or self.section not in self.peaks:
            self._highest = self._total
            self.peaks[self.section] = dict(self.live)
