"""`cp-visualize`: the right picture for what is given, in the right file."""

import json
from dataclasses import replace

import numpy as np
import pytest

from cptools.artifacts.stream import open_artifact, write_artifact

PNG = b"\x89PNG\r\n\x1a\n"
SHARED = ["--dpi", 50]


def texts(svg):
    """What can be read in an SVG picture: matplotlib writes each text in a comment."""
    import re

    return re.findall(r"<!-- (.*?) -->", svg.decode())


@pytest.mark.parametrize("name", ["poisoned", "delta", "encoder"])
def test_picture_as_file_and_stream(tool, tmp_path, files, name):
    done = tool("cp-visualize", files / f"{name}.safetensors", *SHARED, "-o", tmp_path / "a.png")
    assert (done.code, done.out, done.err) == (0, b"", "")
    picture = (tmp_path / "a.png").read_bytes()
    assert picture.startswith(PNG)
    data = (files / f"{name}.safetensors").read_bytes()
    title = ["--title", "x"]
    streamed = tool("cp-visualize", *SHARED, *title, stdin=data)
    assert streamed.out.startswith(PNG)
    assert tool("cp-visualize", "-", *SHARED, *title, stdin=data).out == streamed.out


def test_same_input_same_bytes(tool, files):
    for kind in ("png", "svg"):
        words = [files / "poisoned.safetensors", *SHARED, "--format", kind]
        assert tool("cp-visualize", *words).out == tool("cp-visualize", *words).out != b""


def test_picture_of_poison(tool, files, tmp_path):
    done = tool("cp-visualize", files / "poisoned.safetensors", "-o", tmp_path / "a.SVG")
    assert (done.code, done.err) == (0, "")
    shown = texts((tmp_path / "a.SVG").read_bytes())
    assert "Poison on shapes" in shown
    assert any("cp-generate: alg simclr mode class" in text for text in shown)
    clean = open_artifact(files / "clean.safetensors").read()
    assert set(clean.classes) <= set(shown)
    given = tool(
        "cp-visualize", files / "poisoned.safetensors", "--dataset", files / "clean.safetensors",
        "--format", "svg",
    )  # fmt: skip
    assert given.out == (tmp_path / "a.SVG").read_bytes()


def test_delta_on_its_dataset(tool, files):
    alone = tool("cp-visualize", files / "delta.safetensors", "--format", "svg")
    assert "class 9" in texts(alone.out)
    words = ["--dataset", files / "clean.safetensors", "--format", "svg", "--title", "Mine"]
    dressed = tool("cp-visualize", files / "delta.safetensors", *words)
    assert {"Mine", "bar", "triangle"} <= set(texts(dressed.out))


def test_curves_of_several_encoders(tool, files):
    paths = [files / "encoder.safetensors"] * 2
    done = tool("cp-visualize", *paths, "--format", "svg")
    shown = texts(done.out)
    assert {"encoder", "encoder (2)"} <= set(shown)


def test_rows_that_were_chosen_find_their_clean_images(tool, make, tmp_path, files, pictures):
    """Chosen out of the clean dataset, or out of one that was itself a choice."""
    make("cp-dataset", pictures, "--limit", 10, "--seed", 3, o=tmp_path / "ten")
    make("cp-dataset", tmp_path / "ten", "--limit", 4, o=tmp_path / "four")
    for source in (tmp_path / "four", files / "few.safetensors"):
        noise = ("--noise", "--epsilon", "8/255")
        make("cp-perturb", source, *noise, o=tmp_path / "noise")
        done = tool("cp-visualize", tmp_path / "noise", "--format", "svg")
        assert (done.code, done.err) == (0, "")
        assert any("8/255" in text for text in texts(done.out))  # no more: the rows do match


def test_clean_rows(tmp_path, files):
    from cptools.cli._app import UsageError
    from cptools.cli._noise import clean_rows

    clean = open_artifact(files / "clean.safetensors").read()
    few = open_artifact(files / "few.safetensors").read()
    assert np.array_equal(clean_rows(few, clean), few.train_index)
    assert clean_rows(clean, clean) is None
    half = replace(clean, train_images=clean.train_images[::2], train_index=np.arange(0, 64, 2))
    picked = replace(few, train_images=few.train_images[:3], train_index=np.array([62, 0, 8]))
    assert clean_rows(picked, half).tolist() == [31, 0, 4]
    for index in (np.array([1, 0, 8]), np.array([99, 0, 8]), None):
        with pytest.raises(UsageError, match="give the clean one with --dataset"):
            clean_rows(replace(picked, train_index=index), half)


