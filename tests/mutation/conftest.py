"""Nothing in this directory is a test: its modules need the extra ``mutation``."""

collect_ignore_glob = ["*.py"]
