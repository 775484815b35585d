"""A hook for `bench.cost`: the garbage collector never again looks at what a preloaded application has allocated.

https://docs.python.org/3/library/gc.html#gc.freeze
"""

from __future__ import annotations

import gc


def when_ready(_server: object) -> None:
    """Move everything alive into the permanent generation, before the first fork."""
    gc.collect()
    gc.freeze()
