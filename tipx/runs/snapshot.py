"""Everything about the tokens of one step, as arrays: what `tipx inspect` and `tipx tokens` read. Needs no torch.

Axes: B responses of the step, N their tokens one response after another without padding, M the tokens of the first
responses, those that are shown, k likeliest tokens.

The file is a compressed npz: rollouts/000050.npz. Statistics are the fp32 values that the selector saw, so that
any rule can be replayed to the same weights.
"""

import io
import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tipx.errors import RunError
from tipx.files.atomic import damaged

FORMAT = 2
"""Format 1 also held the prompts, which nothing reads."""
ARRAYS = ("lengths_B", "tokens_N", "valid_N", "weights_N")
LEADERS = 5
"""Tokens of each model that are kept with their probabilities at every place shown."""
ROLES = ("student", "teacher")

UNREADABLE = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, MemoryError, NotImplementedError),
    *(RecursionError, OverflowError, SyntaxError, zipfile.BadZipFile, zlib.error),
)
"""What reading a file that is damaged ends in."""

Floats = NDArray[np.float32]
Ids = NDArray[np.uint32]


@dataclass(frozen=True)
class Snapshot:
    """One sampled step.

    A response reaches to its last token that the student sampled; `valid_N` says which of its tokens are: results of
    tools are not, and have no statistics (0) and no weight. `stats` are in nats, by the names of `TokenStats`.
    `top_ids` and `top_probs` are (M, k) by role, 0 at tokens that are not valid; `pieces` is the text of every id used.
    """

    seed: int
    step: int
    lengths_B: NDArray[np.int64]
    tokens_N: Ids
    valid_N: NDArray[np.bool_]
    weights_N: Floats
    stats: dict[str, Floats]
    top_ids: dict[str, Ids]
    top_probs: dict[str, Floats]
    pieces: dict[int, str]

    @property
    def ends_B(self) -> NDArray[np.int64]:
        """Where each response ends among the N."""
        return np.cumsum(self.lengths_B)

    def slice(self, row: int) -> slice:
        """The tokens of a response among the N."""
        end = int(self.ends_B[row])
        return slice(end - int(self.lengths_B[row]), end)

    def grid(self, values_N: NDArray[np.generic]) -> NDArray[np.generic]:
        """Values as (B, T), right-padded with 0: the shape in which a rule sees a step."""
        out_BT = np.zeros((len(self.lengths_B), int(self.lengths_B.max(initial=0))), dtype=values_N.dtype)
        out_BT[np.arange(out_BT.shape[1]) < self.lengths_B[:, None]] = values_N
        return out_BT

    def to_bytes(self) -> bytes:
        """The content of its file."""
        meta = {"format": FORMAT, "seed": self.seed, "step": self.step}
        arrays = {name: getattr(self, name) for name in ARRAYS}
        arrays |= {f"stats/{name}": values for name, values in self.stats.items()}
        for role in ROLES:
            arrays |= {f"top_ids/{role}": self.top_ids[role], f"top_probs/{role}": self.top_probs[role]}
        for name, value in (("meta", meta), ("pieces", self.pieces)):
            arrays[name] = np.frombuffer(json.dumps(value).encode(), dtype=np.uint8)
        out = io.BytesIO()
        np.savez_compressed(out, **arrays)
        return out.getvalue()

    @classmethod
    def read(cls, path: Path) -> "Snapshot":
        """From a file; raises RunError when it is damaged, or of a later format."""
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            meta, pieces = (json.loads(arrays.pop(name).tobytes()) for name in ("meta", "pieces"))
            if meta["format"] not in range(1, FORMAT + 1):
                raise RunError(
                    f"{path}: expected format 1 to {FORMAT}, got {meta['format']}; use the tipx that wrote it"
                )
            groups: dict[str, dict[str, NDArray[np.generic]]] = {"stats": {}, "top_ids": {}, "top_probs": {}}
            for name in [name for name in arrays if "/" in name]:
                group, _, rest = name.partition("/")
                groups[group][rest] = arrays.pop(name)
            texts = {int(token): str(text) for token, text in pieces.items()}
            seed, step = int(meta["seed"]), int(meta["step"])
            plain = {name: arrays[name] for name in ARRAYS}
            made = cls(seed=seed, step=step, pieces=texts, **groups, **plain)  # type: ignore[arg-type]
            made.check()
        except UNREADABLE as error:
            raise damaged(path, str(error), "inspect another step, or train the run again with --fresh") from error
        return made

    def check(self) -> None:
        """Raises ValueError unless the arrays fit together."""
        tokens, shown = int(self.lengths_B.sum()), {len(values) for values in self.tops}
        columns = [self.tokens_N, self.valid_N, self.weights_N, *self.stats.values()]
        if any(values.shape != (tokens,) for values in columns) or (self.lengths_B < 0).any():
            raise ValueError("its columns are not of one length")
        if len(shown) != 1 or max(shown) > tokens or {*self.top_ids, *self.top_probs} != {*ROLES}:
            raise ValueError("its likeliest tokens are not those of its tokens")

    @property
    def tops(self) -> list[NDArray[np.generic]]:
        """Ids and probabilities of the likeliest tokens."""
        return [*self.top_ids.values(), *self.top_probs.values()]
