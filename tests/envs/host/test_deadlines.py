"""The timed worker: answers in order, stops what can be stopped, leaves nothing behind."""

import _thread
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from pgx_jax.envs.host.deadlines import CancelledError, TimedOutError, TimedWorker

LIMIT = 10.0


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "pgx_jax-host"]


@pytest.fixture
def worker():
    worker = TimedWorker()
    yield worker
    if worker.interrupt(0.0):
        return
    worker._thread.join(5.0)


def spin():
    while True:
        pass


def test_answers_and_errors_are_returned(worker):
    assert worker.call(divmod, 7, 2, limit=LIMIT) == ((3, 1), None)
    result, error = worker.call(divmod, 7, 0, limit=LIMIT)
    assert result is None
    assert isinstance(error, ZeroDivisionError)
    assert worker.call(divmod, 9, 2, limit=float("inf")) == ((4, 1), None)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_even_these_are_answers_when_the_call_raises_them(worker, kind):
    def leave():
        raise kind("now")

    assert isinstance(worker.call(leave, limit=LIMIT)[1], kind)
    assert worker.call(len, "ab", limit=LIMIT) == (2, None)


def test_calls_run_in_one_other_thread(worker):
    names = {worker.call(threading.current_thread, limit=LIMIT)[0] for _ in range(3)}
    assert len(names) == 1
    assert names.isdisjoint({threading.current_thread()})


SLOW_CALL = """
import time
from pgx_jax.envs.host.deadlines import TimedWorker

def work():
    print("started", flush=True)
    for _ in range(10):
        time.sleep(0.1)
    return "done"

print(TimedWorker().call(work, limit=3.0)[0], flush=True)
"""


@pytest.mark.slow
def test_a_pause_of_the_process_does_not_count():
    with subprocess.Popen([sys.executable, "-c", SLOW_CALL], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"started\n"
            os.kill(process.pid, signal.SIGSTOP)
            time.sleep(4.0)
            os.kill(process.pid, signal.SIGCONT)
            assert process.stdout.readline() == b"done\n"
        finally:
            process.kill()


def test_stop_ends_the_thread():
    before = len(threads())
    worker = TimedWorker()
    assert len(threads()) == before + 1
    worker.stop()
    assert len(threads()) == before


def test_python_that_hangs_is_stopped(capfd):
    worker = TimedWorker()
    started = time.monotonic()
    with pytest.raises(TimedOutError, match=r"no answer within 0\.2 s"):
        worker.call(spin, limit=0.2)
    assert worker.interrupt()
    assert time.monotonic() - started < 5.0
    assert not threads()
    assert capfd.readouterr().err == ""


def test_code_that_hangs_outside_python_is_left_and_ends_when_it_returns(capfd):
    worker, after = TimedWorker(), []

    def sleep():
        time.sleep(1.0)
        after.append("went on")

    with pytest.raises(TimedOutError):
        worker.call(sleep, limit=0.1)
    assert not worker.interrupt(0.1)
    worker._thread.join(5.0)
    assert not threads()
    assert after == []
    assert capfd.readouterr().err == ""


def test_an_interrupt_ends_the_wait_and_the_late_answer_reaches_nobody():
    worker = TimedWorker()

    def interrupted():
        _thread.interrupt_main()
        time.sleep(0.3)
        return "late"

    with pytest.raises(KeyboardInterrupt):
        worker.call(interrupted, limit=LIMIT)
    assert worker.interrupt()
    assert not threads()


def test_cancel_from_another_thread(worker):
    timer = threading.Timer(0.1, worker.cancel)
    timer.start()
    started = time.monotonic()
    with pytest.raises(CancelledError):
        worker.call(time.sleep, 0.5, limit=LIMIT)
    assert time.monotonic() - started < 0.45
    timer.join()


def test_arguments_are_not_kept(worker):
    class Big:
        deleted = 0

        def __del__(self):
            Big.deleted += 1

    assert worker.call(lambda big: None, Big(), limit=LIMIT) == (None, None)
    for _ in range(100):
        if Big.deleted:
            break
        time.sleep(0.01)
    assert Big.deleted == 1
