"""``python -m greendock``."""

import sys

from greendock.cli import main

sys.exit(main())
