"""What a directory lies on, as far as it matters to SQLite."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu import Connection
from kombu.exceptions import OperationalError

import flask_celeriac.broker  # noqa: F401 - registers the transport
from flask_celeriac import filesystem, sqlite
from flask_celeriac.errors import StorageError

MOUNTS = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 27 0:40 / /srv rw,relatime shared:2 master:7 - nfs4 files:/srv rw,vers=4.2
31 30 0:41 / /srv/local\\040disk rw - xfs /dev/vdb rw
32 27 0:42 / /mnt/c rw - 9p C:\\134 rw
33 27 0:43 / /home/me/remote rw - fuse.sshfs me@host: rw
34 27 0:44 / /over rw - ext4 /dev/vdc rw
35 34 0:45 / /over rw - cifs //host/share rw
36 27 0:46 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw
"""


@pytest.mark.parametrize(
    ("path", "kind", "shared"),
    [
        ("/var/lib/app/celeriac.db", "ext4", False),
        ("/srv/app/celeriac.db", "nfs4", True),
        ("/srv", "nfs4", True),
        ("/srvs/celeriac.db", "ext4", False),
        ("/srv/local disk/celeriac.db", "xfs", False),
        ("/mnt/c/shop/celeriac.db", "9p", True),
        ("/home/me/remote/celeriac.db", "fuse.sshfs", True),
        ("/over/celeriac.db", "cifs", True),
        ("/var/lib/docker/overlay2/x/merged/app/celeriac.db", "overlay", False),
    ],
)
def test_the_innermost_and_last_mount_says_what_it_is(path: str, kind: str, shared: bool) -> None:
    assert filesystem.find(MOUNTS, path) == kind
    assert filesystem.is_shared(kind) is shared


@pytest.mark.parametrize("kind", ["fuse.ntfs-3g", "fuseblk", "tmpfs", "btrfs", "zfs", ""])
def test_other_kinds_are_this_machines_own(kind: str) -> None:
    assert not filesystem.is_shared(kind)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what is mounted")
def test_this_system_says_what_a_missing_path_would_be_on(tmp_path: Path) -> None:
    assert filesystem.kind_of(str(tmp_path / "not" / "there")) == filesystem.kind_of(str(tmp_path))
    assert filesystem.kind_of("/proc/self") == "proc"


@pytest.fixture
def share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory that the mount table calls a network file system."""
    table = tmp_path / "mountinfo"
    share = tmp_path / "share"
    table.write_text(f"{MOUNTS}40 27 0:50 / {share} rw - nfs4 files:/share rw\n")
    monkeypatch.setattr(filesystem, "_MOUNTS", str(table))
    filesystem._kind_of.cache_clear()
    yield share
    filesystem._kind_of.cache_clear()


def test_a_file_on_a_network_file_system_is_refused_with_the_url_that_allows_it(
    share: Path,
) -> None:
    path = share / "celeriac.db"
    url = sqlite.url_of(str(path))
    with pytest.raises(StorageError, match=r"network file system \(nfs4\).*\?allow=nfs4$") as told:
        sqlite.path_of(url)
    with Connection(url) as connection, pytest.raises((StorageError, OperationalError)):
        connection.default_channel  # noqa: B018
    assert not share.exists()
    allowed = str(told.value).split()[-1]
    assert sqlite.path_of(allowed) == str(path)
    with Connection(allowed) as connection:
        connection.SimpleQueue("jobs").put("through")
    assert path.exists()
    sqlite.file_at(str(path)).close()


def test_what_is_allowed_is_one_kind(share: Path) -> None:
    url = sqlite.url_of(str(share / "celeriac.db"))
    with pytest.raises(StorageError, match="nfs4"):
        sqlite.path_of(f"{url}?allow=9p")
