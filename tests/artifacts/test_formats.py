"""Datasets in the formats of others: what is read, bit by bit, and what is refused."""

import io
import json
import sys
import tarfile
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cptools.artifacts import shards
from cptools.artifacts.errors import ArtifactError
from cptools.artifacts.export import export_dataset
from cptools.artifacts.formats import export, export_files, find, sniff
from cptools.artifacts.found import split_of
from cptools.artifacts.schema import Dataset

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 8, 8, 3), np.uint8)


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def read_all(found, size=None):
    rows = np.arange(0 if found.test is None else len(found.test))
    return found.read(np.arange(len(found.train)), rows, size)


def refuse(path, message, columns=()):
    with pytest.raises(ArtifactError, match=message) as caught:
        read_all(find(path, columns))
    assert ";" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def channels_first(images):
    return images.transpose(0, 3, 1, 2)


# NumPy


def npz(path, **arrays):
    arrays = {"train_images": IMAGES[:4], "train_labels": np.array([[1], [0], [1], [2]]), **arrays}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_npz_of_medmnist(tmp_path, write):
    path = tmp_path / "pathmnist.npz"
    labels = np.array([[1], [0], [1], [2]], np.uint8)
    write(path, train_images=IMAGES[:4], train_labels=labels, val_images=IMAGES[:1],
          val_labels=labels[:1], test_images=IMAGES[4:], test_labels=labels[:2])  # fmt: skip
    assert sniff(path)
    found = find(path)
    assert (found.classes, found.train.tolist(), found.test.tolist()) == (
        ("0", "1", "2"), [1, 0, 1, 2], [1, 0],
    )  # fmt: skip
    assert np.array_equal(read_all(found), channels_first(IMAGES))
    chosen = found.read(np.array([2, 0]), np.array([1]), None)
    assert np.array_equal(chosen, channels_first(IMAGES[[2, 0, 5]]))


def test_npz_of_gray_and_of_the_validation_split(tmp_path):
    gray = IMAGES[..., 0]
    path = npz(tmp_path / "x.npz", train_images=gray[:4], val_images=gray[4:],
               val_labels=np.array([2, 0]))  # fmt: skip
    found = find(path)
    assert found.test.tolist() == [2, 0]
    assert np.array_equal(read_all(found), np.repeat(gray[:, None], 3, 1))
    assert read_all(found, size=5).shape == (6, 3, 5, 5)


def test_npz_without_labels_is_unlabeled(tmp_path):
    found = find(npz(tmp_path / "x.npz", train_labels=None))
    assert (found.classes, found.train.tolist(), found.test) == (("unlabeled",), [0] * 4, None)


def test_npz_in_fortran_order(tmp_path):
    found = find(npz(tmp_path / "x.npz", train_images=np.asfortranarray(IMAGES[:4])))
    assert np.array_equal(read_all(found), channels_first(IMAGES[:4]))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"train_labels": np.zeros((4, 14), int)}, r"\[4, 14\] has several.*multi-label"),
        ({"train_labels": np.zeros(4)}, "train_labels is float64 .4., no labels; give integers"),
        ({"train_labels": np.zeros(3, int)}, r"train_labels is int64 \[3\], no labels"),
        ({"train_labels": np.array([None] * 4)}, "train_labels.npy holds Python objects"),
        ({"train_images": np.zeros((4, 8, 8, 8), np.uint8)}, "no images; give uint8"),
        ({"train_images": IMAGES[:4] / 255}, "train_images is float64"),
        ({"train_images": IMAGES[:0]}, "no images"),
        ({"test_images": IMAGES[4:]}, "has train_labels but no test_labels"),
        ({"test_images": IMAGES[4:], "test_labels": np.array([7, 0])}, "class '7' has test images"),
        ({"test_images": IMAGES[4:, :4], "test_labels": np.array([1, 0])}, "differ in size"),
        ({"class_names": np.array(["a", "b"])}, "label 2 is none of the 2 classes"),
        ({"class_names": np.arange(3)}, "class_names is int64, no text"),
    ],
    ids=range(12),
)  # fmt: skip
def test_npz_that_is_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "x.npz", **{"train_images": IMAGES[:4], "train_labels": np.arange(4) % 3,
             **arrays})  # fmt: skip
    refuse(tmp_path / "x.npz", message)


