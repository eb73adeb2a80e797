"""Pick by sampling in proportion to the score."""

from jaxtyping import Bool, Float
from torch import Tensor

from tipx.noise import Noise
from tipx.selectors.budget import Budget
from tipx.spec import spec


@spec
class Sample(Budget):
    """Keep tokens that are drawn without replacement, with probability proportional to the score.

    This is the Gumbel top-k trick (Efraimidis and Spirakis 2006; arXiv 1903.06059). With g = -log(-log u), u uniform,
    the k largest values of log(score) + g are distributed like k draws one after another without replacement. Tokens of
    score 0 get -inf and come last, in their order, so the number of kept tokens is always exact.
    """

    def __call__(
        self, score_BT: Float[Tensor, "B T"], valid_BT: Bool[Tensor, "B T"], noise: Noise
    ) -> Float[Tensor, "B T"]:
        uniform_BT = noise.draw_tokens(valid_BT).clamp(min=1e-300)
        gumbel_BT = -(-uniform_BT.log()).log()
        return self.keep_highest(score_BT.double().log() + gumbel_BT, valid_BT)
