"""How the kernel schedules Nginx and Gunicorn's workers where they share CPUs.

Under the kernel's normal policy each answer a worker sends wakes Nginx, which then interrupts the worker to pass this
one answer on. ``SCHED_BATCH`` (sched(7)) differs in one thing: a process that wakes up does not interrupt another. So
each finishes what it is at and passes on several answers at once, with fewer context switches. Shares of CPU time stay
what they are, and on an idle CPU nothing changes.
"""

from __future__ import annotations

import contextlib
import os

POLICIES = ("batch", "normal")


def choose(policy: str) -> None:
    """Schedule this process, and those it starts from now on, by ``policy``; ``normal`` leaves it as it is.

    A sandbox that does not allow it, or a kernel other than Linux, is no error.
    """
    if policy == "batch" and hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
