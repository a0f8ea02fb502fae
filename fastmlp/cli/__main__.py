"""``python -m fastmlp.cli`` is the command ``fastmlp``."""

import sys

from fastmlp.cli import main

sys.exit(main())
