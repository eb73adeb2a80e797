"""The tests with the real vLLM: `make test-engine`. Where it is not installed they are not collected."""

from importlib.util import find_spec
from pathlib import Path

import pytest

collect_ignore_glob = ["test_*.py"] if find_spec("vllm") is None else []

# vLLM looks at every attribute of every module, also at this one.
OF_VLLM = "ignore:`torch.distributed.reduce_op` is deprecated:FutureWarning"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.filterwarnings(OF_VLLM))
