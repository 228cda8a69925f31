"""Workers: results in order, errors told, and nothing left behind that could race with the interpreter's end."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lcspeech import Spotter
from lcspeech.errors import LcspeechError, UsageError
from lcspeech.evaluation.parallel import available_cores, interrupts_held, run_tasks


def double(spotter: Spotter, task: int) -> tuple[int, int]:
    return 2 * task, len(spotter.keywords)


def refuse(_: Spotter, task: int) -> int:
    raise UsageError(f"task {task} makes no sense")


def die(_: Spotter, task: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return task


def nothing_is_left(threads: set[threading.Thread]) -> bool:
    return set(threading.enumerate()) <= threads and not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [1, 2, 9])
def test_results_come_in_the_order_of_the_tasks(workers: int) -> None:
    before, done = set(threading.enumerate()), []
    results = run_tasks(double, [3, 1, 2], Spotter.load().replace(keywords=["yes", "no"]), workers, done.append)
    assert nothing_is_left(before)
    assert results == [(6, 2), (2, 2), (4, 2)]
    assert done == [3, 1, 2]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_task_comes_out_as_it_is(workers: int) -> None:
    before = set(threading.enumerate())
    with pytest.raises(UsageError, match=r"task . makes no sense"):
        run_tasks(refuse, [1, 2, 3], Spotter.load(), workers)
    assert nothing_is_left(before)


def test_a_killed_worker_is_told() -> None:
    before = set(threading.enumerate())
    with pytest.raises(LcspeechError, match=r"a worker process was killed.* fewer --workers"):
        run_tasks(die, [1, 2], Spotter.load(), 2)
    assert nothing_is_left(before)


def test_no_tasks() -> None:
    assert run_tasks(double, [], Spotter.load(), 4) == []
    assert available_cores() >= 1


SLEEPING = """
import os, time
from lcspeech import Spotter
from lcspeech.evaluation.parallel import run_tasks

def work(spotter, task):
    os.write(1, f"{task}\\n".encode())  # at once: the other writes, too
    time.sleep(60)

if __name__ == "__main__":
    try:
        run_tasks(work, [1, 2, 3, 4], Spotter.load("commands-tiny"), 2)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_ends_the_work_at_once_however_often_it_comes(tmp_path: Path, times: int) -> None:
    program = tmp_path / "sleeping.py"
    program.write_text(SLEEPING)
    command = [sys.executable, str(program)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        begun = {process.stdout.readline() for _ in range(2)}
        started = time.monotonic()
        for _ in range(times):
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            time.sleep(0.05)
        try:
            output, errors = process.communicate(timeout=30)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert begun == {b"1\n", b"2\n"}
    assert time.monotonic() - started < 20
    assert output == b"interrupted\n"
    assert errors == b"" or times > 1  # the last may come while Python ends


def test_an_interrupt_that_another_thread_takes_is_held(release: threading.Event) -> None:
    threading.Thread(target=release.wait).start()  # as those of libraries: the signal goes to any that does not hold it
    done = []

    def interrupted() -> None:
        with interrupts_held():
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(10):  # the interpreter looks between its steps
                time.sleep(0.01)
            done.append(True)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_thread_holds_no_handler_of_the_program() -> None:
    def hold() -> None:
        with interrupts_held():
            held.append(signal.getsignal(signal.SIGINT))

    held: list[object] = []
    thread = threading.Thread(target=hold)
    thread.start()
    thread.join()
    assert held == [signal.default_int_handler]


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Set when the test ends."""
    event = threading.Event()
    yield event
    event.set()
