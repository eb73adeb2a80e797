"""When an engine has to be given a student's weights again."""

from functools import partial
from pathlib import Path

import torch
from torch.distributed.device_mesh import init_device_mesh
from transformers import AutoModelForCausalLM

from tests.conftest import save_model
from tests.ranks import run_ranks
from tipx.rollout.engines import score_tokens, weights_version
from tipx.sharding import Sharding

UPDATES = 3


def follow_versions(folder: Path) -> list[list[tuple[int, int]]]:
    """The version of shared-out weights after each update, and after a forward pass more; with both ways to reshard."""
    torch.distributed.init_process_group("gloo")
    return [follow_updates(folder, reshard=reshard) for reshard in (True, False)]


def follow_updates(folder: Path, *, reshard: bool) -> list[tuple[int, int]]:
    model = AutoModelForCausalLM.from_pretrained(folder)
    Sharding(init_device_mesh("cpu", (2,)), None, reshard, offload=False).shard(model, offload=False)
    optimizer = torch.optim.AdamW(model.parameters())
    versions = []
    for _ in range(UPDATES):
        model(input_ids=torch.tensor([[3, 4, 5]])).logits.logsumexp(-1).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        updated = weights_version(model)[1]
        score_tokens(model, [3, 4, 5])
        versions.append((updated, weights_version(model)[1]))
    return versions


def test_the_version_of_shared_out_weights_changes_with_updates_alone(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "student", seed=5, layers=2)
    for of_rank in run_ranks(2, partial(follow_versions, folder), tmp_path / "ranks"):
        for versions in of_rank:
            assert [scored for _, scored in versions] == [updated for updated, _ in versions]
            assert len(dict(versions)) == UPDATES
