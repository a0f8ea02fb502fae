"""Writing a file whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Put a file in place of the old one, if any; a reader sees the old or the new one, never a part.

    Parameters
    ----------
    path : Path
        The file. A link is followed.
    content : bytes
        All of it.

    Raises
    ------
    OSError
        If it cannot be written (also: through a link that leads nowhere); the old file is as it was.
    """
    target = path.resolve(strict=path.is_symlink())
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    # 0o666 is cut down by the umask, so the file is as readable as any other that the user makes.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Make the new name outlast a crash, on systems that open folders."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
