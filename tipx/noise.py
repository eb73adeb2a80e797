"""Random draws that are a pure function of (seed, step, stream, row, token).

Nothing here has a state, so a draw does not depend on padding, micro-batches or the number of processes, and a resumed
run needs no generator state to go on exactly as it would have.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Noise:
    """A family of uniform draws in [0, 1); `stream` separates uses ("rollout", "pick", ...)."""

    seed: int
    step: int = 0
    stream: str = ""

    def substream(self, stream: str) -> "Noise":
        """The same seed and step, another independent stream."""
        return replace(self, stream=f"{self.stream}/{stream}")

    def draw_rows(self, rows: Sequence[int], length: int) -> Float[Tensor, "R L"]:
        """`length` draws for each row (its index in the whole step); longer asks keep the shorter one's draws."""
        key = [self.seed, self.step, crc32(self.stream.encode())]
        draws = [np.random.default_rng([*key, row]).random(length) for row in rows]
        return torch.from_numpy(np.stack(draws) if draws else np.zeros((0, length)))

    def draw_tokens(self, valid_BT: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
        """One draw for each valid token (float64, row b is row b of the step); 0 elsewhere."""
        valid = valid_BT.cpu()
        rank_BT = (valid.long().cumsum(-1) - 1).clamp(min=0)
        draws_BT = self.draw_rows(range(len(valid)), valid.shape[-1]).gather(-1, rank_BT)
        return (draws_BT * valid).to(valid_BT.device)

    def draw_permutation(self, n: int) -> list[int]:
        """A random order of n things."""
        key = [self.seed, self.step, crc32(self.stream.encode())]
        return [int(i) for i in np.random.default_rng(key).permutation(n)]
