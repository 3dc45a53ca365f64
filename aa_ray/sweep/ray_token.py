"""The token without which Ray does nothing for anybody.

A local run listens on the loopback address, which every user of the machine can reach. Ray makes a
token and keeps it under the home folder where others may read it. Here it is made first, for its
owner's eyes alone.
"""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path


def protect() -> None:
    """Let nobody but its owner read Ray's token; make one where there is none.

    Does nothing where the environment gives a token, or switches tokens off. A home folder that
    cannot be written to is left to Ray, which says so.
    """
    if "RAY_AUTH_TOKEN" in os.environ or os.environ.get("RAY_AUTH_MODE", "token") != "token":
        return
    given = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(given) if given else Path.home() / ".ray" / "auth_token"
    with suppress(OSError):
        if path.exists():
            _close(path)
        elif not given:  # a path that was given and is wrong is for Ray to refuse
            _make(path)


def _close(path: Path) -> None:
    """Take the rights of others away, where the file is ours."""
    status = path.stat()
    if status.st_uid == os.getuid() and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)


def _make(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The file appears whole, and is never readable by others, not even for a moment.
    part = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        with suppress(FileExistsError):  # another driver was first
            os.link(part, path)
    finally:
        part.unlink()
