"""Where cells are worked on: in this process, in processes beside it, or on a Dask cluster.

An engine takes tasks and gives their outcomes, in any order. A cell that takes its process down
with it is an outcome too.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from audit.errors import AuditError
from audit.study.cells import Task
from audit.study.keeping import record_failure
from audit.study.working import Outcome, end_with, finish, leave_interrupts

Engine = Callable[[Sequence[Task]], Iterator[Outcome]]
Work = Callable[[Task], Outcome]
ENGINES = ("processes", "here", "dask")
GONE = "its process died ({}): is there memory enough, or does a library crash?"
ANSWERS_WITHIN = "60s"
"""How long a Dask scheduler may take, on a machine that has much to do."""
DASK = "pip install 'pruning-audit[dask]'"


def make_engine(name: str, workers: int, address: str = "") -> Engine:
    """The engine of that name; with one worker, processes are this process."""
    if name not in ENGINES:
        raise AuditError(f"found engine '{name}'; expected one of {', '.join(ENGINES)}")
    if address and name != "dask":
        raise AuditError(f"found an address for engine '{name}'; only 'dask' has one")
    if name == "dask":
        return partial(on_dask, workers=workers, address=address)
    return partial(in_processes, workers=workers) if name == "processes" and workers > 1 else here


def here(tasks: Sequence[Task], work: Work = finish) -> Iterator[Outcome]:
    """One cell after another, in this process."""
    return map(work, tasks)


def in_processes(tasks: Sequence[Task], workers: int, work: Work = finish) -> Iterator[Outcome]:
    """Some cells at a time, each in a process that ends with this one."""
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    left = list(tasks)
    while left:
        try:
            for outcome in _pool(min(workers, len(left)), left, work):
                left = [task for task in left if task.cell.name != outcome.cell.name]
                yield outcome
        except TerminatedWorkerError:
            # Which of those in work ended the process is not known: each again, alone.
            for task in left[:workers]:
                yield _by_itself(task, work)
            left = left[workers:]


def _by_itself(task: Task, work: Work) -> Outcome:
    """A cell in a process of its own, whose end is the cell's failure."""
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    try:
        (outcome,) = _pool(1, [task], work)
        return outcome
    except TerminatedWorkerError as error:
        return _died(task, _signals(str(error)))


def _pool(workers: int, tasks: Sequence[Task], work: Work) -> Iterator[Outcome]:
    from joblib import Parallel, delayed

    # Two is the least that joblib does not run in this process; the second has nothing to do.
    pool = Parallel(
        n_jobs=max(2, workers),
        backend="loky",
        return_as="generator_unordered",
        pre_dispatch=workers,
        batch_size=1,
        initializer=end_with,
        initargs=(os.getpid(),),
    )
    found: Iterator[Outcome] = pool(delayed(work)(task) for task in tasks)
    return found


def _died(task: Task, how: str) -> Outcome:
    failure = record_failure(task, GONE.format(how))
    return Outcome(task.cell, reason=failure.reason)


def _signals(text: str) -> str:
    """The exit codes that loky tells, such as 'SIGKILL(-9)'."""
    inside = text.rpartition("{")[2].rpartition("}")[0]
    return inside if text.rstrip().endswith("}") and inside else "killed"


def on_dask(
    tasks: Sequence[Task], workers: int, address: str, work: Work = finish
) -> Iterator[Outcome]:
    """Cells on a Dask cluster: the one at the address, or one on this machine, on loopback.

    Every worker must see the study's folder under the same path. On a GPU, workers that declare
    the resource GPU get one cell a GPU.
    """
    try:
        from distributed import Client, LocalCluster, as_completed
    except ImportError as error:
        raise AuditError(f"engine 'dask' needs distributed; install it with: {DASK}") from error
    import dask

    if address:
        with _connected(Client, address) as client:
            yield from _submitted(client, tasks, as_completed, work)
        return
    with (
        # One death is enough to ask which of a worker's cells it was: see _submitted.
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            # What ends a worker is an outcome; its own log would be a traceback beside it.
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        client.run(leave_interrupts)
        yield from _submitted(client, tasks, as_completed, work)


def _connected(client: Any, address: str) -> Any:
    try:
        return client(address, timeout=ANSWERS_WITHIN)
    except (OSError, ValueError, TimeoutError) as error:
        raise AuditError(
            f"no Dask scheduler answers at '{address}'; start one with: dask scheduler"
        ) from error


def _submitted(
    client: Any, tasks: Sequence[Task], as_completed: Any, work: Work
) -> Iterator[Outcome]:
    """All cells at once; then those whose worker died, each with no other in work.

    A dead worker takes with it what else it was given: which cell ended it is not known.
    """
    from distributed import KilledWorker

    suspects = []
    for task, error, outcome in _finished(client, tasks, as_completed, work):
        if isinstance(error, KilledWorker):
            suspects.append(task)
        else:
            yield _outcome(task, error, outcome)
    for suspect in suspects:
        for task, error, outcome in _finished(client, [suspect], as_completed, work):
            yield _outcome(task, error, outcome)


def _outcome(task: Task, error: BaseException | None, outcome: Outcome | None) -> Outcome:
    return outcome if outcome is not None else _died(task, type(error).__name__)


def _finished(
    client: Any, tasks: Sequence[Task], as_completed: Any, work: Work
) -> Iterator[tuple[Task, BaseException | None, Outcome | None]]:
    """Every task with what ended it or what it found, in the order in which they end."""
    on_gpu = bool(tasks) and tasks[0].settings.training.device.startswith("cuda")
    known = client.scheduler_info()["workers"].values()
    declared = any("GPU" in worker.get("resources", {}) for worker in known)
    wanted = {"GPU": 1} if on_gpu and declared else None
    futures = {
        client.submit(work, task, pure=False, resources=wanted, retries=0): task for task in tasks
    }
    for future in as_completed(futures):
        error = future.exception() if future.status != "cancelled" else None
        if future.status == "cancelled":
            raise AuditError("the Dask scheduler is gone; finished cells are kept: run it again")
        if isinstance(error, AuditError):
            raise error
        yield futures.pop(future), error, None if error is not None else future.result()