def numbers(done):
    """The lines of a report of cp-probe."""
    assert (done.code, done.err) == (0, "")
    return [json.loads(line) for line in done.out.splitlines()]


def test_distances_of_two_views(tool, files):
    encoder, clean, poisoned = (
        files / f"{name}.safetensors" for name in ("encoder", "clean", "poisoned")
    )
    done = tool("cp-visualize", encoder, clean, poisoned, clean, "--format", "svg")
    assert (done.code, done.err) == (0, "")
    shown = texts(done.out)
    words = ["--method", "distances", "--dataset", poisoned, "--dataset", clean]
    told = numbers(tool("cp-probe", encoder, *words))
    legend = [text for text in shown if ": mean" in text]
    assert legend == [
        f"{name}: mean {line['mean']:.3f}, median {line['median']:.3f}"
        for name, line in zip(
            ("simclr-class", "shapes", "shapes (2)"), [*told, told[1]], strict=True
        )
    ]
    assert "Distance of two views: simclr trained on simclr-class" in shown
    assert any(text.startswith("projector of resnet10 width 8; crop area 0.2,") for text in shown)
    assert tool("cp-visualize", clean, poisoned, clean, encoder, "--format", "svg").out == done.out
    data = clean.read_bytes()
    words = ["-", "--title", "Mine", "--format", "svg"]
    streamed = texts(tool("cp-visualize", encoder, *words, stdin=data).out)
    assert {"Mine", legend[1]} <= set(streamed)


def test_separability_of_noise(tool, make, tmp_path, files):
    make("cp-perturb", files / "clean.safetensors", "--noise", o=tmp_path / "noise")
    paths = [files / "poisoned.safetensors", tmp_path / "noise"]
    subject = ["--subject", "separability", "--format", "svg"]
    done = tool("cp-visualize", *paths, *subject)
    assert (done.code, done.err) == (0, "")
    shown = texts(done.out)
    assert {"Noise by class", "simclr-class", "noise"} <= set(shown)
    assert set(open_artifact(files / "clean.safetensors").read().classes) <= set(shown)
    for path in paths:
        for line in numbers(tool("cp-probe", path)):
            assert (
                f"{line['classifier']}: held out {line['accuracy_percent']:.1f} %"
                f" ({line['low_percent']:.1f} to {line['high_percent']:.1f}),"
                f" training {line['train_accuracy_percent']:.1f} %"
            ) in shown
    assert tool("cp-visualize", *paths, *subject).out == done.out
    clean = ["--dataset", files / "clean.safetensors"]
    assert tool("cp-visualize", *paths, *subject, *clean).out == done.out


def test_separability_draws_at_most_ten_classes_and_so_many_points(
    tool, make, tmp_path, monkeypatch
):
    """More classes than columns: the first ten are drawn, all are told apart."""
    from cptools.cli import _pictures

    clean = make("cp-dataset", "shapes", "--limit", 120, o=tmp_path / "clean")
    labels = np.arange(120) % 12
    twelve = replace(
        clean, classes=tuple("abcdefghijkl"), train_labels=labels,
        test_labels=clean.test_labels * 0,
    )  # fmt: skip
    write_artifact(twelve, tmp_path / "clean")
    noise = np.random.default_rng(0).integers(0, 9, (12, *clean.train_images.shape[1:]))
    images = np.clip(clean.train_images.astype(int), 0, 240) + noise[labels]
    write_artifact(replace(twelve, train_images=images.astype(np.uint8)), tmp_path / "poisoned")
    words = [tmp_path / "poisoned", "--dataset", tmp_path / "clean", "--format", "svg"]
    words += ["--subject", "separability"]
    done = tool("cp-visualize", *words)
    assert (done.code, done.err) == (0, "")
    shown = texts(done.out)
    assert {"a", "j"} <= set(shown)
    assert not {"k", "l"} & set(shown)
    monkeypatch.setattr(_pictures, "POINTS", 20)
    few = tool("cp-visualize", *words)
    assert few.out.count(b"<use ") < done.out.count(b"<use ") - 60