def test_npz_cut_short(tmp_path):
    path = npz(tmp_path / "x.npz")
    path.write_bytes(path.read_bytes()[:-40])
    refuse(path, "is truncated or damaged")


# CSV


def table(folder, text, images=IMAGES, name="list.csv"):
    (folder / "pictures").mkdir(exist_ok=True)
    for i, image in enumerate(images):
        (folder / "pictures" / f"{i}.png").write_bytes(png(image))
    (folder / name).write_text(text, "utf-8")
    return folder / name


def test_csv(tmp_path):
    lines = ["path,label,split,note"]
    lines += [
        f"pictures/{i}.png,{i % 2 * 9 + 1},{'test' if i > 3 else 'train'},x" for i in range(6)
    ]
    path = table(tmp_path, "\ufeff" + "\n".join(lines) + "\n\n")
    assert sniff(path)
    found = find(path)
    assert (found.classes, found.train.tolist(), found.test.tolist()) == (
        ("1", "10"), [0, 1, 0, 1], [0, 1],
    )  # fmt: skip
    assert np.array_equal(read_all(found), channels_first(IMAGES))
    assert np.array_equal(found.read(np.array([3, 0]), np.array([0]), None),
                          channels_first(IMAGES[[3, 0, 4]]))  # fmt: skip


def test_csv_with_other_columns_and_separators(tmp_path):
    text = f"id;file;kind\n1;{tmp_path}/pictures/1.png;dog\n2;./pictures/../pictures/0.png;cat\n"
    found = find(table(tmp_path, text), ("file", "kind"))
    assert (found.classes, found.train.tolist()) == (("cat", "dog"), [1, 0])
    assert np.array_equal(read_all(found), channels_first(IMAGES[[1, 0]]))
    (tmp_path / "classes.txt").write_text("dog\ncat\n")
    assert find(tmp_path / "list.csv", ("file", "kind")).classes == ("dog", "cat")
    assert find(tmp_path / "list.csv", ("file",)).classes == ("unlabeled",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\n../x.png,1\n", "line 2: '../x.png' is no file below the folder"),
        ("path,label\n/etc/passwd,1\n", "'/etc/passwd' is no file below the folder of the list"),
        ("path,label\n.,1\n", "is no file below"),
        ("path,label\npictures/9.png,1\n", "cannot read .*9.png: No such file"),
        ("path,label\npictures,1\n", "pictures is not a regular file"),
        ("path,label\nlist.csv,1\n", "cannot decode list.csv"),
        ("path,label\npictures/0.png,\n", "line 2 has no label"),
        ("path,label\npictures/0.png,a|b\n", r"'a\|b' has several labels an image .multi-label"),
        ("path,label\npictures/0.png\n", "line 2 has 1 columns, the first 2"),
        ("image,label\npictures/0.png,1\n", "no column 'path', but 'image', 'label'; give"),
        ("", "has no column 'path', but nothing"),
        ("path,label\n", "lists no image to train on"),
        ('path,label\n"x"y,1\n', "line 2 is no CSV"),
        ("path,label\npictures/0.png,1\n" + "x" * 200_000, "line 3 is no CSV|line 3 has 1"),
    ],
    ids=range(14),
)  # fmt: skip
def test_csv_that_is_refused(tmp_path, text, message):
    refuse(table(tmp_path, text), message)


# WebDataset


def shard(path, files):
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def samples(rows, label=lambda i: {"cls": str(i % 3).encode()}, folder=""):
    files = {}
    for i in rows:
        files[f"{folder}{i:04}.png"] = png(IMAGES[i])
        files |= {f"{folder}{i:04}.{suffix}": data for suffix, data in label(i).items()}
    return files


