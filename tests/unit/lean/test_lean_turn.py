"""One thread serves at a time while it is quick; the others take over as soon as it is not."""

from __future__ import annotations

import sys
import threading
import time

import pytest

from greendock.contrib.lean import turn as turn_module
from greendock.contrib.lean.turn import PATIENCE, Turn, cpu_seconds_if_running

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
    """A turn whose threads sleep while they serve; the tests play all of them in one thread, which never does."""
    monkeypatch.setattr(turn_module, "cpu_seconds_if_running", lambda _: None)
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
    used = [3.0]
    monkeypatch.setattr(turn_module, "cpu_seconds_if_running", lambda _: used[0])
    assert turn.take()
    follower = Follower(turn)
    turn.begin()
    for _ in range(5):
        assert turn.watch()
        used[0] += PATIENCE / 10
    assert waiting(follower)
    used[0] += PATIENCE
    turn.watch()
    assert follower.result() is False
    assert turn.end() is False


def test_only_a_thread_that_runs_or_wants_to_has_its_cpu_time_read():
    end, known = threading.Event(), []

    def sleep():
        known.append(threading.get_native_id())
        end.wait(20)

    thread = threading.Thread(target=sleep, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not known or cpu_seconds_if_running(known[0]) is not None:
        assert time.monotonic() < deadline
    end.set()
    thread.join()
    assert cpu_seconds_if_running(known[0]) is None  # it has ended
    before = cpu_seconds_if_running(threading.get_native_id())
    while cpu_seconds_if_running(threading.get_native_id()) < before + PATIENCE:
        assert time.monotonic() < deadline
