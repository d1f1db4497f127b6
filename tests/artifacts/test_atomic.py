"""A file appears whole or not at all."""

import os
import resource
import stat
from pathlib import Path

import pytest

from cptools.artifacts.atomic import atomic_write, check_writable
from cptools.artifacts.errors import ArtifactError

needs_user = pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")


def write(path, data=b"new"):
    with atomic_write(path) as stream:
        stream.write(data)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_new_file_has_the_mode_of_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        write(tmp_path / "a")
    finally:
        os.umask(old)
    assert mode(tmp_path / "a") == 0o640


@pytest.mark.parametrize("bits", [0o600, 0o664, 0o755])
def test_mode_of_the_old_file_is_kept(tmp_path, bits):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(bits)
    with atomic_write(path) as stream:
        (temporary,) = set(tmp_path.iterdir()) - {path}
        assert mode(temporary) == bits  # from the beginning: it may be secret
        stream.write(b"new")
    assert (path.read_bytes(), mode(path)) == (b"new", bits)


def test_symbolic_link_stays_one(tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    link = tmp_path / "link"
    link.symlink_to("elsewhere/target")
    for data in (b"one", b"two"):  # the target is missing at first
        write(link, data)
        assert link.is_symlink()
        assert (folder / "target").read_bytes() == data
    assert len(list(folder.iterdir())) == 1


def test_reader_sees_the_old_file_until_the_end(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with atomic_write(path) as stream:
        stream.write(b"new")
        stream.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def fail():
        with atomic_write(path) as stream:
            stream.write(b"new" * 10_000)
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_file_that_does_not_fit_leaves_the_old_one(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            write(path, bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_longest_possible_name(tmp_path):
    path = tmp_path / ("x" * 255)
    write(path)
    assert path.read_bytes() == b"new"


def test_device_is_written_and_stays():
    write("/dev/null")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_process_substitution_is_written(tmp_path):
    read, end = os.pipe()
    write(f"/dev/fd/{end}")
    os.close(end)
    assert os.read(read, 10) == b"new"
    os.close(read)


@pytest.mark.parametrize("path", ["-", "/dev/null", "/dev/stdout", "here", "link"])
def test_writable(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "missing")
    check_writable(path)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("folder", "it is a folder; name a file in it"),
        ("missing/a", "there is no folder .*missing; make it first"),
        ("file/a", "there is no folder .*file; make it first"),
        ("link", "there is no folder .*missing; make it first"),
        ("x" * 300, "File name too long; give another file"),
    ],
)
def test_unwritable(tmp_path, monkeypatch, path, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "missing" / "a")
    with pytest.raises(ArtifactError, match=message):
        check_writable(path)


@needs_user
@pytest.mark.parametrize(("path", "message"), [("file", "it is read-only"), ("new", "folder")])
def test_permissions(tmp_path, path, message):
    (tmp_path / "file").touch(0o444)
    tmp_path.chmod(0o555)
    with pytest.raises(ArtifactError, match=message):
        check_writable(tmp_path / path)