def test_shards(tmp_path):
    shard(tmp_path / "x-train-000.tar", samples(range(2)))
    shard(tmp_path / "x-train-001.tar", samples((3, 2)))
    shard(tmp_path / "x-test-000.tar", samples((4, 5)))
    for pattern in ("x-*-*.tar", "x-{train,test}-00?.tar", "x-{test-000,train-000,train-001}.tar"):
        found = find(tmp_path / pattern)
        assert found.classes == ("0", "1", "2")
        assert (found.train.tolist(), found.test.tolist()) == ([0, 1, 0, 2], [1, 2])
        assert np.array_equal(read_all(found), channels_first(IMAGES[[0, 1, 3, 2, 4, 5]]))
    assert find(tmp_path / "x-train-{000..001}.tar").test is None


@pytest.mark.parametrize(
    "label",
    [
        lambda i: {"json": json.dumps({"label": i % 3, "width": 8}).encode()},
        lambda i: {"json": json.dumps({"cls": i % 3}).encode()},
        lambda i: {"cls": f"{i % 3}\n".encode(), "txt": b"a caption"},
    ],
    ids=["label", "cls", "caption"],
)
def test_a_shard_alone_is_told_from_an_archive_of_images(tmp_path, label):
    found = find(shard(tmp_path / "x.tar", {"README": b"x", **samples(range(6), label, "a/b/")}))
    assert (found.classes, found.train.tolist()) == (("0", "1", "2"), [0, 1, 2, 0, 1, 2])
    assert np.array_equal(read_all(found), channels_first(IMAGES))


def test_class_names_and_columns_of_shards(tmp_path):
    def label(i):
        told = {"label": i % 3, "class_name": "zcb"[i % 3], "fine": f"f{i}"}
        return {"json": json.dumps(told).encode()}

    path = shard(tmp_path / "x.tar", samples(range(6), label))
    assert find(path).classes == ("z", "c", "b")
    assert find(path, ("image", "fine")).classes == tuple(f"f{i}" for i in range(6))
    refuse(path, "0000.png has no 'coarse' in its .json", ("image", "coarse"))


def test_shards_without_labels(tmp_path):
    files = samples(range(6), lambda i: {})
    assert find(shard(tmp_path / "x.tar", files)).classes == ("unlabeled",)
    shard(tmp_path / "y-0.tar", files)
    assert find(tmp_path / "y-*.tar").classes == ("unlabeled",)


def test_an_archive_of_images_with_notes_is_no_shard(tmp_path):
    files = samples(range(4), lambda i: {"json": b'{"author": "me"}'}, "train/a/")
    files |= samples(range(4, 6), lambda i: {}, "train/b/")
    assert find(shard(tmp_path / "x.tar", files)).classes == ("a", "b")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (samples(range(2)) | samples([3], lambda i: {}), "training image 2 has no label"),
        (samples([0], lambda i: {"cls": b"1,0,1"}), "0000.png has several labels .*multi-label"),
        (samples([0], lambda i: {"json": b'{"label": [1, 2]}'}), "several labels an image"),
        (samples([0], lambda i: {"json": b'{"label": {"a": 1}}'}), "is no number or name"),
        (samples([0], lambda i: {"jpg": b"x", "cls": b"1"}), "contains /0000 twice"),
        ({"0.png": b"x", "0.cls": b"1"}, "cannot decode x.tar:0.png .it is text: 'x'"),
        ({"0.cls": b"1"}, "contains no images"),
    ],
    ids=range(7),
)
def test_shards_that_are_refused(tmp_path, files, message):
    shard(tmp_path / "x.tar", files)
    refuse(f"{tmp_path}/{{x,x}}.tar" if "0.png" not in files else tmp_path / "x.tar", message)


