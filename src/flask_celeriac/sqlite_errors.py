"""What SQLite and the system say of our file, as errors that name the file and the remedy."""

from __future__ import annotations

import errno

import apsw

from .errors import StorageError, StorageUnavailableError

_SALVAGE = "restore a backup, or set it aside and keep what is readable: `flask celery db salvage`"
#: What passes by itself, or once there is room again.
_PASSING: dict[type[apsw.Error], str] = {
    apsw.BusyError: "another process held the file for too long: try again",
    apsw.FullError: "the disk is full: free some space, nothing acknowledged is lost",
    apsw.IOError: "the disk could not be read or written: check it",
    apsw.CantOpenError: "check that the directory exists and may be written by this user",
    apsw.NoMemError: "there is no memory left",
}
_LASTING: dict[type[apsw.Error], str] = {
    apsw.ReadOnlyError: "the file or its directory may not be written by this user",
    apsw.NotADBError: _SALVAGE,
    apsw.CorruptError: _SALVAGE,
}
#: Errors of the system that stay until somebody changes the path or its rights.
_LASTING_NUMBERS = frozenset({
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP,
})  # fmt: skip
#: How SQLite says that the content of a file is wrong.
DAMAGED = (apsw.NotADBError, apsw.CorruptError)


def explain(error: apsw.Error, path: str) -> StorageError:
    """What SQLite said, as an error that names the file and the remedy."""
    for kinds, meaning in ((_PASSING, StorageUnavailableError), (_LASTING, StorageError)):
        for kind, remedy in kinds.items():
            if isinstance(error, kind):
                return meaning(f"{path}: {error} ({remedy})")
    return StorageError(f"{path}: {error}")


def explain_system(error: OSError, path: str) -> StorageError:
    """What the system said when the file was about to be made, in the same way."""
    lasting = error.errno in _LASTING_NUMBERS
    meaning = StorageError if lasting else StorageUnavailableError
    return meaning(f"{path}: {error.strerror or error}")
