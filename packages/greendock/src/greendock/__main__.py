"""``python -m greendock``."""

import sys

from greendock.command.main import main

sys.exit(main())
