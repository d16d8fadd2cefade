"""What a directory lies on: SQLite's write-ahead log needs a disk of this one machine.

It keeps locks and shared memory beside the file, and a network file system shows neither to the
other machines: two writers do not see each other, and the file is damaged.
"""

from __future__ import annotations

import functools
import os
import re

_MOUNTS = "/proc/self/mountinfo"
_ESCAPE = re.compile(r"\\([0-7]{3})")
#: Kinds, as Linux names them, that other machines or the host of this one may write to as well.
SHARED = frozenset({
    "9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "drvfs", "fakeowner", "gfs2",
    "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "prl_fs", "smb3",
    "smbfs", "vboxsf", "virtiofs", "vmhgfs",
})  # fmt: skip
#: The same, of file systems that are programs.
SHARED_PROGRAMS = frozenset({
    "blobfuse", "blobfuse2", "ceph-fuse", "cephfs", "davfs2", "gcsfuse", "glusterfs", "goofys",
    "grpcfuse", "hdfs", "juicefs", "mount-s3", "osxfs", "rclone", "s3fs", "s3ql", "smbnetfs",
    "sshfs", "vmhgfs-fuse",
})  # fmt: skip


def is_shared(kind: str) -> bool:
    """Whether a kind of file system may be written to by other machines."""
    program = kind.removeprefix("fuse.")
    return kind in SHARED or (program != kind and program in SHARED_PROGRAMS)


def kind_of(path: str) -> str:
    """The kind of the file system that a path is on or would be made on, as Linux names it.

    :param path: absolute; what is missing at its end does not matter.
    :return: such as ``"ext4"``; empty where the system does not say.
    """
    return _kind_of(os.path.realpath(path))


@functools.lru_cache(maxsize=64)
def _kind_of(path: str) -> str:
    try:
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as mounts:
            return find(mounts.read(), path)
    except OSError:  # not Linux
        return ""


def find(mounts: str, path: str) -> str:
    """The kind of the file system a path is on.

    :param mounts: what ``/proc/self/mountinfo`` says.
    """
    found, length = "", -1
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        point = _ESCAPE.sub(lambda match: chr(int(match[1], 8)), fields[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= length:  # of two on one point, the later lies on top
            found, length = after.split(" ", 1)[0], len(point)
    return found