@pytest.mark.parametrize("cut", [512, 700, 1024, 2000])
def test_shards_cut_short(tmp_path, cut):
    shard(tmp_path / "x-0.tar", samples(range(2)))
    data = shard(tmp_path / "x-1.tar", samples(range(2, 4))).read_bytes()
    (tmp_path / "x-1.tar").write_bytes(data[:cut])
    refuse(tmp_path / "x-{0,1}.tar", r"x-1.tar is truncated")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("x-{0..2}.tar", "names .*x-1.tar, which is no file; get it"),
        ("y-*.tar", "names no files"),
        ("nowhere/*.tar", "cannot read .*nowhere: No such file"),
        ("x-{0..99999999999}.tar", "names .*x-1.tar"),
        ("{0..1}" * 60 + "{9..0}*.tar", "which is no file|no files"),
        ("list*.csv", "list.csv is no tar archive, as shards are"),
    ],
)
def test_patterns_that_are_refused(tmp_path, pattern, message):
    shard(tmp_path / "x-0.tar", samples(range(2)))
    (tmp_path / "list.csv").write_text("path\n")
    refuse(tmp_path / pattern, message)


def test_braces():
    assert [*shards._braces("a{08..10}{x,y}")] == [
        f"a{n}{c}" for n in ("08", "09", "10") for c in "xy"
    ]
    assert [*shards._braces("a{b}{2..1}")] == ["a{b}{2..1}"]


def test_splits_by_name():
    names = ["x-train-0", "test", "my_val-3", "validation", "latest", "contest", "Test.tar"]
    assert [*map(split_of, names)] == [
        "train",
        "test",
        "val",
        "validation",
        "train",
        "train",
        "test",
    ]


# Tables


def parquet(path, columns, **options):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    metadata = options.pop("metadata", None)
    pyarrow.parquet.write_table(
        pa.table(columns).replace_schema_metadata(metadata), path, **options
    )
    return path


def pictures(rows=range(6)):
    return [{"bytes": png(IMAGES[i]), "path": f"{i}.png"} for i in rows]


NAMES = {
    "huggingface": json.dumps({"info": {"features": {
        "image": {"_type": "Image"},
        "label": {"_type": "ClassLabel", "names": ["zebra", "ant", "bee"]},
    }}})
}  # fmt: skip


def test_parquet(tmp_path):
    path = parquet(tmp_path / "x.parquet", {"image": pictures(), "label": [0, 1, 2] * 2},
                   metadata=NAMES, row_group_size=2)  # fmt: skip
    assert sniff(path)
    found = find(path)
    assert (found.classes, found.train.tolist()) == (("zebra", "ant", "bee"), [0, 1, 2, 0, 1, 2])
    assert np.array_equal(read_all(found), channels_first(IMAGES))
    chosen = found.read(np.array([5, 0, 3]), np.array([], int), None)
    assert np.array_equal(chosen, channels_first(IMAGES[[5, 0, 3]]))


def test_a_folder_of_parquet_files(tmp_path):
    (tmp_path / "data").mkdir()
    for name, rows in (("train-0", (0, 1)), ("train-1", (2, 3)), ("validation-0", (4, 5))):
        columns = {"img": [png(IMAGES[i]) for i in rows], "label": ["dog", "cat"], "n": [1, 2]}
        parquet(tmp_path / "data" / f"{name}.parquet", columns)
    (tmp_path / "README.md").write_text("x")
    test = {"img": [png(IMAGES[0])] * 2, "label": ["dog", "cat"]}
    for place in (tmp_path, tmp_path / "data/{train-0,train-1,validation-0}.parquet"):
        found = find(place)
        assert found.classes == ("cat", "dog")
        assert (found.train.tolist(), found.test.tolist()) == ([1, 0, 1, 0], [1, 0])
        assert np.array_equal(read_all(found), channels_first(IMAGES))
    parquet(tmp_path / "data" / "test-0.parquet", test)
    assert np.array_equal(read_all(find(tmp_path))[4:], channels_first(IMAGES[[0, 0]]))


