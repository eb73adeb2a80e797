"""Rollouts from a script, for tests: no sampling, exact token ids."""

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tipx.rollout import RolloutRequest
from tipx.rollout.collect import collect
from tipx.rollout.hf import eos_ids
from tipx.spec import Count, spec
from tipx.types import Rollout


@spec
class ScriptedRollouts:
    """Row r of the step gets `responses[r % len(responses)]`, encoded without special tokens, then eos."""

    responses: tuple[str, ...]
    """Texts that stand for samples, for tests and worked examples."""
    max_new_tokens: Count
    """Tokens of a response; a longer text is cut."""

    @property
    def records_states(self) -> bool:
        return False

    @property
    def gives_logprobs(self) -> bool:
        return False

    def __call__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, request: RolloutRequest) -> Rollout:
        texts = [self.responses[row % len(self.responses)] for row in request.rows]
        ids = [tokenizer(text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id] for text in texts]
        cut = [i[:n] for i, n in zip(ids, request.limits_within(self.max_new_tokens), strict=True)]
        return collect(request.prompts, cut, eos_ids(model, tokenizer), model.device)
