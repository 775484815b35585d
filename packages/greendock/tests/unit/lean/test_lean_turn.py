"""One thread serves at a time while it is quick; the others take over as soon as it is not."""

from __future__ import annotations

import sys
import threading
import time

import pytest

from greendock.contrib.lean import turn as turn_module
from greendock.contrib.lean.turn import PATIENCE, Turn, running_seconds

pytestmark = pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="without a GIL every thread serves at any time"
)


class Follower(threading.Thread):
    """Takes the turn in a thread of its own."""

    def __init__(self, turn):
        super().__init__(daemon=True)
        self.turn = turn
        self.took = None
        self.start()

    def run(self):
        self.took = self.turn.take()

    def result(self):
        self.join(timeout=20)
        return self.took


def waiting(thread):
    deadline = time.monotonic() + 0.05
    while time.monotonic() < deadline:
        if thread.took is not None:
            return False
    return True


@pytest.fixture
def wakes():
    return []


@pytest.fixture
def turn(wakes, monkeypatch):
    """A turn that knows nothing of its threads, which the tests play in one."""
    monkeypatch.setattr(turn_module, "running_seconds", lambda _: None)
    return Turn(4, lambda: wakes.append(1))


def test_the_first_thread_takes_the_turn_and_keeps_it_from_request_to_request(turn):
    assert turn.take()
    follower = Follower(turn)
    for _ in range(3):
        turn.begin()
        assert turn.end()
        turn.watch()
    assert waiting(follower)
    turn.release()
    assert follower.result() is True


def test_the_turn_is_taken_from_a_thread_that_does_not_return_and_everyone_may_serve(turn):
    assert turn.take()
    first, second = Follower(turn), Follower(turn)
    turn.begin()
    assert turn.watch()  # it may have begun just now
    assert waiting(first)
    turn.watch()
    assert (first.result(), second.result()) == (False, False)
    assert turn.end() is False
    assert turn.take() is False


def test_a_quick_thread_keeps_the_turn_under_the_eyes_of_the_watch(turn):
    assert turn.take()
    for _ in range(5):
        turn.begin()
        turn.watch()
        assert turn.end()


def test_the_main_thread_is_woken_once_to_watch_and_may_sleep_when_nothing_happens(turn, wakes, monkeypatch):
    assert turn.take()
    assert turn.watch() is False
    for _ in range(3):
        turn.begin()
        turn.end()
    assert wakes == [1]
    assert turn.watch() is True
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 60)
    turn.watch()
    assert turn.watch() is False
    turn.begin()
    assert wakes == [1, 1]


def test_an_open_turn_holds_nobody(turn):
    assert turn.take()
    follower = Follower(turn)
    turn.open()
    turn.begin()
    assert turn.end() is False
    assert follower.result() is False


def test_a_single_thread_needs_no_turn(wakes):
    assert Turn(1, lambda: wakes.append(1)).take() is False


def test_where_requests_keep_waiting_the_turn_is_open_longer_each_time(turn, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    lengths = []
    for _ in range(7):
        assert turn.take()
        turn.begin()
        turn.watch()
        turn.watch()
        opened = now[0]
        while turn.take() is False:
            now[0] += 0.5
        turn.release()
        lengths.append(now[0] - opened)
    assert lengths == [1, 2, 4, 8, 16, 30, 30]
    now[0] += 31
    assert turn.take()
    turn.begin()
    turn.watch()
    turn.watch()
    now[0] += 1
    assert turn.take()


def test_a_thread_that_lacks_a_cpu_keeps_the_turn_until_it_has_had_its_share(turn, monkeypatch):
    on_cpu, began = [3.0], time.monotonic()
    monkeypatch.setattr(turn_module, "running_seconds", lambda _: (on_cpu[0], time.monotonic() - began))
    assert turn.take()
    follower = Follower(turn)
    turn.begin()
    for _ in range(5):
        assert turn.watch()
        on_cpu[0] += PATIENCE / 10
    assert waiting(follower)
    on_cpu[0] += PATIENCE
    turn.watch()
    assert follower.result() is False
    assert turn.end() is False


class Serving(threading.Thread):
    """Takes the turn and serves requests of one kind until it is told to end or loses the turn."""

    def __init__(self, turn, request):
        super().__init__(daemon=True)
        self.turn, self.request = turn, request
        self.stop, self.served, self.lost = False, 0, False
        self.start()

    def run(self):
        assert self.turn.take()
        while not self.stop and not self.lost:
            self.turn.begin()
            self.request()
            self.lost = not self.turn.end()
            self.served += 1


def compute():
    end = time.thread_time() + PATIENCE / 20
    while time.thread_time() < end:
        pass


def watched(turn, serving, until):
    """Look every PATIENCE, as the main thread does, until it is so; whether it came to be."""
    deadline = time.monotonic() + 20
    while not until() and time.monotonic() < deadline:
        turn.watch()
        serving.join(timeout=PATIENCE)
    return until()


def test_requests_that_wait_a_little_each_open_the_turn():
    turn = Turn(4, lambda: None)
    serving = Serving(turn, lambda: time.sleep(PATIENCE / 5))
    assert watched(turn, serving, lambda: serving.lost)
    assert turn.take() is False


def test_requests_that_only_compute_keep_the_turn_however_little_cpu_they_get(turn, monkeypatch):
    began = time.monotonic()
    # What this thread, which plays the serving one, has not been given is what it lacks.
    monkeypatch.setattr(
        turn_module,
        "running_seconds",
        lambda _: (time.thread_time(), time.monotonic() - began - time.thread_time()),
    )
    assert turn.take()
    for _ in range(20):
        for _ in range(5):
            turn.begin()
            compute()
            assert turn.end()
        turn.watch()
    turn.release()


def test_a_turn_that_opened_between_requests_is_taken_from_the_next_one_that_waits(turn):
    assert turn.take()
    follower = Follower(turn)
    turn.open()
    turn.begin()
    turn.watch()
    assert follower.result() is False
    assert turn.end() is False


def test_only_a_thread_of_this_process_has_its_time_read():
    on_cpu, lacking = running_seconds(threading.get_native_id())
    assert on_cpu > 0
    assert lacking >= 0
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    deadline = time.monotonic() + 20
    while running_seconds(thread.native_id) is not None:
        assert time.monotonic() < deadline
