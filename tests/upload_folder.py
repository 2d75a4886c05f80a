"""A folder that receives uploads, for the tests of turboserver.files.upload and partials."""
import os

import pytest

from turboserver.files import partials, upload
from turboserver.files.beneath import Refused
from turboserver.files.upload import ContentRange, Upload


@pytest.fixture(params=["unnamed", "named"])
def folder(request, tmp_path, monkeypatch):
    """A folder's path, with its descriptor as `folder.fd`; with O_TMPFILE and without."""
    if request.param == "named":
        monkeypatch.setattr(upload, "_unnamed", None)
    elif upload._unnamed is None:
        pytest.skip("no O_TMPFILE on this system")
    with Folder(tmp_path / "folder") as folder:
        yield folder


class Folder:
    def __init__(self, path):
        self.path = path

    def __enter__(self):
        self.path.mkdir()
        self.fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        return self

    def __exit__(self, *exception):
        os.close(self.fd)

    def names(self):
        """Without what is reserved."""
        return sorted(name for name in os.listdir(self.path) if not partials.is_reserved(name))

    def rest(self):
        return sorted(name for name in os.listdir(self.path) if partials.is_reserved(name))

    def read(self, name):
        return (self.path / name).read_bytes()

    def write(self, name, octets):
        (self.path / name).write_bytes(octets)

    def begin(self, name="file", size_bound=10**9, keep_free=0, **options):
        return Upload(self.fd, name, size_bound=size_bound, keep_free=keep_free, **options)

    def put(self, octets, name="file", pieces=None, **options):
        with self.begin(name, **{"length": len(octets), **options}) as receiving:
            for piece in pieces or [octets]:
                receiving.write(piece)
            return receiving.finish()

    def refusal(self, *args, **options):
        """(status, headers) with which put() is refused; nothing may be left."""
        before = {name: self.read(name) for name in self.names()}
        with pytest.raises(Refused) as caught:
            self.put(*args, **options)
        assert {name: self.read(name) for name in self.names()} == before
        return caught.value.status, dict(caught.value.headers)


def conditions(**fields):
    fields = {name.replace("_", "-"): [value] for name, value in fields.items()}
    return fields.get


def part(folder, octets, start, stop, cut=None, **options):
    """PUT with Content-Range: the octets from start to stop, of which only those before `cut` arrive."""
    return folder.put(octets[start:stop], pieces=[octets[start:stop if cut is None else cut]],
                      content_range=ContentRange(start, stop, len(octets)), resumable=True, **options)
