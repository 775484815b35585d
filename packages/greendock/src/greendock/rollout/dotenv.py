"""Whether ``.env`` says inside the application's container what it says in the project's folder.

Compose changes some values on their way (``s3$cret`` arrives as ``s3``), which nobody inside can tell. The container's
own ``greendock`` reads the file, because this machine need not have what reads it.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

_READ = ("docker", "compose", "run", "--rm", "--no-deps", "--no-TTY", "app", "greendock", "check", "--dotenv")


def means_the_same_inside(folder: Path = Path()) -> bool:
    """Have the application's image, as it is built now, read ``folder/.env``; what is wrong goes to standard error."""
    file = folder / ".env"
    if not file.exists():
        return True
    with file.open("rb") as content:
        return subprocess.run(_READ, cwd=folder, stdin=content, check=False).returncode == 0
