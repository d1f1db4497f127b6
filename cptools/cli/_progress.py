"""Progress on stderr: bars on a terminal, a line now and then elsewhere; alone imports rich."""

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextvars import copy_context
from datetime import timedelta
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, TypeVar, cast

from cptools.cli._app import say

if TYPE_CHECKING:
    from cptools.workflows.progress import Track

EVERY = 30.0  # seconds between lines in a log

Item = TypeVar("Item")


def bar(*, quiet: bool) -> "Track":
    """How progress of the library is shown."""
    return cast("Track", partial(track, quiet=quiet))


def track(
    items: Iterable[Item],
    *,
    total: int | None,
    describe: Callable[[Item], str],
    label: str = "",
    quiet: bool = False,
) -> Iterator[Item]:
    """Pass items through; show a bar if stderr is a terminal, and else a line every 30 seconds.

    Args:
        items: e.g. the metrics of a long computation.
        total: their number; None if unknown.
        describe: formats the latest item, shown after the bar.
        label: shown before the bar.
        quiet: whether to show nothing.
    """
    if quiet or sys.stderr is None:
        yield from items
        return
    if not sys.stderr.isatty():
        yield from _logged(items, total, describe, label)
        return

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        Remaining(),
        TextColumn("{task.fields[latest]}", markup=False),
        console=Console(stderr=True),
        transient=True,  # stages of a pipe share the terminal
        redirect_stdout=False,  # it carries data
    )
    with progress:
        task = progress.add_task(label, total=total, rate="", latest="")
        for item in items:
            speed = progress.tasks[0].speed
            progress.update(task, advance=1, rate=_rate(speed), latest=describe(item))
            yield item


def _logged(
    items: Iterable[Item], total: int | None, describe: Callable[[Item], str], label: str
) -> Iterator[Item]:
    """Pass items through; say every `EVERY` seconds how far they are, also while one takes long."""
    start, num, latest = monotonic(), 0, ""
    ended, here = threading.Event(), copy_context()

    def tell() -> None:
        while not ended.wait(EVERY):
            here.run(say, _line(label, num, total, monotonic() - start, latest))

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        for item in items:
            num, latest = num + 1, describe(item)
            yield item
    finally:
        ended.set()
        teller.join()


def _line(label: str, num: int, total: int | None, seconds: float, latest: str) -> str:
    """Such as `pretraining: 3 of 40 after 0:01:30, about 0:18:30 left; loss 4.125`."""
    far = f"{num}" if total is None else f"{num} of {total}"
    line = f"{label}: {far} after {_clock(seconds)}"
    if total is not None and num:
        line += f", about {_clock(seconds / num * (total - num))} left"
    return f"{line}; {latest}" if latest else line


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _rate(speed: float | None) -> str:
    """Items per second, or seconds per item."""
    if not speed:
        return ""
    return f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each"
