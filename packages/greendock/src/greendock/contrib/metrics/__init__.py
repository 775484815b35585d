"""``metrics``: Prometheus metrics of this server, on a port of their own.

Workers count in memory-mapped files, one set for each process (the multi-process mode of ``prometheus-client``:
https://prometheus.github.io/client_python/multiprocess/); ``greendock.contrib.metrics.exporter``, a child process of
the master, adds them up when it is asked. What a dead worker has counted is added to one set of files and kept. An
application that uses ``prometheus-client`` itself gets its own metrics exported as well.
"""

from __future__ import annotations

from greendock.contrib.metrics.plugin import MetricsPlugin as MetricsPlugin
