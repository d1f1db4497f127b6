"""Logs of training for TensorBoard: `log` of `cp.pretrain` and `cp.generate`.

They hold what an epoch or a round ended with, which is on the CPU by then: nothing is waited for.
Unlike artifacts they have clock and host in them, and nothing of them is in an artifact.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from cptools.workflows.doors import check_path
from cptools.workflows.progress import Track

Item = TypeVar("Item")

_STEPS = ("epoch", "round")  # the fields of metrics that count


def check_log(folder: "str | os.PathLike[str] | None") -> None:
    """Make sure, before long work, that a log can be written.

    Raises:
        ValueError: TensorBoard is not installed, or the folder is none and cannot be made.
    """
    if folder is None:
        return
    path = Path(check_path(folder, name="log"))
    if find_spec("tensorboard") is None:
        raise ValueError("`log` needs TensorBoard; run pip install 'cptools[tensorboard]'")
    place = path if path.exists() else path.parent
    if not place.is_dir():
        raise ValueError(f"`log`: {place} is no folder; give another")
    if not os.access(place, os.W_OK | os.X_OK):
        raise ValueError(f"`log`: the folder {place} is read-only; give another")


def logged(track: Track, folder: "str | os.PathLike[str] | None", work: Any) -> Track:
    """The same progress, which writes every metric to a log as it passes.

    Args:
        track: how progress is shown.
        folder: of the log; None: there is none.
        work: whose metrics are dataclasses with `epoch` or `round`; of its `learner`, if it has
            one, the learning rate is logged as well.
    """
    if folder is None:
        return track
    place = os.fspath(folder)

    def log(
        items: Iterable[Item], *, total: int | None, describe: Callable[[Item], str], label: str
    ) -> Iterator[Item]:
        with _writer(place) as writer:
            for item in track(items, total=total, describe=describe, label=label):
                step, values = scalars(item, work)
                for name, value in values.items():
                    writer.add_scalar(name, value, step)
                yield item

    return log


def scalars(metric: Any, work: Any) -> tuple[int, dict[str, float]]:
    """The number of a metric, and its values by the names they have in a log."""
    values = asdict(metric)
    (step,) = (values.pop(name) for name in _STEPS if name in values)
    values = {n: float(v) for n, v in values.items() if v is not None and not math.isnan(v)}
    learner = getattr(work, "learner", None)
    if learner is not None:
        values["lr"] = float(learner.optimizer.param_groups[0]["lr"])
    return step, values


def _writer(folder: str) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(folder)
