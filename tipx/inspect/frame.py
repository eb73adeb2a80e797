"""Every token of a sampled step as one row of a frame."""

import numpy as np
import pandas as pd

from tipx.inspect.quadrants import Thresholds
from tipx.runs.reader import SampledStep


def token_frame(step: SampledStep) -> pd.DataFrame:
    """N rows, the responses of the step one after another, in the order of `Snapshot`.

    rollout, position    which response of the step, and where in it, from 0
    token, text          its id, and the text of it
    valid                whether the student sampled it; what tools said has no statistics (0), no weight
    quadrant             1 to 4, at the run's own quantiles over the step; 0 where not valid
    weight, kept         its weight in the loss of the run's own rule, and whether that is above 0
    and every statistic that the step saved, in nats: student_entropy, reverse_kl, student_logprob, ...
    """
    snapshot = step.snapshot
    lengths_B = snapshot.lengths_B
    columns = {
        "rollout": np.repeat(np.arange(len(lengths_B)), lengths_B),
        "position": np.arange(len(snapshot.tokens_N)) - np.repeat(snapshot.ends_B - lengths_B, lengths_B),
        "token": snapshot.tokens_N.astype(np.int64),
        "text": [snapshot.pieces.get(token) for token in snapshot.tokens_N.tolist()],
        "valid": snapshot.valid_N,
        "quadrant": Thresholds.of_step(step).quadrants(snapshot),
        "weight": snapshot.weights_N,
        "kept": snapshot.weights_N > 0,
    }
    return pd.DataFrame(columns | dict(sorted(snapshot.stats.items())))
