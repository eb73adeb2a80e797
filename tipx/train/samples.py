"""What is kept of a sampled step: a few rollouts to be read, and every token's statistics to replay any rule on."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from tipx.runs.snapshot import LEADERS, Snapshot
from tipx.train import step_metrics as metrics
from tipx.train.dealing import Dealing
from tipx.train.session import Session
from tipx.train.trainer import ScoredTokens, TopTokens
from tipx.types import STATISTICS, Rollout, TokenStats, response_ends


def keep(
    session: Session,
    step: int,
    dealing: Dealing,
    rollout: Rollout,
    scored: ScoredTokens,
    stats: TokenStats,
    weights_BT: Float[Tensor, "B T"],
) -> None:
    """Write the files of a sampled step, rollouts/NNNNNN.npz and .jsonl; every process calls it, before the update.

    `rollout` and `stats` are this process's rows, `weights_BT` those of the whole step. What the selector did without
    is computed here, apart from what trains: nothing else in the run depends on being sampled.
    """
    world, few = session.world, session.exp.loop.sample_count
    more = session.trainer.rescore(rollout, scored.teacher, STATISTICS.difference(stats.computed()))
    own = dict(stats.computed()) | dict(more.computed())
    whole = {name: dealing.gather_BT(world, own[name]) for name in sorted(own)}
    tokens_BT = dealing.gather_BT(world, rollout.response_BT)
    valid_BT = dealing.gather_BT(world, rollout.valid_BT.long()).bool()
    own_numbers: Sequence[Mapping[str, float]] = rollout.numbers or [{}] * len(rollout)
    known = dealing.gather_list(world, list(zip(rollout.prompt_ids, rollout.stop_reasons, own_numbers, strict=True)))
    leading = find_leading(session, dealing, rollout, scored)
    if not world.is_main:
        return
    decode = session.pair.tokenizer.decode
    prompts, stops, numbers = zip(*known, strict=True)
    first = Rollout(prompts[:few], tokens_BT[:few], valid_BT[:few], stops[:few])
    seen = TokenStats(**{name: whole[name][:few] for name in stats.computed()})
    rows = metrics.samples(first, seen, weights_BT, decode, few)
    asked = [session.questions[i] for i in session.chosen(step, range(len(rows)))]
    rows = [row | {"id": question.id, "answer": question.answer} for row, question in zip(rows, asked, strict=True)]
    if rollout.numbers:  # an agent's task has no answer, it has a score
        rows = [row | {"score": of_row["score"]} for row, of_row in zip(rows, numbers[:few], strict=True)]
    lengths_B, places = np.array(response_ends(valid_BT)), inside(valid_BT)
    made = Snapshot(
        seed=session.exp.seed,
        step=step,
        lengths_B=lengths_B,
        tokens_N=array(tokens_BT[places], np.uint32),
        valid_N=array(valid_BT[places], np.bool_),
        weights_N=array(weights_BT[places], np.float32),
        stats={name: array(values_BT[places], np.float32) for name, values_BT in whole.items()},
        **tops(leading, valid_BT[: len(rows)]),
        pieces={},
    )
    made.pieces.update(pieces(decode, [made.tokens_N, *made.top_ids.values()]))
    session.run.save_samples(step, rows, made.to_bytes())


def find_leading(session: Session, dealing: Dealing, rollout: Rollout, scored: ScoredTokens) -> TopTokens:
    """The likeliest tokens at every valid place of the step's first rows; each process finds those of its own."""
    world, few = session.world, session.exp.loop.sample_count
    shown_B = torch.tensor([row < few for row in dealing.rows[world.rank]], device=rollout.valid_BT.device)
    own = session.trainer.find_top_tokens(rollout, scored.teacher, rollout.valid_BT & shown_B[:, None], LEADERS)
    counts = [count if shown else 0 for count, shown in zip(rollout.lengths, shown_B.tolist(), strict=True)]
    tops = own.student_ids_Mk, own.student_probs_Mk, own.teacher_ids_Mk, own.teacher_probs_Mk
    # As arrays, since a part of a tensor is sent with the whole of it.
    parts = [[part_Mk.numpy() for part_Mk in top_Mk.split(counts)] for top_Mk in tops]
    step = dealing.gather_list(world, list(zip(*parts, strict=True)))
    return TopTokens(*(torch.from_numpy(np.concatenate(same)) for same in zip(*step, strict=True)))


def inside(valid_BT: Bool[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
    """The places of every response up to its end, valid or not."""
    return torch.arange(valid_BT.shape[1])[None] < torch.tensor(response_ends(valid_BT))[:, None]


def array(values_N: Tensor, dtype: Any) -> NDArray[Any]:
    return values_N.cpu().numpy().astype(dtype)


def tops(leading: TopTokens, valid_BT: Bool[Tensor, "B T"]) -> dict[str, dict[str, NDArray[Any]]]:
    """`top_ids` and `top_probs` of a snapshot, from the valid places of the rows that are shown."""

    def spread(values_Mk: Tensor) -> Tensor:
        out_BTk = torch.zeros(*valid_BT.shape, values_Mk.shape[1], dtype=values_Mk.dtype)
        out_BTk[valid_BT] = values_Mk
        return out_BTk[inside(valid_BT)]

    ids = {"student": leading.student_ids_Mk, "teacher": leading.teacher_ids_Mk}
    probs = {"student": leading.student_probs_Mk, "teacher": leading.teacher_probs_Mk}
    return {
        "top_ids": {role: array(spread(ids_Mk), np.uint32) for role, ids_Mk in ids.items()},
        "top_probs": {role: array(spread(probs_Mk), np.float32) for role, probs_Mk in probs.items()},
    }


def pieces(decode: Callable[[list[int]], Any], used: Sequence[NDArray[np.uint32]]) -> dict[int, str]:
    """The text of every id used, by itself."""
    every = np.unique(np.concatenate([ids.ravel() for ids in used]))
    return {int(token): str(decode([int(token)])) for token in every}
