"""One thread serves at a time while it is quick; the others help as soon as it is not."""

from __future__ import annotations

import os
import select
import sys
import threading
import time

import pytest

from greendock.contrib.lean import serving_token as module
from greendock.contrib.lean.serving_token import OPEN, PAIR, PATIENCE, REST, WINDOW, ServingToken, running_seconds

pytestmark = pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="without a GIL every thread serves at any time"
)


class Process:
    """A worker process whose clock and whose threads' CPU time the test sets, and whose threads it plays."""

    def __init__(self, monkeypatch, threads=4):
        self.now = self.on_cpu = self.lacking = 0.0
        monkeypatch.setattr(module, "monotonic", lambda: 1000 + self.now)
        monkeypatch.setattr(module, "running_seconds", lambda _: (self.on_cpu, self.lacking))
        self.events = select.epoll()
        event, self.event_end = os.pipe()
        self.events.register(event, select.EPOLLIN)
        stopped, self.stop_end = os.pipe()
        self.wakes = 0
        self.token = ServingToken(threads, self.events, stopped, self.wake)

    def wake(self):
        self.wakes += 1

    def event(self):
        os.write(self.event_end, b".")

    def stop(self):
        os.write(self.stop_end, b".")

    def passes(self, seconds, on_cpu=0.0, lacking=0.0):
        self.now += seconds
        self.on_cpu += on_cpu
        self.lacking += lacking

    def begin_and_look(self):
        """The thread with the token begins a request, which the main thread sees a moment later."""
        assert self.token.wait(0)
        self.token.begin()
        assert self.token.watch() == PAIR  # woken
        self.passes(PAIR)
        return self.token.watch()


@pytest.fixture
def process(monkeypatch):
    return Process(monkeypatch)


class Follower(threading.Thread):
    """Another thread that wants to serve."""

    def __init__(self, process):
        super().__init__(daemon=True)
        self.process, self.had_token = process, None
        self.start()

    def run(self):
        self.had_token = self.process.token.wait(1)

    def passed(self):
        """Whether it came through the gate. Where it does not, a look at the clock is all there is to wait for."""
        self.join(timeout=20 if self.process.token._open else 0.05)
        return not self.is_alive()


def test_the_first_thread_has_the_token_and_keeps_it_from_request_to_request(process):
    process.event()
    for _ in range(3):
        assert process.token.wait(0)
        process.token.begin()
        process.token.end()
    assert not Follower(process).passed()


def test_the_gate_opens_when_a_request_sleeps_while_others_wait(process):
    process.begin_and_look()
    process.passes(PAIR)
    process.event()
    follower = Follower(process)
    assert process.token.watch() == OPEN
    assert follower.passed()
    assert follower.had_token is False


def test_the_gate_stays_closed_when_a_request_sleeps_and_nobody_waits(process):
    process.begin_and_look()
    for _ in range(50):
        process.passes(PAIR)
        assert process.token.watch() == PAIR
        if process.now > WINDOW / 2:
            break
    assert not Follower(process).passed()


def test_the_gate_opens_when_a_request_computes_for_long_while_others_wait(process):
    process.begin_and_look()
    process.event()
    used = 0.0
    while not process.token._open:
        assert used <= PATIENCE
        process.passes(PAIR, on_cpu=PAIR)
        used += PAIR
        process.token.watch()
    assert used >= PATIENCE


def test_a_thread_that_lacks_a_cpu_keeps_the_token(process):
    process.begin_and_look()
    process.event()
    for _ in range(100):
        process.passes(PAIR, on_cpu=PAIR / 20, lacking=PAIR * 0.95)
        process.token.watch()
    assert not process.token._open


@pytest.mark.parametrize(("waits", "opens"), [(0.5, True), (0.1, False)])
def test_the_gate_opens_when_short_requests_wait_for_much_of_the_time(process, waits, opens):
    for _ in range(100):
        process.token.wait(0)
        process.token.begin()
        process.passes(0.002, on_cpu=0.002 * (1 - waits))
        process.token.watch()
        process.token.end()
    assert process.token._open is opens


def test_the_main_thread_sleeps_while_nothing_happens_and_is_woken_once(process):
    assert process.token.watch() is None
    for _ in range(3):
        process.token.wait(0)
        process.token.begin()
        process.token.end()
    assert process.wakes == 1
    assert process.token.watch() == PAIR
    process.passes(PAIR)
    assert process.token.watch() is None
    process.token.begin()
    assert process.wakes == 2


def test_looks_grow_rarer_while_quick_requests_keep_coming(process):
    rests = []
    process.token.wait(0)
    for _ in range(40):
        process.token.begin()
        rests.append(process.token.watch())
        process.passes(rests[-1], on_cpu=rests[-1])
        process.token.end()
    assert rests[-1] in (PAIR, REST)
    assert max(rests) == REST


def test_the_gate_closes_only_when_a_thread_has_taken_the_token(process):
    process.begin_and_look()
    process.passes(PAIR)
    process.event()
    process.token.watch()
    process.passes(OPEN * 2)
    process.token.watch()
    assert process.token._open  # the one that had it is still in its request
    assert process.token.wait(1)
    process.token.watch()
    assert not process.token._open
    assert process.token.wait(1)


def test_the_gate_stays_open_for_longer_where_it_opens_again_soon(process):
    lengths = []
    for _ in range(4):
        process.token.wait(0)
        process.token.begin()
        process.event()
        while not process.token._open:
            process.passes(PAIR)
            process.token.watch()
        opened = process.now
        process.token.end()
        process.token.wait(0)
        while process.token._open:
            process.passes(0.25)
            process.token.watch()
        lengths.append(round(process.now - opened))
    assert lengths == [1, 2, 4, 8]


def test_a_stop_opens_the_gate(process):
    process.token.wait(0)
    follower = Follower(process)
    process.stop()
    follower.join(timeout=20)
    assert follower.had_token is False


def test_a_single_thread_needs_no_watching(monkeypatch):
    process = Process(monkeypatch, threads=1)
    process.token.wait(0)
    process.token.begin()
    assert process.token.watch() > 60


def test_a_thread_that_replaces_the_one_with_the_token_has_it(process):
    assert process.token.wait(0)
    process.token.begin()
    assert process.token.wait(0)


def test_the_time_of_a_thread_that_is_gone_seems_to_stand_still():
    on_cpu, lacking = running_seconds(threading.get_native_id())
    assert on_cpu > 0
    assert lacking >= 0
    assert running_seconds(2**22 + 1) == (0.0, 0.0)
    assert time.thread_time() > 0
