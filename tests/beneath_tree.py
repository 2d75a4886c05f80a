"""A tree that is served, what must not be of what is around it, and what is read of it by open_beneath()."""
import os
import stat

import pytest

from support import directory
from turboserver.files.beneath import open_beneath

SECRET, INSIDE = b"secret", b"inside"


@pytest.fixture
def tree(tmp_path):
    """tmp_path/root is served; beside it is what must not be."""
    root = tmp_path / "root"
    (root / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "outside" / "folder").mkdir(parents=True)
    (tmp_path / "root-other").mkdir()
    for file in (root / "file", root / "folder" / "file", root / "folder" / "deep" / "file"):
        file.write_bytes(INSIDE)
    for file in (tmp_path / "file", tmp_path / "outside" / "file", tmp_path / "outside" / "folder" / "file",
                 tmp_path / "root-other" / "file"):
        file.write_bytes(SECRET)
    return root


def opened(root, *names, flags=os.O_RDONLY, **options):
    """What is read: octets of a file, or the names in a folder. Raises OSError. No descriptor may be left."""
    if isinstance(root, int):
        before = descriptors()
        try:
            fd = open_beneath(root, names, flags, **options)
        except OSError:
            assert descriptors() == before
            raise
        try:
            assert os.get_blocking(fd) and not os.get_inheritable(fd)
            return os.read(fd, 100) if stat.S_ISREG(os.fstat(fd).st_mode) else set(os.listdir(fd))
        finally:
            os.close(fd)
            assert descriptors() == before
    with directory(root) as fd:
        return opened(fd, *names, flags=flags, **options)


def descriptors():
    return {fd for fd in range(64) if _is_open(fd)}


def _is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def fault(root, *names, **options):
    with pytest.raises(OSError) as caught:
        opened(root, *names, **options)
    return caught.value.errno


__all__ = ["INSIDE", "SECRET", "descriptors", "fault", "opened", "tree"]
