"""``python -m greendock``."""

import sys

# `make` runs this with whatever python3 is.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit("greendock: Python 3.11 or newer is needed as python3 (found: %d.%d)" % sys.version_info[:2])  # noqa: UP031

from greendock.command.main import main

sys.exit(main())
