"""Temporary files of runs that were killed go with the next run; those of living runs stay."""

import fcntl
import multiprocessing
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from cptools.artifacts import leftovers
from cptools.artifacts.atomic import atomic_write
from cptools.artifacts.leftovers import remove_leftovers, temporary_file, temporary_folder

NAME = ".cptools-0123456789abcdef.tmp"


def write(path, data=b"new"):
    with atomic_write(path) as stream:
        stream.write(data)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def killed(work, folder):
    """A process that is killed in the middle of its work."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=(folder,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


def kill_itself_writing(folder):
    with atomic_write(folder / "a") as stream:
        stream.write(bytes(100_000))
        os.kill(os.getpid(), signal.SIGKILL)


def kill_itself_filling(folder):
    with temporary_folder(folder) as temporary:
        (temporary / "sub").mkdir()
        (temporary / "sub" / "x.png").write_bytes(b"x")
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("work", "num"), [(kill_itself_writing, 1), (kill_itself_filling, 2)], ids=["file", "folder"]
)
def test_leftovers_of_a_killed_run_go_with_the_next_one(tmp_path, work, num):
    (tmp_path / "a").write_bytes(b"old")
    killed(work, tmp_path)
    assert (tmp_path / "a").read_bytes() == b"old"
    assert len(names(tmp_path)) == 1 + num
    assert all(name.startswith(".cptools-") for name in names(tmp_path) if name != "a")
    write(tmp_path / "b")
    assert names(tmp_path) == ["a", "b"]


@pytest.mark.parametrize("temporary", [temporary_file, temporary_folder])
def test_a_run_that_is_alive_keeps_its_own(tmp_path, temporary):
    with temporary(tmp_path):
        before = names(tmp_path)
        write(tmp_path / "b")
        assert names(tmp_path) == [*before, "b"]
    assert names(tmp_path) == ["b"]


def test_of_two_runs_that_write_one_file_the_last_wins_whole(tmp_path):
    path = tmp_path / "a"
    with atomic_write(path) as first:
        first.write(b"first" * 50_000)
        with atomic_write(path) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first" * 50_000
    assert names(tmp_path) == ["a"]


def test_no_new_file_is_taken_for_a_leftover(tmp_path, monkeypatch):
    """A cleaner at work between the creation of a file and its lock."""
    lock, calls = fcntl.flock, []

    def slow(descriptor, operation):
        if operation == fcntl.LOCK_EX:
            calls.append(names(tmp_path))
            if len(calls) <= 3:
                remove_leftovers(tmp_path)
        lock(descriptor, operation)

    monkeypatch.setattr(leftovers.fcntl, "flock", slow)
    write(tmp_path / "a")
    assert [len(found) for found in calls] == [1] * 4
    assert names(tmp_path) == ["a"]


def test_runs_that_write_at_once_lose_nothing(tmp_path):
    failed = []

    def several(name):
        try:
            for number in range(30):
                write(tmp_path / name, b"%d" % number * 1000)
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=several, args=(name,)) for name in "aabc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert {(tmp_path / name).read_bytes() for name in "abc"} == {b"29" * 1000}
    assert names(tmp_path) == ["a", "b", "c"]


def test_nothing_else_is_removed(tmp_path):
    target = tmp_path / "precious"
    target.write_bytes(b"x")
    (tmp_path / NAME).symlink_to(target)
    os.mkfifo(tmp_path / NAME.replace("0", "1"))  # must not be waited for
    (tmp_path / NAME.replace("0", "2")).mkdir()
    others = [".cptools-x.tmp", f"{NAME}.bak", f"x{NAME}", ".other-0123456789abcdef.tmp"]
    for name in others:
        (tmp_path / name).touch()
    before = names(tmp_path)
    remove_leftovers(tmp_path)
    left = set(before) - {NAME.replace("0", "1")}
    assert left <= set(names(tmp_path))
    assert target.read_bytes() == b"x"
    remove_leftovers(tmp_path / "missing")


def test_without_locks_files_are_written_and_leftovers_stay(tmp_path, monkeypatch):
    def flock(descriptor, operation):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(leftovers.fcntl, "flock", flock)
    (tmp_path / NAME).touch()
    write(tmp_path / "a")
    assert names(tmp_path) == [NAME, "a"]


def test_file_is_synced_before_its_name_and_the_folder_after(tmp_path, monkeypatch):
    """What a power cut may take: never the old file before the new one is on the disk."""
    done, fsync, replace = [], os.fsync, Path.replace

    def note_sync(descriptor):
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        done.append("folder" if path.is_dir() else f"file of {path.stat().st_size}")
        fsync(descriptor)

    def note_rename(path, target):
        done.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_rename)
    write(tmp_path / "a", b"12345")
    assert done == ["file of 5", "rename", "folder"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_full_disk(small_disk):
    path = small_disk / "a"
    write(path, b"old")
    with pytest.raises(OSError, match="No space left on device") as raised:
        write(path, bytes(100_000))
    assert raised.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert names(small_disk) == ["a"]
    with pytest.raises(OSError, match="No space left on device"):
        write(small_disk / "b", bytes(100_000))
    assert names(small_disk) == ["a"]
