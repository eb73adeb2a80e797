"""Where a response ends, and the scripted backend."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerBase, Qwen3ForCausalLM

from tipx.errors import ConfigError
from tipx.noise import Noise
from tipx.rollout import RolloutRequest, Rollouts, check_call
from tipx.rollout.collect import collect, from_lists, left_pad
from tipx.rollout.scripted import ScriptedRollouts

CPU = torch.device("cpu")


def test_left_pad() -> None:
    ids_RL, mask_RL = left_pad([[5, 6, 7], [8]], 0, CPU)
    assert ids_RL.tolist() == [[5, 6, 7], [0, 0, 8]]
    assert mask_RL.tolist() == [[1, 1, 1], [0, 0, 1]]


def test_cut_after_the_first_end_which_stays() -> None:
    # 9 and 8 end a response; whatever follows is padding, also when it looks like tokens.
    rollout = collect([[1], [2], [3], [4]], [[5, 9, 9, 9], [5, 6, 7, 5], [8, 5, 9, 5], [9, 9, 9, 9]], [9, 8], CPU)
    assert rollout.lengths == [2, 4, 1, 1]
    assert rollout.stop_reasons == ("eos", "length", "eos", "eos")
    assert rollout.response_BT[rollout.valid_BT].tolist() == [5, 9, 5, 6, 7, 5, 8, 9]
    assert rollout.prompt_ids == ((1,), (2,), (3,), (4,))
    assert len(rollout) == 4


def test_an_end_at_the_last_place_is_no_cut() -> None:
    assert collect([[1]], [[5, 6, 9]], [9], CPU).stop_reasons == ("eos",)


def test_no_wider_than_the_longest_response() -> None:
    rollout = collect([[1], [2]], [[5, 9, 0, 0, 0, 0], [5, 6, 9, 0, 0, 0]], [9], CPU)
    assert rollout.valid_BT.tolist() == [[True, True, False], [True, True, True]]
    assert rollout.response_BT.tolist() == [[5, 9, 0], [5, 6, 9]]


def test_exact_responses() -> None:
    rollout = from_lists([[1], [2]], [[9, 9, 0], [7]], ["length", "eos"], CPU)
    assert rollout.response_BT.tolist() == [[9, 9, 0], [7, 0, 0]]
    assert rollout.lengths == [3, 1]
    assert rollout.stop_reasons == ("length", "eos")


def test_scripted(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
    scripted = ScriptedRollouts(responses=("start 31 .", "so 7", "then"), max_new_tokens=4)
    assert isinstance(scripted, Rollouts)
    # Row r takes text r % 3; "start 31 ." is four tokens, so its end of sequence is cut off.
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    request = RolloutRequest(prompts=[[3], [4], [5], [6]], rows=[0, 4, 2, 3], noise=Noise(0))
    rollout = scripted(model, tokenizer, request)
    texts = [tokenizer.decode(ids[valid]) for ids, valid in zip(rollout.response_BT, rollout.valid_BT, strict=True)]
    assert texts == ["start 31 .", "so 7 <eos>", "then <eos>", "start 31 ."]
    assert rollout.stop_reasons == ("length", "eos", "eos", "length")
    assert rollout.prompt_ids == ((3,), (4,), (5,), (6,))


def test_a_request_s_limits_count_where_they_are_smaller() -> None:
    request = RolloutRequest(prompts=[[3], [4], [5]], rows=[0, 1, 2], noise=Noise(0))
    assert request.limits_within(7) == [7, 7, 7]
    assert replace(request, limits=[1, 7, 9]).limits_within(7) == [1, 7, 7]


class SevenArguments(ScriptedRollouts):
    """As backends were written before there were requests."""

    def __call__(  # type: ignore[override]
        self,
        model: Any,
        tokenizer: Any,
        prompts: Any,
        rows: Any,
        noise: Any,
        *,
        states: bool = False,
        limits: Any = None,
    ) -> Any:
        raise AssertionError


def test_a_backend_of_the_old_seven_arguments_is_told_what_to_write() -> None:
    check_call(ScriptedRollouts(responses=("then",), max_new_tokens=4))
    with pytest.raises(
        ConfigError, match=r"SevenArguments takes other .*'rows'.*`def __call__\(self, model, tokenizer, req"
    ):
        check_call(SevenArguments(responses=("then",), max_new_tokens=4))
