"""Protects the token that Ray requires from its clients.

A local run listens on the loopback address, which all users of the machine can reach. Ray would
create the token in the home folder with permissions that let others read it. So it is created here
first, readable only by its owner.
"""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path


def protect() -> None:
    """Let only its owner read Ray's token; create one if there is none.

    Does nothing if the environment sets a token or switches tokens off. If the home folder cannot
    be written to, Ray itself reports it.
    """
    if "RAY_AUTH_TOKEN" in os.environ or os.environ.get("RAY_AUTH_MODE", "token") != "token":
        return
    given = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(given) if given else Path.home() / ".ray" / "auth_token"
    with suppress(OSError):
        if path.exists():
            _close(path)
        elif not given:  # Ray itself refuses a wrong path from the environment
            _make(path)


def _close(path: Path) -> None:
    """Remove other users' permissions if this user owns the file."""
    status = path.stat()
    if status.st_uid == os.getuid() and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)


def _make(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The file appears complete, and is never readable by others, not even for a moment.
    part = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        with suppress(FileExistsError):  # another driver was first
            os.link(part, path)
    finally:
        part.unlink()
