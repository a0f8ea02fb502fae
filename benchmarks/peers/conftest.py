"""No doctests are looked for in modules whose library may not be installed."""

collect_ignore_glob = ["*_peer.py"]
