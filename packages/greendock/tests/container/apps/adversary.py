"""What somebody who runs code in a container tries; run there by ``python3 -``. Prints what worked, a line each."""

import ctypes
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

libc = ctypes.CDLL(None, use_errno=True)


def system(call: Callable[..., int], *arguments: object) -> None:
    """Make a system call. Raises OSError when the kernel refuses it."""
    if call(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")


def write(path: str) -> None:
    with Path(path).open("a"):
        pass


def make_setuid() -> None:
    """A setuid file is of no use: no_new_privs makes the kernel ignore the bit, and the folder is mounted nosuid."""
    if "NoNewPrivs:\t1\n" not in Path("/proc/self/status").read_text():
        return
    raise OSError("refused")


CODE = ("/srv/app/app/main.py", "/opt/greendock/greendock/__init__.py", "/ports.py")
MS_REMOUNT, CLONE_NEWUSER = 32, 0x10000000
ATTEMPTS: dict[str, Callable[[], object]] = {
    "writes below /": lambda: write("/written"),
    "writes below /etc": lambda: write("/etc/passwd"),
    "writes its own code": lambda: write(next(path for path in CODE if Path(path).exists())),
    "becomes root": lambda: os.setuid(0),
    "takes another group": lambda: os.setgroups([0]),
    "is privileged by a setuid program": make_setuid,
    "mounts": lambda: system(libc.mount, b"none", b"/tmp", b"tmpfs", 0, None),
    "mounts / writable": lambda: system(libc.mount, b"none", b"/", None, MS_REMOUNT, None),
    "makes a namespace of its own": lambda: system(libc.unshare, CLONE_NEWUSER),
    "loads a kernel module": lambda: system(libc.syscall, 175, b"", 0, b""),  # init_module
    "opens a raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP),
    "opens a packet socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "makes a device": lambda: os.mknod("/dev/shm/device", 0o60666, os.makedev(8, 0)),  # noqa: S108
    "changes the host's name": lambda: socket.sethostname("host"),
    "sets the clock": lambda: time.clock_settime(0, 0),
    "reads the kernel's log": lambda: system(libc.klogctl, 3, ctypes.create_string_buffer(64), 64),
    "reads another account's secrets": lambda: Path("/etc/shadow").read_text(),
    "talks to the engine": lambda: socket.socket(socket.AF_UNIX).connect("/var/run/docker.sock"),
}

for name, attempt in ATTEMPTS.items():
    try:
        attempt()
    except OSError:
        continue
    print(name)
