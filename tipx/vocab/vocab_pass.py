"""One pass over the vocabulary gives log-sum-exps, entropies and KL divergences, and never holds a whole row of logits.

At one token let s and t be the logits of student and teacher, and p and q their softmax over the V entries. Then

    lse(s) = log sum_v e^(s_v)
    H(p) = lse(s) - E_p[s]
    KL(p || q) = E_p[s] - E_p[t] - lse(s) + lse(t)

and the same with the two models exchanged. So the pass needs the two log-sum-exps and the four expectations E_p[s],
E_p[t], E_q[t], E_q[s]. All are sums over v. The pass adds them up over tiles of columns and keeps only a few vectors of
shape (N,). Of the statistics only the JSD needs a second pass.

e^s overflows for large logits. As in online softmax (arXiv 1805.02867), every sum is therefore relative to the maximum
m of the logits seen so far. Where a tile raises the maximum from m to m', old sums are multiplied by e^(m-m') <= 1.
Logits of +-1e4 then neither overflow nor lose precision. The tiles must cover every column exactly once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from tipx.vocab.buffers import TileBuffers
from tipx.vocab.compiled import Runner
from tipx.vocab.fold import OnlineSums, fold_both_models, fold_one_model
from tipx.vocab.heads import Hidden
from tipx.vocab.support import RunningTopK


@dataclass(frozen=True)
class Tiles:
    """How a (rows x vocabulary) tensor is cut: slices of rows and of columns.

    With `keeps`, the logits of one tile of rows are kept for all columns, so that a second reading of them makes no
    second product. The last slice of columns may go beyond the vocabulary: its logits there are -inf. `run` is how a
    function of `fold` is run on a tile.
    """

    rows: Sequence[slice]
    columns: Sequence[slice]
    keeps: bool
    run: Runner


@dataclass(frozen=True)
class RowTile:
    """Logits of both models at the rows of one tile, by tiles of columns. A tile lasts until the next one is made.

    With `keeps` all of them last, until the next `RowTile` of the same buffers.
    """

    student: Hidden
    teacher: Hidden
    tiles: Tiles
    buffers: TileBuffers
    made: dict[str, Float[Tensor, "N C"]] = field(default_factory=dict)

    def make_logits(self, role: Literal["student", "teacher"], columns: slice) -> Float[Tensor, "N C"]:
        """The logits of one model at some columns. Who keeps them must not write to what he will read again."""
        hidden = self.student if role == "student" else self.teacher
        if not self.tiles.keeps:
            return hidden.logits_tile(columns, self.buffers, role)
        name = f"{role} {columns.start}"
        if name not in self.made:
            self.made[name] = hidden.logits_tile(columns, self.buffers, name)
        return self.made[name]

    def sum_both_models(self, tops: Sequence[RunningTopK] = ()) -> tuple[OnlineSums, OnlineSums]:
        """The sums of student and teacher from one head product of each. Updates each of `tops`."""
        sums: tuple[OnlineSums, OnlineSums] | None = None
        for part in self.tiles.columns:
            student_NC, teacher_NC = self.make_logits("student", part), self.make_logits("teacher", part)
            for top in tops:
                top.update(student_NC, teacher_NC, part.start)
            sums = sums or (OnlineSums.empty(student_NC[:, 0]), OnlineSums.empty(teacher_NC[:, 0]))
            sums = self.tiles.run(fold_both_models, student_NC, teacher_NC, *sums)
        if sums is None:
            raise ValueError("the vocabulary has no entries")
        return sums


def sum_one_model(hidden: Hidden, tiles: Tiles, buffers: TileBuffers, top: RunningTopK | None = None) -> OnlineSums:
    """The sums of one model, with `cross` left at 0. `top` is updated with every tile, if given."""
    sums: OnlineSums | None = None
    for part in tiles.columns:
        logits_NC = hidden.logits_tile(part, buffers, "student")
        if top is not None:
            top.update(logits_NC, logits_NC, part.start)
        sums = tiles.run(fold_one_model, logits_NC, sums or OnlineSums.empty(logits_NC[:, 0]))
    if sums is None:
        raise ValueError("the vocabulary has no entries")
    return sums
