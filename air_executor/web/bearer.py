"""The token of `air-executor serve`: in a file of its owner alone, as the header line that a client sends."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from air_executor.errors import ConfigurationError, DamagedFileError
from air_executor.store.files import create_file, read_bytes

FILE_NAME = "http.token"
_PREFIX = b"Authorization: Bearer "
_SHORTEST = 20
_LONGEST = 4096


def find_token(path: Path) -> bytes:
    """Return the token in a file; make the file, with a random token, if there is none.

    The file holds the whole header line, for `curl -H @FILE`, so that the token stands on no command line; one that
    somebody wrote may hold the token alone.

    :raises ConfigurationError: others may read the file, or it holds no token.
    """
    try:
        create_file(path, b"%s%s\n" % (_PREFIX, secrets.token_urlsafe(32).encode()), durable=False)
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigurationError(
            f"{path}: the token cannot be written ({error.strerror}); name another --token-file"
        ) from error
    try:
        content, status = read_bytes(path, _LONGEST)
    except DamagedFileError as error:
        raise ConfigurationError(str(error)) from error
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise ConfigurationError(
            f"{path}: others may read or change the token; run `chmod 600 {path}`, or remove it to get a new one"
        )
    token = content.strip().removeprefix(_PREFIX)
    if len(token) < _SHORTEST or not all(0x21 <= byte <= 0x7E for byte in token):
        raise ConfigurationError(
            f"{path}: holds no token: one line of at least {_SHORTEST} printable characters without spaces; "
            "remove the file to get a new one"
        )
    return token
