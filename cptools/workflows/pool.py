"""Processes for work on files: they import no torch, and bring what they began to its end."""

import logging
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Thread
from typing import Any, NamedTuple, TypeVar

Result = TypeVar("Result")

_large: AbstractContextManager[Any] = nullcontext()


class Pool(NamedTuple):
    """Who does the work.

    Attributes:
        executor: takes functions of modules, and what can be pickled.
        num: of processes.
    """

    executor: Executor
    num: int

    def in_order(self, work: "Iterable[Future[Result]]") -> Iterator[Result]:
        """The results of work in its order; it is begun a few at a time, as they are taken."""
        waiting: deque[Future[Result]] = deque()
        for future in work:
            waiting.append(future)
            while len(waiting) > 2 * self.num or (waiting and waiting[0].done()):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextmanager
def processes(num: int | None, *, most: int) -> Iterator[Pool]:
    """Processes for work on files.

    Args:
        num: of them; None: one for each core. One is this process itself.
        most: that there is work for.

    Raises:
        RuntimeError: one of them ended before its work did.
    """
    from cptools.artifacts.cores import cores

    num = max(1, min(num or cores(), most))
    if num == 1:
        yield Pool(_Here(), 1)
        return
    from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
    from multiprocessing import get_context

    context = get_context("spawn")  # a fork is not safe where there are threads
    executor = ProcessPoolExecutor(num, context, _start, (context.Lock(),))
    try:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which they inherit
        try:
            for _ in range(num):
                executor.submit(os.getpid)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        yield Pool(executor, num)
    except BrokenProcessPool:
        raise RuntimeError(
            "a process ended early, perhaps for want of memory; use fewer (`jobs`), and in a script"
            ' put the call below if __name__ == "__main__"'
        ) from None
    finally:
        executor.shutdown(cancel_futures=True)


def one_large() -> AbstractContextManager[Any]:
    """For work that takes much memory: one process at a time does it."""
    return _large


class _Here(Executor):
    """Does the work in this process, at once."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        return ended(function(*args, **kwargs))


def ended(result: Any) -> "Future[Any]":
    """Work that is done."""
    future: Future[Any] = Future()
    future.set_result(result)
    return future


def _start(large: AbstractContextManager[Any]) -> None:
    """Prepare a process: Ctrl-C is for its parent, and it ends when its parent does."""
    from multiprocessing import parent_process

    global _large
    _large = large
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger("cptools").addHandler(logging.NullHandler())  # results say what matters
    parent = parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    Thread(target=follow, daemon=True).start()
