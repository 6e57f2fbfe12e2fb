"""Work that several processes share."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

from engine.locks import end_with

Item, Result = TypeVar("Item"), TypeVar("Result")


def each(
    function: Callable[[Item], Result], items: Iterable[Item], processes: int
) -> Iterator[Result]:
    """Yield what a function makes of each item, in order; only a few results wait to be taken.

    The function must be one that can be pickled, unless there is a single process.
    """
    if processes == 1:
        yield from map(function, items)
        return
    # Processes of a pool would outlive a job that ends at once, as it does after a kill.
    with ProcessPoolExecutor(
        processes, get_context("forkserver"), initializer=end_with, initargs=[os.getpid()]
    ) as pool:
        waiting = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 4 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
