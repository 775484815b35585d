"""``python -m greendock.proxy``, the same as ``greendock proxy``."""

import sys

from greendock.proxy.commands import main

sys.exit(main())
