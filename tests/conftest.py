"""One thread, one hypothesis profile, and the markers of what is left out here."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # of the BLAS of numpy, too, and of processes that tests start

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)  # same sums in the same order, and no fight for the cores
settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("ci")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "long" not in config.option.markexpr:
        long = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]
    lacking = {}
    if not torch.cuda.is_available():
        lacking["gpu"] = pytest.mark.skip(reason="needs a CUDA device")
    if not os.environ.get("CPTOOLS_DATA"):
        lacking["data"] = pytest.mark.skip(reason="needs CPTOOLS_DATA")
    for item in items:
        for marker, skip in lacking.items():
            if marker in item.keywords:
                item.add_marker(skip)
