"""``python -m benchmarks.peers``."""

import sys

from benchmarks.peers.report import main

sys.exit(main())
