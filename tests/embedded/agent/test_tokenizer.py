"""The tokenizer and template of the errands: know every text, lose nothing, and chat."""

from pathlib import Path
from random import Random

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from tipx.agents.calls import HermesCalls
from tipx.agents.chat import Chat
from tipx.embedded.agent.build import encode_trajectory
from tipx.embedded.agent.family import ERRANDS, list_calls, write_trajectory
from tipx.embedded.agent.tokenizer import vocabulary
from tipx.embedded.agent.world import OFFERED, ErrandTask
from tipx.embedded.tokenizer import MAX_LENGTH

LONGEST = 100


def test_it_chats_and_fits(chat: Chat, tokenizer: PreTrainedTokenizerBase) -> None:
    chat.check(OFFERED)
    assert len(tokenizer) == len(vocabulary()) == 92
    assert tokenizer.padding_side == "left"
    assert tokenizer.model_max_length == MAX_LENGTH


def test_trajectories_come_back_unchanged_and_known(chat: Chat, tokenizer: PreTrainedTokenizerBase) -> None:
    rng = Random(0)
    for errand in ERRANDS.held_out(256):
        ids, _ = encode_trajectory(chat, errand, rng)
        assert tokenizer.unk_token_id not in ids
        assert len(ids) <= LONGEST
        assert tokenizer(tokenizer.decode(ids))["input_ids"] == ids


def test_calls_can_be_read_from_what_is_decoded(chat: Chat) -> None:
    for errand in ERRANDS.held_out(50):
        for turn, call in zip(write_trajectory(errand, Random(1)), list_calls(errand), strict=False):
            assert HermesCalls().read(chat.text(chat.encode(turn)), OFFERED) == [call]


def test_errors_are_known_words(chat: Chat) -> None:
    world = ErrandTask(ERRANDS.held_out(1)[0]).start()
    for name, arguments in (("x", {}), ("search_products", {}), ("add_product_to_cart", {"product_id": "cup"})):
        answer = world.call(name, arguments)
        assert chat.text(chat.encode(answer)) == answer


def test_it_is_the_same_when_loaded(chat: Chat, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    loaded = Chat(AutoTokenizer.from_pretrained(tmp_path), chat.ends)
    for errand in ERRANDS.held_out(20):
        assert encode_trajectory(loaded, errand, Random(2)) == encode_trajectory(chat, errand, Random(2))
