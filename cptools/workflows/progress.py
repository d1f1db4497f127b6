"""Progress of long work: a bar in a notebook, silence in a script, or what the caller brings."""

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

Item = TypeVar("Item")


class Track(Protocol):
    """Passes items through and may show progress."""

    def __call__(
        self,
        items: Iterable[Item],
        *,
        total: int | None,
        describe: Callable[[Item], str],
        label: str,
    ) -> Iterator[Item]:
        """Pass items through.

        Args:
            items: e.g. the metrics of a long computation.
            total: their number; None if unknown.
            describe: formats the latest item.
            label: of the bar.
        """


Progress = bool | Track | None
"""None: a bar in a notebook and none elsewhere; True or False: a bar or none; or one's own."""


def tracker(progress: Progress) -> Track:
    """What `progress`, a parameter of the public functions, stands for.

    Raises:
        ValueError: it cannot be called.
    """
    if progress is None:
        return _bar if _is_notebook() else _silent
    if isinstance(progress, bool):
        return _bar if progress else _silent
    if not callable(progress):
        raise ValueError(
            f"`progress` {progress!r} draws nothing; give True, False, None or a function such as"
            " `cptools.workflows.progress.Track` describes"
        )
    return progress


def _silent(items: Iterable[Item], **_: Any) -> Iterator[Item]:
    yield from items


def _bar(
    items: Iterable[Item], *, total: int | None, describe: Callable[[Item], str], label: str
) -> Iterator[Item]:
    from tqdm.auto import tqdm

    with tqdm(total=total, desc=label, leave=False) as bar:
        for item in items:
            bar.set_postfix_str(describe(item), refresh=False)
            bar.update()
            yield item


def _is_notebook() -> bool:
    """Whether a notebook's kernel runs this, which IPython in a terminal is not."""
    ipython = sys.modules.get("IPython")
    shell = ipython and ipython.get_ipython()
    return bool(shell) and type(shell).__name__ == "ZMQInteractiveShell"
