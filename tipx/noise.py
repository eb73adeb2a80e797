"""Counter-based random draws: each is a pure function of (seed, step, stream, row, token).

An ordinary generator has a state, so a draw depends on everything that was drawn before. Here nothing has a state. The
generator of a row is made anew from the key (seed, step, hash of the stream, row), and token t gets its t-th draw. So a
draw does not depend on padding, on micro-batches or on the number of processes. A resumed run draws the same numbers
without a saved generator state. Two uses of one key would get the same numbers, so each use takes a stream of its own.
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
    """Uniform draws in [0, 1). `stream` separates their uses ("rollout", "pick", ...)."""

    seed: int
    step: int = 0
    stream: str = ""

    def substream(self, stream: str) -> "Noise":
        """An independent stream of the same seed and step. Streams nest, as folders do."""
        return replace(self, stream=f"{self.stream}/{stream}")

    def draw_rows(self, rows: Sequence[int], length: int) -> Float[Tensor, "R L"]:
        """`length` draws for each row. A row is an index in the whole step, over all processes.

        The first draws of a row do not change when `length` grows.
        """
        key = [self.seed, self.step, crc32(self.stream.encode())]
        draws = [np.random.default_rng([*key, row]).random(length) for row in rows]
        return torch.from_numpy(np.stack(draws) if draws else np.zeros((0, length)))

    def draw_tokens(self, valid_BT: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
        """One draw (float64) for each valid token, 0 elsewhere. Row b must be row b of the whole step.

        A token's number is its rank among the valid tokens of its row, so padding moves no draw.
        """
        valid = valid_BT.cpu()
        rank_BT = (valid.long().cumsum(-1) - 1).clamp(min=0)
        draws_BT = self.draw_rows(range(len(valid)), valid.shape[-1]).gather(-1, rank_BT)
        return (draws_BT * valid).to(valid_BT.device)

    def draw_permutation(self, n: int) -> list[int]:
        """The numbers 0 to n - 1 in random order."""
        key = [self.seed, self.step, crc32(self.stream.encode())]
        return [int(i) for i in np.random.default_rng(key).permutation(n)]
