"""Keyed hashes: they show that two records belong to one patient, nothing more.

Patients, series and images are identified in records by HMAC-SHA256. The key is never
stored in the records folder: without it, patient numbers cannot be guessed by trying.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from ct_keras.errors import CtKerasError

#: Environment variable that names a key file.
KEY_FILE_VARIABLE = "CT_KERAS_HASH_KEY_FILE"
_KEY_BYTES = 32
_DIGITS = 32


class Hasher:
    """Makes the hashes of one conversion.

    Args:
        key: The secret.
    """

    def __init__(self, key: bytes):
        self._key = key

    def __call__(self, kind: str, text: str) -> str:
        """Returns 32 hexadecimal digits for a text; `kind` is a namespace."""
        data = f"{kind}:{text}".encode()
        return hmac.new(self._key, data, hashlib.sha256).hexdigest()[:_DIGITS]

    @property
    def key_id(self) -> str:
        """Eight digits that identify the key without revealing it."""
        return self("key", "")[:8]


def default_key_file() -> Path:
    """Returns the key file of this user, in the user's configuration folder."""
    base = os.environ.get("XDG_CONFIG_HOME") or os.environ.get("APPDATA")
    folder = Path(base) if base else Path.home() / ".config"
    return folder / "ct_keras" / "hash.key"


def load_key(path: str | os.PathLike | None = None) -> bytes:
    """Reads the key, or creates one on first use.

    Args:
        path: A file with any secret text of at least 16 bytes. By default the file
            named by the environment variable CT_KERAS_HASH_KEY_FILE, otherwise a file
            in the user's configuration folder, so that all conversions of a user share
            a key. If that folder is missing or not writable, the key is used for one
            conversion only.

    Raises:
        CtKerasError: CTK-E005, if a given file cannot be read or is too short.
    """
    named = path or os.environ.get(KEY_FILE_VARIABLE)
    if named:
        try:
            key = Path(named).read_bytes().strip()
        except OSError as error:
            raise CtKerasError("CTK-E005", "cannot read the hash key file") from error
        if len(key) < 16:
            raise CtKerasError(
                "CTK-E005",
                "the hash key file is too short",
                received=f"{len(key)} bytes",
                expected="at least 16 bytes",
            )
        return key
    try:
        return _own_key(default_key_file())
    except RuntimeError:  # the user has no home folder
        return _new_key()


def _new_key() -> bytes:
    return secrets.token_hex(_KEY_BYTES).encode()


def _own_key(file: Path) -> bytes:
    key = _new_key()
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.suppress(FileExistsError):
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as stream:
                stream.write(key)
        key = file.read_bytes().strip() or key
    return key
