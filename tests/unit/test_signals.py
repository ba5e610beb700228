"""A signal that asks the run to end is heard, whatever the run is waiting for, and once."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest

from paranoid_install.signals import Interrupted, Signals

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A program that outlasts any test, and is gone afterwards."""
    with subprocess.Popen(["tail", "-f", "/dev/null"]) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def signal_to_another_thread(number: signal.Signals) -> Iterator[None]:
    """Let a thread that is not the main one take the signal a moment from now.

    The main thread's system call goes on undisturbed: as when a signal comes just before it.
    """

    def take() -> None:
        signal.pthread_kill(threading.get_ident(), number)

    timer = threading.Timer(0.1, take)
    timer.start()
    try:
        yield
    finally:
        timer.join()


@pytest.mark.parametrize("number", ENDING, ids=lambda number: number.name)
def test_a_signal_interrupts_a_wait_that_the_kernel_did_not_end(number: signal.Signals) -> None:
    signals = Signals()
    with signals.raised(), sleeper() as process, signal_to_another_thread(number):
        with pytest.raises(Interrupted) as caught:
            os.waitpid(process.pid, 0)
        assert caught.value.number == number


def test_a_signal_interrupts_a_lock() -> None:
    signals = Signals()
    never = threading.Lock()
    never.acquire()
    with (
        signals.raised(),
        signal_to_another_thread(signal.SIGTERM),
        pytest.raises(Interrupted),
    ):
        never.acquire()


def test_a_signal_waits_for_the_end_of_a_shield() -> None:
    signals = Signals()
    reached = []

    def act() -> None:
        with signals.shield():
            os.kill(os.getpid(), signal.SIGTERM)
            reached.append("the end of the shield")
        reached.append("after it")

    with signals.raised(), pytest.raises(Interrupted) as caught:
        act()
    assert reached == ["the end of the shield"]
    assert caught.value.exit_code == 143


@pytest.mark.parametrize("shielded", [False, True])
def test_a_second_signal_does_not_interrupt_what_the_first_one_began(*, shielded: bool) -> None:
    signals = Signals()
    with signals.raised():
        with pytest.raises(Interrupted) as caught, signals.shield() if shielded else nullcontext():
            os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        with signals.shield():
            os.kill(os.getpid(), signal.SIGINT)
    assert caught.value.exit_code == 130


def test_a_run_on_its_way_out_is_not_interrupted_again() -> None:
    signals = Signals()
    with signals.raised():
        signals.hold()
        os.kill(os.getpid(), signal.SIGINT)
        with signals.shield():
            os.kill(os.getpid(), signal.SIGTERM)


def test_afterwards_signals_and_threads_are_as_before() -> None:
    handlers = [signal.getsignal(number) for number in (*ENDING, signal.SIGURG)]
    threads = threading.active_count()
    with Signals().raised():
        assert [signal.getsignal(n) for n in (*ENDING, signal.SIGURG)] != handlers
    assert [signal.getsignal(number) for number in (*ENDING, signal.SIGURG)] == handlers
    assert threading.active_count() == threads
    assert signal.set_wakeup_fd(-1) == -1