def test_test_images_without_labels_are_passed_over(tmp_path):
    for name, labels in (("train", [0, 1]), ("validation", [1, 0]), ("test", [-1, -1])):
        parquet(tmp_path / f"{name}.parquet", {"image": pictures(range(2)), "label": labels})
    assert find(tmp_path).test.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("columns", "asked", "message"),
    [
        ({"image": [1, 2], "label": [0, 1]}, (), "column 'image' is no image, but int64; give"),
        ({"a": [1], "b": ["x"]}, (), "has no column of images, and the columns 'a', 'b'"),
        ({"image": [b"x"], "label": [[1, 0]]}, (), "'label' has several labels .*multi-label"),
        ({"image": [b"x"], "label": [0.5]}, (), "the column 'label' is no label, but double"),
        ({"image": [b"x"], "label": [None]}, (), "is no label, but null"),
        ({"image": [b"x"] * 2, "label": [1, None]}, (), "a row of 'label' has no label"),
        ({"image": [b"x"], "label": [0]}, ("image", "fine"), "no column 'fine', but 'image'"),
        ({"image": [b"x"], "label": [0]}, (), "cannot decode row 0 of train"),
        ({"image": [{"bytes": None, "path": "/x"}], "label": [0]}, (), "no image, but|holds no"),
        ({"a": [b"x"], "b": [b"x"]}, (), "has images in a and b"),
    ],
    ids=range(10),
)  # fmt: skip
def test_tables_that_are_refused(tmp_path, columns, asked, message):
    refuse(parquet(tmp_path / "x.parquet", columns), message, asked)


def test_parquet_cut_short(tmp_path):
    path = parquet(tmp_path / "x.parquet", {"image": pictures(), "label": [0] * 6})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    refuse(path, "is truncated or damaged")


def test_what_a_parquet_file_would_become_is_limited(tmp_path, monkeypatch):
    from cptools.artifacts import containers

    path = parquet(tmp_path / "x.parquet", {"image": [bytes(4 << 20)], "label": [0]},
                   compression="zstd")  # fmt: skip
    monkeypatch.setattr(containers, "_GRACE", 1 << 20)
    refuse(path, "would become 41.* bytes")


def test_a_saved_dataset_of_arrow(tmp_path):
    """As `datasets.DatasetDict.save_to_disk` writes it."""
    pa = pytest.importorskip("pyarrow")
    for split, rows in (("train", range(4)), ("test", range(4, 6))):
        (tmp_path / split).mkdir()
        made = pa.table({"image": pictures(rows), "label": [i % 3 for i in rows]})
        made = made.replace_schema_metadata(NAMES)
        file = str(tmp_path / split / "data-00000-of-00001.arrow")
        with pa.OSFile(file, "wb") as stream, pa.ipc.new_stream(stream, made.schema) as writer:
            writer.write_table(made, max_chunksize=3)
        (tmp_path / split / "state.json").write_text("{}")
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    found = find(tmp_path)
    assert (found.classes, found.test.tolist()) == (("zebra", "ant", "bee"), [1, 2])
    assert np.array_equal(read_all(found), channels_first(IMAGES))
    file = tmp_path / "test" / "data-00000-of-00001.arrow"
    file.write_bytes(file.read_bytes()[:200])
    refuse(tmp_path, "arrow is truncated or damaged")


def test_a_missing_pyarrow_is_said(tmp_path, monkeypatch):
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    refuse(tmp_path / "x.parquet", r"needs pyarrow; run pip install 'cptools\[parquet\]'")


# Export


def dataset(tests=2, classes=("zebra", "ant", "2", "none left"), index=None):
    images = channels_first(IMAGES)
    labels = np.arange(6) % 3 if len(classes) > 1 else np.zeros(6, np.int64)
    return Dataset(
        images[: 6 - tests], labels[: 6 - tests], images[6 - tests :], labels[6 - tests :], index,
        name="x", classes=classes, mean=(0.5,) * 3, std=(0.2,) * 3, source=None,
    )  # fmt: skip


