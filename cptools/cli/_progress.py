"""Progress bars on stderr; the only module that imports rich."""

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:
    from cptools.workflows.progress import Track

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
    """Pass items through; show a bar if stderr is a terminal.

    Args:
        items: e.g. the metrics of a long computation.
        total: their number; None if unknown.
        describe: formats the latest item, shown after the bar.
        label: shown before the bar.
        quiet: whether to show nothing.
    """
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield from items
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


def _rate(speed: float | None) -> str:
    """Items per second, or seconds per item."""
    if not speed:
        return ""
    return f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each"
