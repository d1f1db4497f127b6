"""`cp-select`: what it keeps, what it records, what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import TINY_TRAINING

from cptools.artifacts.history import digest
from cptools.artifacts.stream import open_artifact, write_artifact
from cptools.core.coresets import CORESETS


@pytest.fixture(scope="module")
def clean(files):
    return open_artifact(files / "clean.safetensors").read()


def chosen(dataset, clean):
    """The rows of a coreset, which it holds as they were."""
    rows = dataset.train_index
    assert np.array_equal(rows, np.unique(rows))
    assert np.array_equal(dataset.train_images, clean.train_images[rows])
    assert np.array_equal(dataset.train_labels, clean.train_labels[rows])
    assert np.array_equal(dataset.test_images, clean.test_images)
    assert (dataset.name, dataset.classes, dataset.mean) == (clean.name, clean.classes, clean.mean)
    return rows


@pytest.mark.parametrize("method", CORESETS)
def test_methods(make, tool, tmp_path, files, clean, method):
    needs = ["--encoder", files / "encoder.safetensors"] if CORESETS[method].embeddings else []
    words = (files / "clean.safetensors", "--method", method, "--fraction", 0.25, *needs)
    dataset = make("cp-select", *words, o=tmp_path / "a")
    assert len(chosen(dataset, clean)) == 16
    step = dataset.history[-1]
    assert (step.tool, step.parameters["method"], step.parameters["fraction"]) == (
        "cp-select", method, 0.25,
    )  # fmt: skip
    if needs:
        proxy = open_artifact(files / "encoder.safetensors").read()
        assert step.inputs["encoder"].digest == digest(proxy.arrays())
    make("cp-select", *words, o=tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    if CORESETS[method].is_random:
        other = make("cp-select", *words, "--seed", 1, o=tmp_path / "c")
        assert not np.array_equal(other.train_index, dataset.train_index)
    if method == "balanced":
        counts = np.bincount(dataset.train_labels, minlength=10)
        assert counts.max() - counts.min() <= 1


def test_what_sas_compares(make, tmp_path, files, clean):
    """By hand: mean embeddings of views, classes given, and the functions of the core."""
    import torch

    from cptools.core.coresets.budgets import latent_classes
    from cptools.core.coresets.embeddings import view_embeddings
    from cptools.core.coresets.sas import sas
    from cptools.core.evaluation.probe import features
    from cptools.workflows.encoders import build_embedding, build_training_views

    proxy = open_artifact(files / "encoder.safetensors").read()
    network, embed, _ = build_embedding(proxy, torch.device("cpu"))
    images = torch.from_numpy(clean.train_images)
    z = view_embeddings(
        network, embed, images, build_training_views(proxy), count=3, seed=5, bf16=False
    )
    words = (
        files / "clean.safetensors", "--encoder", files / "encoder.safetensors", "--fraction", 0.5,
        "--num-views", 3, "--seed", 5, "--precision", "fp32",
    )  # fmt: skip
    by_labels = make("cp-select", *words, "--labels", o=tmp_path / "a")
    expected = sas(z, torch.from_numpy(clean.train_labels), 0.5)
    assert by_labels.train_index.tolist() == expected.tolist()
    clusters = latent_classes(
        features(network.encoder, images, mean=proxy.mean, std=proxy.std, bf16=False), 4, seed=5
    )
    by_clusters = make("cp-select", *words, "--classes", 4, o=tmp_path / "b")
    assert by_clusters.train_index.tolist() == sas(z, clusters, 0.5).tolist()


def test_rows_are_those_of_the_first_dataset(make, tmp_path, files, clean):
    part = make(
        "cp-select", files / "clean.safetensors", "--method", "random", "--fraction", 0.5,
        o=tmp_path / "half",
    )  # fmt: skip
    words = ("--method", "random", "--fraction", 0.5, "--seed", 3)
    quarter = make("cp-select", tmp_path / "half", *words, o=tmp_path / "quarter")
    assert len(chosen(quarter, clean)) == 16
    assert set(quarter.train_index) <= set(part.train_index)
    assert [step.tool for step in quarter.history] == ["cp-dataset", "cp-select", "cp-select"]


def test_all_of_it(make, tmp_path, files, clean):
    whole = make(
        "cp-select", files / "clean.safetensors", "--method", "random", "--fraction", 1,
        o=tmp_path / "a",
    )  # fmt: skip
    assert np.array_equal(chosen(whole, clean), np.arange(64))


def test_a_coreset_of_poisoned_pictures_trains_a_victim(tool, tmp_path, files):
    words = ("--encoder", files / "encoder.safetensors", "--fraction", 0.5)
    picked = tool("cp-select", files / "poisoned.safetensors", *words)
    assert (picked.code, picked.err) == (0, "")
    victim = tool("cp-pretrain", *TINY_TRAINING, stdin=picked.out)
    assert (victim.code, victim.err) == (0, "")
    assert b"accuracy_percent" in tool("cp-probe", stdin=victim.out).out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("{clean}", "give --fraction above 0"),
        ("{clean} --fraction 0", "give --fraction above 0"),
        ("{clean} --fraction 1.5", "--fraction"),
        ("{clean} --fraction nan", "--fraction"),
        ("{clean} --fraction 0.1", "compares embeddings, which need an encoder;"),
        ("{clean} --method sass --fraction 0.1", "'sass' is not one of sas, sas-topk,"),
        ("{clean} --method random --fraction 0.1 --encoder {encoder}", "--encoder does not apply"),
        ("{clean} --method balanced --fraction 0.1 --classes 3", "--classes does not apply"),
        ("{clean} --method random --fraction 0.1 --labels", "--labels does not apply"),
        ("{clean} --method sas-topk --fraction 0.1 --num-views 2", "--num-views does not apply"),
        ("{clean} --fraction 0.1 --labels --classes 3 --encoder {encoder}", "leave one out"),
        ("{clean} --method random --fraction 0.001", "keeps none; take more"),
        ("{clean} --method balanced --fraction 0.05", "leaves one of the 10 classes empty;"),
        ("{clean} --method random --fraction 0.05", "leaves one of the 10 classes empty;"),
        ("{clean} --fraction 0.05 --classes 2 --encoder {encoder}", "one of the 10 classes empty;"),
        ("{clean} --fraction 0.5 --classes 65 --encoder {encoder}", "cannot make 65 latent"),
        (
            "{clean} --fraction 0.5 --encoder {clean}",
            "is of kind dataset; give one of kind encoder",
        ),
        (
            "{encoder} --method random --fraction 0.5",
            "is of kind encoder; give one of kind dataset",
        ),
        ("missing --method random --fraction 0.5", "missing"),
    ],
)
def test_refusals(tool, files, arguments, message):
    names = {name: str(files / f"{name}.safetensors") for name in ("clean", "encoder")}
    tool("cp-select", *arguments.format(**names).split()).refused(message)


def test_a_proxy_of_another_size(tool, tmp_path, files):
    proxy = open_artifact(files / "encoder.safetensors").read()
    write_artifact(replace(proxy, input_size=16), tmp_path / "small")
    tool(
        "cp-select", files / "clean.safetensors", "--fraction", 0.5, "--encoder", tmp_path / "small"
    ).refused("the encoder was trained on images of 16 pixels")


def test_dry_run(tool, files):
    done = tool("cp-select", files / "clean.safetensors", "--fraction", 0.3, "--dry-run")
    assert (done.code, done.err) == (0, "")
    assert b'"num_views": 8' in done.out


def test_printed_history_gives_the_same_bytes(same_again, make, tmp_path, files):
    make(
        "cp-select", files / "clean.safetensors", "--fraction", 0.5, "--encoder",
        files / "encoder.safetensors", "--classes", 3, o=tmp_path / "a",
    )  # fmt: skip
    same_again(tmp_path / "a")


def test_what_a_coreset_lacks_is_told(tool, tmp_path, files, clean):
    words = (files / "clean.safetensors", "--method", "random", "--fraction", 0.25, "-o")
    done = tool("cp-select", *words, tmp_path / "a")
    kept = {*open_artifact(tmp_path / "a").read().train_labels.tolist()}
    lost = [name for label, name in enumerate(clean.classes) if label not in kept]
    assert lost, "16 images of ten classes: of one in a hundred such draws all are kept"
    assert (done.code, done.err) == (
        0,
        f"cp-select: note: no image of {', '.join(lost)} is selected\n",
    )
    assert tool("cp-select", *words, tmp_path / "b", "-q").err == ""


def test_sas_beyond_a_half_is_told(tool, tmp_path, files):
    words = (files / "clean.safetensors", "--encoder", files / "encoder.safetensors", "--fraction")
    told = (
        "note: for fractions above 0.5, sas adds the images least similar to those already selected"
    )
    assert told in tool("cp-select", *words, 0.6, "-o", tmp_path / "a").err
    assert told not in tool("cp-select", *words, 0.5, "-o", tmp_path / "b").err


@pytest.mark.parametrize("method", ["sas", "paper2"])
def test_a_proxy_that_overflows(tool, tmp_path, files, method):
    proxy = open_artifact(files / "encoder.safetensors").read()
    huge = {name: array * 1e30 for name, array in proxy.tensors.items() if "conv" in name}
    write_artifact(replace(proxy, tensors={**proxy.tensors, **huge}), tmp_path / "huge")
    tool(
        "cp-select", files / "clean.safetensors", "--method", method, "--fraction", 0.5,
        "--encoder", tmp_path / "huge",
    ).refused("not finite; give another --encoder")  # fmt: skip