@pytest.mark.parametrize("tests", [0, 2])
@pytest.mark.parametrize("suffix", ["npz", "tar", "parquet"])
@pytest.mark.parametrize("classes", [("zebra", "ant", "2", "none left"), ("unlabeled",)])
def test_exports_are_read_again(tmp_path, tests, suffix, classes):
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    made = dataset(tests, classes)
    path = tmp_path / ("x-{train,test}." if tests and suffix != "npz" else "x.")
    path = f"{path}{suffix}" if str(path).endswith(".") else path
    export(path, made)
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {Path(name).name for name in (
        export_files(path) if suffix != "npz" else [path]
    )}  # fmt: skip
    first = {name: (tmp_path / name).read_bytes() for name in names}
    found = find(path)
    kept = classes[:-1] if suffix == "tar" and len(classes) > 1 else classes
    assert found.classes == kept  # a shard has no room for names without images
    assert np.array_equal(found.train, made.train_labels)
    assert (found.test is None) == (tests == 0)
    assert np.array_equal(read_all(found), channels_first(IMAGES))
    if tests:
        assert np.array_equal(found.test, made.test_labels)
    export(path, made)
    assert {name: (tmp_path / name).read_bytes() for name in names} == first


def test_an_npz_is_read_by_numpy_as_medmnist_reads_it(tmp_path):
    export(tmp_path / "x.npz", dataset())
    with np.load(tmp_path / "x.npz") as file:
        assert np.array_equal(file["train_images"], IMAGES[:4])
        assert file["test_labels"].tolist() == [[1], [2]]
        assert file["class_names"].tolist() == ["zebra", "ant", "2", "none left"]


def test_the_list_of_an_exported_folder(tmp_path):
    index = np.array([7, 3, 12, 5])
    export_dataset(tmp_path / "out", dataset(index=index))
    found = find(tmp_path / "out" / "images.csv")
    assert found.classes == ("zebra", "ant", "2")
    assert (found.train.tolist(), found.test.tolist()) == ([0, 1, 2, 0], [1, 2])
    assert np.array_equal(read_all(found), channels_first(IMAGES))
    assert "train/zebra/000007.png,zebra,train" in (tmp_path / "out" / "images.csv").read_text()


@pytest.mark.parametrize("suffix", ["tar", "parquet"])
def test_splits_are_not_mixed(tmp_path, suffix):
    with pytest.raises(ArtifactError, match=r"alike; name two files, such as '.*x-\{train,test\}"):
        export(tmp_path / f"x.{suffix}", dataset())
    assert not [*tmp_path.iterdir()]


# The hub


def test_a_missing_package_of_the_hub_is_said(monkeypatch):
    from cptools.artifacts.hub import find_on_hub

    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ArtifactError, match=r"hf:a/b needs the package datasets; run pip install"):
        find_on_hub("a/b")
    for name in ("../x", "/etc", "a/b/c", "", "https://x", "a b"):
        with pytest.raises(ArtifactError, match="is no name on the hub"):
            find_on_hub(name)


def test_no_hub_is_said(monkeypatch):
    from cptools.artifacts.hub import find_on_hub

    def load(*_):
        raise ConnectionError("no\nnetwork")

    fake = types.SimpleNamespace(disable_progress_bars=lambda: None, load_dataset=load)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    with pytest.raises(OSError, match=r"^cannot get hf:a/b \(no network\); without a network give"):
        find_on_hub("a/b")


def test_a_dataset_of_the_hub(monkeypatch):
    datasets = pytest.importorskip("datasets")
    from cptools.artifacts.hub import find_on_hub

    features = datasets.Features(
        image=datasets.Image(), label=datasets.ClassLabel(names=["zebra", "ant", "bee"])
    )

    def load(name, configuration):
        assert (name, configuration) == ("owner/name", "small")
        split = lambda rows: datasets.Dataset.from_dict(  # noqa: E731
            {"image": pictures(rows), "label": [i % 3 for i in rows]}, features
        )
        return datasets.DatasetDict(train=split(range(4)), test=split(range(4, 6)))

    monkeypatch.setattr(datasets, "load_dataset", load)
    found = find_on_hub("owner/name:small")
    assert (found.classes, found.test.tolist()) == (("zebra", "ant", "bee"), [1, 2])
    assert np.array_equal(read_all(found), channels_first(IMAGES))
