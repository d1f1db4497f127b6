"""torchvision sets, on miniatures in their own on-disk formats, served by this machine."""

import hashlib
import io
import pickle
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from torchvision import datasets

from cptools.core.sources.torchvision_sets import SETS, DownloadError, cifar10, cifar100, stl10


def md5(data):
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def archive(path, files):
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def site(tmp_path):
    """A folder and the URL under which this machine serves it."""
    folder = tmp_path / "site"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def publish(monkeypatch, dataset, site, files, lists):
    """Make torchvision download `files` from an archive on this machine."""
    folder, url = site
    path = folder / dataset.filename
    archive(path, {f"{dataset.base_folder}/{name}": data for name, data in files.items()})
    monkeypatch.setattr(dataset, "url", f"{url}/{dataset.filename}")
    monkeypatch.setattr(dataset, "tgz_md5", md5(path.read_bytes()))
    for attribute, names in lists.items():
        monkeypatch.setattr(dataset, attribute, [[name, md5(files[name])] for name in names])


@pytest.fixture
def small_cifar(monkeypatch, site):
    """Two training batches of 4 and a test batch of 3, and the arrays in them."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (11, 3, 32, 32), dtype=np.uint8)
    labels = rng.integers(0, 3, 11).tolist()
    files = {}
    for name, rows in {"one": slice(0, 4), "two": slice(4, 8), "test": slice(8, 11)}.items():
        data = images[rows].reshape(-1, 3072)
        files[name] = pickle.dumps({"data": data, "labels": labels[rows]})
    files["batches.meta"] = pickle.dumps({"label_names": ["ant", "bee", "cow"]})
    lists = {"train_list": ["one", "two"], "test_list": ["test"]}
    publish(monkeypatch, datasets.CIFAR10, site, files, lists)
    meta = datasets.CIFAR10.meta | {"md5": md5(files["batches.meta"])}
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)
    return images, labels


def test_cifar10_is_downloaded_once_and_converted(small_cifar, monkeypatch, tmp_path, capsys):
    images, labels = small_cifar
    root = tmp_path / "cache"
    train, train_labels, test, test_labels, classes = cifar10(root)
    np.testing.assert_array_equal(train, images[:8])
    np.testing.assert_array_equal(test, images[8:])
    assert train_labels.tolist() + test_labels.tolist() == labels
    assert train_labels.dtype == np.int64
    assert train.flags.c_contiguous
    assert classes == ("ant", "bee", "cow")
    assert [path.name for path in root.iterdir()] == ["cifar10"]
    assert capsys.readouterr().out == ""

    monkeypatch.setattr(datasets.CIFAR10, "url", "http://127.0.0.1:1/none")
    np.testing.assert_array_equal(cifar10(root)[0], images[:8])


def test_no_network_says_what_to_do_and_leaves_nothing(small_cifar, monkeypatch, tmp_path):
    images, _ = small_cifar
    root, good = tmp_path / "cache", datasets.CIFAR10.url
    monkeypatch.setattr(datasets.CIFAR10, "url", "http://127.0.0.1:1/none")
    with pytest.raises(DownloadError) as caught:
        cifar10(root)
    message = str(caught.value)
    assert message.startswith("cannot download cifar10 (")
    assert message.endswith("give a folder or archive instead: cp-dataset PATH")
    assert "\n" not in message
    assert list(root.iterdir()) == []

    monkeypatch.setattr(datasets.CIFAR10, "url", good)
    np.testing.assert_array_equal(cifar10(root)[0], images[:8])


def test_corrupt_download_leaves_nothing(small_cifar, monkeypatch, tmp_path):
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", "0" * 32)
    with pytest.raises(DownloadError, match="cannot download cifar10"):
        cifar10(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_damaged_cache(small_cifar, tmp_path):
    cifar10(tmp_path / "cache")
    (tmp_path / "cache/cifar10/cifar-10-batches-py/two").write_bytes(b"short")
    with pytest.raises(DownloadError, match=r"damaged .*; remove that folder"):
        cifar10(tmp_path / "cache")


def test_unwritable_root(small_cifar, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DownloadError, match="cannot download cifar10"):
        cifar10(tmp_path / "file")


def test_stl10_is_converted(monkeypatch, site, tmp_path):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (5, 3, 96, 96), dtype=np.uint8)
    stored = np.ascontiguousarray(images.transpose(0, 1, 3, 2))  # column-major, as in Matlab
    files = {
        "train_X.bin": stored[:3].tobytes(),
        "train_y.bin": bytes([2, 1, 2]),  # from one
        "test_X.bin": stored[3:].tobytes(),
        "test_y.bin": bytes([1, 2]),
        "class_names.txt": b"ape\nbat\n",
        "fold_indices.txt": b"0\n",
    }
    lists = {
        "train_list": ["train_X.bin", "train_y.bin"],
        "test_list": ["test_X.bin", "test_y.bin"],
    }
    publish(monkeypatch, datasets.STL10, site, files, lists)
    train, train_labels, test, test_labels, classes = stl10(tmp_path / "cache")
    np.testing.assert_array_equal(train, images[:3])
    np.testing.assert_array_equal(test, images[3:])
    assert train_labels.tolist() == [1, 0, 1]
    assert test_labels.tolist() == [0, 1]
    assert classes == ("ape", "bat")


def test_registry():
    assert [*SETS] == ["cifar10", "cifar100", "stl10"]
    assert [*SETS.values()] == [cifar10, cifar100, stl10]
