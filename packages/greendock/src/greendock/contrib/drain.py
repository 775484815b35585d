"""``drain``: a gthread worker that loses no queued request when it stops.

Told to stop, Gunicorn's gthread worker closes its listening sockets only when its last connection has ended. Whoever
connects in the meantime waits in the kernel's queue and is reset at the end
(https://github.com/benoitc/gunicorn/issues/3397). This worker first takes everything out of the queue, closes its
listeners at once, and then serves what it took within ``graceful_timeout``. A client that comes later is refused,
which a proxy answers by trying elsewhere, with a POST too.
"""

from __future__ import annotations

import select
from typing import Any

from gunicorn.workers.gthread import ThreadWorker


class DrainingThreadWorker(ThreadWorker):  # type: ignore[misc]
    """gthread that serves what the kernel has queued before it closes its listeners.

    Every override calls ``super()``, so that it also works as a mixin before another subclass of ``ThreadWorker``.
    """

    def set_accept_enabled(self, enabled: bool) -> None:
        """Gunicorn's worker calls this with ``False`` when it stops, and when it has all the connections it may."""
        super().set_accept_enabled(enabled)
        self._drain()

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """While stopping: take the rest of a queue that was longer than the connections the worker may have."""
        super().wait_for_and_dispatch_events(timeout)
        self._drain()

    def _drain(self) -> None:
        if self.alive or self._accepting:
            return
        for listener in self.sockets:
            if listener.sock is not None and self._take_queued(listener):
                listener.close()

    def _take_queued(self, listener: Any) -> bool:
        """Accept until the queue is empty (``True``) or there are as many connections as this worker may have."""
        queue = select.poll()
        queue.register(listener, select.POLLIN)
        while self.nr_conns < self.worker_connections:
            if not queue.poll(0):
                return True
            try:
                self.accept(listener)
            except OSError as error:  # out of file descriptors: some are free when requests have ended
                self.log.warning("Cannot take a queued connection yet: %s", error)
                return False
        return False
