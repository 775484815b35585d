"""The end of a listening socket: who connects between the last look at its queue and its close is reset."""

from __future__ import annotations

import ctypes
import select
import struct
from functools import partial
from operator import call
from typing import Any

#: Its functions keep the GIL, which may take long to come back where other threads compute.
_libc = ctypes.PyDLL(None)


def close_if_empty(listener: Any) -> bool:
    """Close a listening socket in the moment nobody waits in its queue; False when somebody does.

    The look and the close are steps of one built-in function: between two lines of Python another thread may run.
    """
    fd = listener.fileno()
    look = partial(_libc.poll, struct.pack("ihh", fd, select.POLLIN, 0), 1, 0)
    if any(map(call, (look, partial(_libc.close, fd)))):
        return False
    listener.detach()
    return True
