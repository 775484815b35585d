"""What a plugin does: a worker class that wraps the seam."""

from greendock.contrib.lean import LeanWorker


class Wrapped(LeanWorker):
    def handle_request(self, req, conn):
        req.headers.append(("X-WRAPPED", str(conn.client[0])))
        return super().handle_request(req, conn)