@pytest.fixture(scope="module")
def two(make, files, tmp_path_factory):
    """A poisoned dataset of two classes."""
    path = tmp_path_factory.mktemp("two") / "two.safetensors"
    make("cp-dataset", files / "poisoned.safetensors", "--classes", "bar,ring", o=path)
    return path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "no input; give a file, or pipe one in"),
        ("{clean}", "this dataset is the clean one: there is no noise to draw"),
        ("{delta} {delta}", "these cannot be drawn together; give encoders, an encoder and"),
        ("{poisoned} {poisoned}", "these cannot be drawn together;"),
        ("{encoder} {encoder} {clean}", "these cannot be drawn together;"),
        ("{encoder} {delta}", "these cannot be drawn together;"),
        ("{encoder} {small}", "the encoder was trained on images of 32 pixels, shapes has 16;"),
        ("{encoder} {clean} --dataset {clean}", "--dataset does not apply to an encoder;"),
        ("{encoder} {clean} --subject noise", "--subject noise is drawn of poisoned datasets;"),
        ("{delta} --subject separability", "is drawn of poisoned datasets; leave it out"),
        ("{poisoned} {poisoned} --subject noise", "these cannot be drawn together;"),
        ("{clean} --subject separability", "there is no noise; give a poisoned dataset"),
        ("{poisoned} {two} --subject separability", "the datasets differ in their classes; draw"),
        ("{poisoned} --subject curves", "'curves' is not one of noise, separability"),
        ("{poisoned} --subject separability --device cuda:99", "no device 'cuda:99'"),
        ("{poisoned} --dataset {small}", "give the clean one with --dataset"),
        ("{poisoned} --dataset {encoder}", "is of kind encoder; give one of kind dataset"),
        ("{poisoned} --dataset nowhere", "cannot read nowhere: No such file or directory;"),
        ("{delta} --dataset {few}", "give the dataset that it was made for"),
        ("{poisoned} -o a.jpg", "cannot draw a .jpg file; name it .png or .svg, or give --format"),
        ("{poisoned} --format gif", "'gif' is not one of png, svg"),
        ("{poisoned} --dpi 1", "invalid value for '--dpi'"),
        ("{poisoned} -o /no/where.png", "there is no folder /no;"),
        ("nowhere", "there is no file nowhere;"),
        ("- -", "nothing is piped into standard input;"),
    ],
)
def test_refusals(tool, files, two, arguments, message):
    names = {path.stem: path for path in files.iterdir()} | {"two": two}
    done = tool("cp-visualize", *arguments.format(**names).split())
    assert message in done.err
    assert (done.code, done.out, done.err.count("\n")) == (2, b"", 1)


@pytest.mark.parametrize("words", [["-", "--dataset", "-"], ["--dataset", "-"], ["-", "-"]])
def test_one_standard_input(tool, files, words):
    data = (files / "poisoned.safetensors").read_bytes()
    done = tool("cp-visualize", *words, stdin=data)
    assert "standard input" in done.err
    assert (done.code, done.out, done.err.count("\n")) == (2, b"", 1)


def test_images_of_another_size(tool, tmp_path, files):
    poisoned = open_artifact(files / "poisoned.safetensors").read()
    small = replace(
        poisoned, train_images=poisoned.train_images[..., ::2, ::2],
        test_images=poisoned.test_images[..., ::2, ::2],
    )  # fmt: skip
    write_artifact(small, tmp_path / "a")
    done = tool("cp-visualize", tmp_path / "a")
    done.refused("clean and poisoned images differ in size; give the right --dataset")


def test_encoder_without_curves(tool, tmp_path, files):
    encoder = open_artifact(files / "encoder.safetensors").read()
    tensors = {n: a for n, a in encoder.tensors.items() if not n.startswith("curve.")}
    write_artifact(replace(encoder, tensors=tensors), tmp_path / "a")
    tool("cp-visualize", tmp_path / "a").refused("the encoders hold no curves;")
