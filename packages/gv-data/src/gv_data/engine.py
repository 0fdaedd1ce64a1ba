"""One function over many items: in threads of this machine, or on a Ray cluster.

The work is the same function in both cases. GDAL and the compiled loops let other threads run while
they work, so threads serve as well as processes and start at once.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from itertools import islice
from typing import Literal

from gv_data.errors import DataError

type Engine = Literal["local", "ray"]

_WAITING = 4
"""Items that each worker has before it: it never waits, and little is lost when all ends."""


def mapped[T, R](
    work: Callable[[T], R], items: Iterable[T], *, engine: Engine = "local", workers: int = 1
) -> Iterator[tuple[T, R]]:
    """Do the work on each item.

    Args:
        work: What to do; for Ray it and the items must be picklable.
        items: Taken as they are needed.
        engine: Where.
        workers: How many at once; on Ray, how many tasks there may be at a time.

    Yields:
        Each item with its result, as they are done. What the work raises is raised here.

    Raises:
        DataError: If Ray is asked for and not installed.

    Examples:
        >>> sorted(mapped(abs, [-1, 2], workers=2))
        [(-1, 1), (2, 2)]
    """
    match engine:
        case "local":
            return _in_threads(work, items, workers)
        case "ray":
            return _on_ray(work, items, workers)


def _in_threads[T, R](
    work: Callable[[T], R], items: Iterable[T], workers: int
) -> Iterator[tuple[T, R]]:
    pool = ThreadPoolExecutor(workers)
    coming = iter(items)
    try:
        running = {pool.submit(work, item): item for item in islice(coming, _WAITING * workers)}
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                item = running.pop(future)
                running |= {pool.submit(work, more): more for more in islice(coming, 1)}
                yield item, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _on_ray[T, R](
    work: Callable[[T], R], items: Iterable[T], workers: int
) -> Iterator[tuple[T, R]]:
    try:
        import ray
    except ImportError:
        raise DataError('the engine ray needs Ray: uv add "gv-data[ray]"') from None
    if not ray.is_initialized():
        ray.init(address="auto", log_to_driver=False)
    # a node that dies takes its tasks with it: they are done again elsewhere
    task = ray.remote(max_retries=-1)(lambda item: work(item))  # a partial is no function to Ray
    coming = iter(items)
    running = {task.remote(item): item for item in islice(coming, _WAITING * workers)}
    while running:
        done, _ = ray.wait(list(running), num_returns=1)
        for reference in done:
            item = running.pop(reference)
            running |= {task.remote(more): more for more in islice(coming, 1)}
            yield item, ray.get(reference)
