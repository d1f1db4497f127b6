"""`cp-visualize`: the right picture for what is given, in the right file."""

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
    from cptools.cli.visualize import _clean_rows

    clean = open_artifact(files / "clean.safetensors").read()
    few = open_artifact(files / "few.safetensors").read()
    assert np.array_equal(_clean_rows(few, clean), few.train_index)
    half = replace(clean, train_images=clean.train_images[::2], train_index=np.arange(0, 64, 2))
    picked = replace(few, train_images=few.train_images[:3], train_index=np.array([62, 0, 8]))
    assert _clean_rows(picked, half).tolist() == [31, 0, 4]
    for index in (np.array([1, 0, 8]), np.array([99, 0, 8]), None):
        with pytest.raises(UsageError, match="give the clean one with --dataset"):
            _clean_rows(replace(picked, train_index=index), half)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "no input; give a file, or pipe one in"),
        ("{clean}", "this dataset is the clean one: there is no noise to draw"),
        ("{clean} {encoder}", "several inputs must all be encoders;"),
        ("{delta} {delta}", "several inputs must all be encoders;"),
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
def test_refusals(tool, files, arguments, message):
    names = {path.stem: path for path in files.iterdir()}
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
