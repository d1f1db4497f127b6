"""`cp-probe`: what it trains on, what it reports, what it refuses."""

import json
import statistics
from dataclasses import replace

import numpy as np
import pytest
from conftest import TINY_TRAINING

from cptools.artifacts.history import dataset_digest, digest
from cptools.artifacts.provenance import Source
from cptools.artifacts.stream import open_artifact, write_artifact
from cptools.core.evaluation.statistics import wilson


@pytest.fixture(scope="module")
def encoder(files):
    return open_artifact(files / "encoder.safetensors").read()


def report(done):
    assert (done.code, done.err) == (0, "")
    (line,) = done.out.decode().splitlines()
    return json.loads(line)


def test_report(tool, files, encoder):
    clean = open_artifact(files / "clean.safetensors").read()
    told = report(tool("cp-probe", files / "encoder.safetensors"))
    assert told["accuracy_percent"] == round(100 * told["correct"] / told["total"], 2)
    assert told["low_percent"] < told["accuracy_percent"] < told["high_percent"]
    assert (told["total"], told["dataset"]) == (32, "shapes")
    assert told["dataset_sha256"] == dataset_digest(clean)  # the clean one, not the poisoned one
    assert told["encoder_sha256"] == digest(encoder.tensors)
    assert (told["algorithm"], told["architecture"], told["width"]) == ("simclr", "resnet10", 8)
    assert told["settings"]["method"] == "lbfgs"
    assert told["selected_on_test"] is False
    assert [step["tool"] for step in told["history"]] == [
        "cp-dataset", "cp-generate", "cp-pretrain",
    ]  # fmt: skip


def test_stream_file_and_dataset_say_the_same(tool, tmp_path, files):
    expected = tool("cp-probe", files / "encoder.safetensors").out
    data = (files / "encoder.safetensors").read_bytes()
    assert tool("cp-probe", stdin=data).out == expected
    given = ("--dataset", files / "clean.safetensors")
    assert tool("cp-probe", files / "encoder.safetensors", *given).out == expected
    done = tool("cp-probe", files / "encoder.safetensors", "-o", tmp_path / "r.jsonl")
    assert (done.code, done.out, done.err) == (0, b"", "")
    assert (tmp_path / "r.jsonl").read_bytes() == expected


def test_several_datasets(tool, files):
    done = tool(
        "cp-probe", files / "encoder.safetensors", "--dataset", files / "few.safetensors",
        "--dataset", files / "clean.safetensors",
    )  # fmt: skip
    first, second = map(json.loads, done.out.splitlines())
    assert first["dataset_sha256"] != second["dataset_sha256"]
    assert second["total"] == 32


def test_dataset_from_standard_input(tool, files):
    data = (files / "clean.safetensors").read_bytes()
    done = tool("cp-probe", files / "encoder.safetensors", "--dataset", "-", stdin=data)
    assert done.out == tool("cp-probe", files / "encoder.safetensors").out


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        ("--method knn --k 5", {"k": 5, "temperature": 0.1}),
        ("--method sgd --epochs 2", {"epochs": 2, "lr": 1.0, "select": "last"}),
        ("--l2 0.1 --iterations 5", {"l2": 0.1, "iterations": 5, "method": "lbfgs"}),
    ],
)
def test_methods(tool, files, arguments, settings):
    told = report(tool("cp-probe", files / "encoder.safetensors", *arguments.split()))
    assert settings.items() <= told["settings"].items()
    assert told["best_epoch"] in ((1, 2) if "sgd" in arguments else (None,))


def test_selection_on_the_test_images_is_told(tool, files):
    words = ("--method", "sgd", "--epochs", 3)
    last = report(tool("cp-probe", files / "encoder.safetensors", *words))
    best = report(tool("cp-probe", files / "encoder.safetensors", *words, "--select", "best"))
    assert (last["selected_on_test"], best["selected_on_test"]) == (False, True)
    assert best["correct"] >= last["correct"]


def test_a_good_encoder_scores_better_than_a_broken_one(tool, tmp_path, files, encoder):
    """Features that are all alike can be no better than one class for all."""
    tensors = {
        name: array * 0 if name.startswith("backbone.") and array.dtype == np.float32 else array
        for name, array in encoder.tensors.items()
    }
    write_artifact(replace(encoder, tensors=tensors), tmp_path / "a")
    broken = report(tool("cp-probe", tmp_path / "a"))
    assert broken["correct"] <= 4  # of 32 in ten classes
    assert report(tool("cp-probe", files / "encoder.safetensors"))["correct"] > 4


def test_dry_run(tool, files):
    done = tool("cp-probe", files / "encoder.safetensors", "--recipe", "paper", "--dry-run")
    assert json.loads(done.out) == {
        "recipe": "paper", "seed": 0, "method": "sgd", "epochs": 100, "batch_size": 512,
        "lr": 1.0, "select": "last",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "no input; give a file, or pipe one in"),
        ("{delta}", "is of kind delta; give one of kind encoder or dataset"),
        ("{clean}", "there is no noise; give a poisoned dataset"),
        ("{poisoned} --method lbfgs", "--method lbfgs evaluates an encoder, this is a dataset;"),
        ("{poisoned} --method distances", "evaluates an encoder, this is a dataset; train one"),
        ("{poisoned} --l2 1", "--l2 does not apply to --method separability; leave it out"),
        ("{poisoned} --holdout 1", "expected holdout between 0 and 1, got 1.0; give more images"),
        ("{poisoned} --holdout 0.9", "no training image; give more images or another --holdout"),
        (
            "{poisoned} --dataset {clean} --dataset {clean}",
            "has one clean one; give --dataset once",
        ),
        ("{poisoned} --dataset {small}", "give those it was made of with --dataset"),
        ("{poisoned} --dataset {encoder}", "is of kind encoder; give one of kind dataset"),
        ("{poisoned} --precision bf16", "does not apply to --method separability; leave it out"),
        ("{encoder} --method separability", "evaluates a dataset, this is an encoder;"),
        ("{encoder} --audit", "--method audit evaluates a dataset, this is an encoder; give the"),
        ("{poisoned} --audit --method knn", "is a method of its own, as is --method knn; leave"),
        ("{poisoned} --audit --dataset {clean}", "--dataset does not apply to --method audit;"),
        ("{poisoned} --audit --l2 1", "--l2 does not apply to --method audit; leave it out"),
        ("{poisoned} --audit --holdout 0.5", "--holdout does not apply to --method audit;"),
        ("{poisoned} --audit --precision bf16", "does not apply to --method audit; leave it out"),
        ("{encoder} --method head", "an encoder of simclr has no classifier of its own; use"),
        ("{encoder} --method distances --k 3", "--k does not apply to --method distances;"),
        (
            "{encoder} --method distances --dataset {small}",
            "trained on images of 32 pixels, shapes",
        ),
        ("{encoder} --dataset {small}", "was trained on images of 32 pixels, shapes has 16; load"),
        ("{encoder} --dataset {delta}", "is of kind delta; give one of kind dataset"),
        ("{encoder} --dataset nowhere", "cannot read nowhere: No such file or directory;"),
        ("{encoder} --dataset -", "standard input: empty input;"),
        ("{encoder} --dataset - --dataset -", "--dataset reads standard input twice;"),
        ("{encoder} --k 5", "--k does not apply to --method lbfgs; leave it out"),
        ("{encoder} --method knn --l2 1", "--l2 does not apply to --method knn; leave it out"),
        ("{encoder} --method svm", "'svm' is not one of lbfgs, sgd, knn, head, distances, sep"),
        ("{encoder} -o /no/where", "there is no folder /no;"),
        ("{encoder} --device cuda:99", "no device 'cuda:99' on this machine;"),
    ],
)
def test_refusals(tool, files, arguments, message):
    names = {path.stem: path for path in files.iterdir()}
    tool("cp-probe", *arguments.format(**names).split()).refused(message)


def test_one_standard_input(tool, files):
    data = (files / "encoder.safetensors").read_bytes()
    done = tool("cp-probe", "--dataset", "-", stdin=data)
    done.refused("INPUT and --dataset both read standard input; give one as a file")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "the probe needs the clean dataset, but the header names no source; give --dataset"),
        (
            Source("shapes", {"limit": 64, "limit_test": 32, "seed": 1}, "0" * 64),
            "needs the clean dataset shapes (sha256 000000000000), but its source has changed;",
        ),
        (Source("/no/pictures", {"seed": 0}, "ab" * 32), "(sha256 abababababab): "),
        (
            Source("shapes", {"color": 3}, "0" * 64),
            "--color does not apply to shapes; leave it out",
        ),
        (Source("shapes", {"limit": "x"}, "0" * 64), "or give it with --dataset"),
    ],
)
def test_source_that_cannot_be_had(tool, tmp_path, files, encoder, source, message):
    write_artifact(replace(encoder, source=source), tmp_path / "a")
    tool("cp-probe", tmp_path / "a").refused(message)
    given = ("--dataset", files / "clean.safetensors")
    report(tool("cp-probe", tmp_path / "a", *given))


def test_pictures_that_changed_are_noticed(tool, make, tmp_path, pictures):
    import shutil

    folder = shutil.copytree(pictures, tmp_path / "pictures")
    make("cp-pretrain", folder, *TINY_TRAINING, o=tmp_path / "a")
    done = tool("cp-probe", tmp_path / "a")
    assert done.err == f"cp-probe: reading the clean dataset {folder}, which the header names\n"
    report(tool("cp-probe", tmp_path / "a", "-q"))
    (folder / "train" / "a" / "0.png").unlink()
    done = tool("cp-probe", tmp_path / "a", "-q")
    done.refused("but its source has changed; give --dataset")
    shutil.rmtree(folder)
    tool("cp-probe", tmp_path / "a").refused(f"needs the clean dataset {folder} (sha256 ")


def test_dataset_that_cannot_be_probed(tool, tmp_path, files):
    clean = open_artifact(files / "clean.safetensors").read()
    none = replace(clean, test_images=clean.test_images[:0], test_labels=clean.test_labels[:0])
    write_artifact(none, tmp_path / "none")
    one = replace(
        clean, classes=("bar",), train_labels=clean.train_labels * 0,
        test_labels=clean.test_labels * 0,
    )  # fmt: skip
    write_artifact(one, tmp_path / "one")
    for name, message in (
        ("none", "shapes has no test images; give a dataset with test images"),
        ("one", "shapes has only one class; give a dataset with several"),
    ):
        probe = tool("cp-probe", files / "encoder.safetensors", "--dataset", tmp_path / name)
        probe.refused(message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "resnet99"}, "unknown architecture 'resnet99'; this version has"),
        ({"width": 16}, "the weights are not those of resnet10 of width 16"),
    ],
)
def test_encoder_of_another_make(tool, tmp_path, encoder, changes, message):
    write_artifact(replace(encoder, **changes), tmp_path / "a")
    done = tool("cp-probe", tmp_path / "a")
    assert message in done.err
    assert (done.code, done.out, done.err.count("\n")) == (2, b"", 1)


@pytest.mark.parametrize("alg", ["advsimclr", "advcl"])
def test_encoders_of_adversarial_training_are_measured_as_any(make, tool, tmp_path, files, alg):
    """Whatever the head holds besides, the embeddings are the projector's of the backbone."""
    import torch

    from cptools.core.build import build_encoder, build_views
    from cptools.core.encoders.heads import mlp, mlp_bn
    from cptools.core.evaluation.distances import view_distances

    clean = files / "clean.safetensors"
    labels = ["--labels-from", files / "encoder.safetensors"] if alg == "advcl" else []
    made = make("cp-pretrain", clean, "--alg", alg, *labels, *TINY_TRAINING, o=tmp_path / "encoder")
    arguments = ("cp-probe", tmp_path / "encoder", "--precision", "fp32")
    done = tool(*arguments, "--method", "distances")
    assert (done.code, done.err) == (0, "")
    network = torch.nn.Sequential(
        build_encoder("resnet10", 8), {"advsimclr": mlp, "advcl": mlp_bn}[alg](64, 64, 64)
    ).eval()
    for prefix, part in zip(("backbone.", "head.projector."), network, strict=True):
        tensors = {
            name.removeprefix(prefix): torch.from_numpy(array)
            for name, array in made.tensors.items()
            if name.startswith(prefix)
        }
        part.load_state_dict(tensors)
    views = build_views(made.history[-1].parameters, size=32, mean=made.mean, std=made.std)
    images = torch.from_numpy(open_artifact(clean).read().train_images)
    values = view_distances(network, network, images, views)
    told = json.loads(done.out)
    assert told["mean"] == pytest.approx(float(values.mean()), abs=1e-4)
    assert (told["features"], told["total"]) == ("projector", 64)
    probe = tool(*arguments)
    assert (probe.code, json.loads(probe.out)["algorithm"]) == (0, alg)
    tool(*arguments, "--method", "head").refused(f"an encoder of {alg} has no classifier of its")


def test_distances(tool, files, encoder):
    """What the embedding of a hand-made SimCLR with these weights says."""
    import torch

    from cptools.core.build import build_algorithm, build_views
    from cptools.core.evaluation.distances import view_distances

    path, clean = files / "encoder.safetensors", files / "clean.safetensors"
    given = ["--dataset", clean, "--dataset", files / "poisoned.safetensors", "--precision", "fp32"]
    done = tool("cp-probe", path, "--method", "distances", "--seed", 3, *given)
    assert (done.code, done.err) == (0, "")
    made = encoder.history[-1].parameters
    algorithm = build_algorithm(
        "simclr", made, num_classes=10, mean=encoder.mean, std=encoder.std, seed=0
    )
    weights = {
        name.replace("backbone.", "encoder."): torch.from_numpy(array)
        for name, array in encoder.tensors.items()
        if not name.startswith("curve.")
    }
    algorithm.load_state_dict(weights)
    views = build_views(made, size=32, mean=encoder.mean, std=encoder.std)
    for line, name in zip(done.out.splitlines(), ("clean", "poisoned"), strict=True):
        told, dataset = json.loads(line), open_artifact(files / f"{name}.safetensors").read()
        images = torch.from_numpy(dataset.train_images)
        values = view_distances(algorithm, algorithm.embed, images, views, seed=3).tolist()
        assert told["mean"] == pytest.approx(statistics.fmean(values), abs=1e-4)
        assert told["median"] == pytest.approx(statistics.median(values), abs=1e-4)
        assert told["dataset_sha256"] == dataset_digest(dataset)
        assert (told["total"], sum(told["counts"]), len(told["counts"])) == (64, 64, 100)
        assert (told["bins"][0], told["bins"][1], told["bins"][-1]) == (0, 0.02, 2)
        assert abs(told["close"] - sum(v < told["close_below"] for v in values)) <= 1
        assert told["close_percent"] == round(100 * told["close"] / 64, 2)
        assert told["low_percent"] < told["close_percent"] < told["high_percent"]
        used = {name: told["settings"][name] for name in ("crop_area", "jitter", "gray_prob")}
        assert used == {name: made[name] for name in used}
        assert told["features"] == "projector"


@pytest.mark.parametrize("alg", ["moco", "byol", "simsiam", "cmc", "supcon", "supervised"])
def test_distances_of_every_algorithm(tool, make, tmp_path, files, alg):
    """The file's own weights, and no others, make the embedding."""
    options = [*TINY_TRAINING, "--alg", alg]
    if alg == "moco":
        options += ["--queue-size", 16]
    encoder = make("cp-pretrain", files / "few.safetensors", *options, o=tmp_path / "a")
    method = ("--method", "distances")
    told = report(tool("cp-probe", tmp_path / "a", *method))
    assert told["features"] == ("backbone" if alg == "supervised" else "projector")
    assert told["total"] == 64  # of the clean source, of which few is a part
    assert 0 < told["median"] <= told["mean"] * 3
    part = "backbone" if alg == "supervised" else "head.projector"
    tensors = {
        name: array * 0 if name.startswith(part) and array.dtype == np.float32 else array
        for name, array in encoder.tensors.items()
    }
    write_artifact(replace(encoder, tensors=tensors), tmp_path / "b")
    assert report(tool("cp-probe", tmp_path / "b", *method))["counts"][0] == 64


def test_distances_need_no_test_images_and_no_second_class(tool, tmp_path, files):
    clean = open_artifact(files / "clean.safetensors").read()
    bare = replace(
        clean, classes=("bar",), train_labels=clean.train_labels * 0,
        test_images=clean.test_images[:0], test_labels=clean.test_labels[:0],
    )  # fmt: skip
    write_artifact(bare, tmp_path / "bare")
    words = ("--method", "distances", "--dataset", tmp_path / "bare")
    assert report(tool("cp-probe", files / "encoder.safetensors", *words))["total"] == 64


def test_views_come_from_the_history_or_else_the_recipe(tool, tmp_path, files, encoder):
    from cptools.core import recipes

    write_artifact(replace(encoder, history=()), tmp_path / "a")
    words = ("--method", "distances", "--dry-run")
    for recipe in ("quick", "paper"):
        told = json.loads(tool("cp-probe", tmp_path / "a", *words, "--recipe", recipe).out)
        expected = recipes.pretrain(recipe, alg="simclr", dataset="")
        assert {name: told[name] for name in recipes.VIEWS}.items() <= expected.items()
    last = encoder.history[-1]
    still = {"crop_area": 1.0, "flip_prob": 0.0, "jitter_prob": 0.0, "gray_prob": 0.0}
    changed = replace(last, parameters={**last.parameters, **still})
    write_artifact(replace(encoder, history=(changed,)), tmp_path / "b")
    told = report(tool("cp-probe", tmp_path / "b", *words[:2]))
    assert still.items() <= told["settings"].items()
    assert told["mean"] < report(tool("cp-probe", tmp_path / "a", *words[:2]))["mean"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("crop_area", value) for value in ("much", 0, -1, None, [1])),
        *(("pad", value) for value in ("much", -7, 2.5, 10**9)),
        ("jitter", 1e300),
    ],
)
def test_views_that_no_history_can_have(tool, tmp_path, files, encoder, name, value):
    last = encoder.history[-1]
    changed = replace(last, parameters={**last.parameters, name: value})
    write_artifact(replace(encoder, history=(changed,)), tmp_path / "a")
    done = tool("cp-probe", tmp_path / "a", "--method", "distances")
    done.refused("the augmentations in the encoder's history are invalid")


def test_heads_of_another_make(tool, tmp_path, encoder):
    weights = encoder.tensors["head.projector.2.weight"]
    short = {**encoder.tensors, "head.projector.2.weight": weights[:, :-1].copy()}
    no_bias = {n: a for n, a in encoder.tensors.items() if n != "head.projector.0.bias"}
    for tensors in (short, no_bias):
        write_artifact(replace(encoder, tensors=tensors), tmp_path / "a")
        done = tool("cp-probe", tmp_path / "a", "--method", "distances")
        done.refused("the head is not that of simclr; train the encoder with cp-pretrain")
    write_artifact(replace(encoder, algorithm="nosuch"), tmp_path / "a")
    tool("cp-probe", tmp_path / "a", "--method", "distances").refused("unknown algorithm 'nosuch';")
    bare = {n: a for n, a in encoder.tensors.items() if n.startswith("backbone.")}
    write_artifact(replace(encoder, tensors=bare, algorithm="nosuch"), tmp_path / "a")
    told = report(tool("cp-probe", tmp_path / "a", "--method", "distances"))
    assert told["features"] == "backbone"


@pytest.fixture(scope="module")
def supervised(make, files, tmp_path_factory):
    path = tmp_path_factory.mktemp("supervised") / "supervised.safetensors"
    make(
        "cp-pretrain", files / "clean.safetensors", "--alg", "supervised", "--epochs", 20,
        o=path,
    )  # fmt: skip
    return path


def test_supervised_reports_its_own_accuracy(tool, files, supervised):
    """By hand: the backbone on each test image alone, and its largest logit."""
    import torch

    from cptools.core.build import build_encoder
    from cptools.core.views import normalize

    told = report(tool("cp-probe", supervised, "--precision", "fp32"))
    assert told["settings"]["method"] == "head"
    assert told.keys() == report(tool("cp-probe", supervised, "--method", "lbfgs")).keys()
    encoder, clean = (
        open_artifact(path).read() for path in (supervised, files / "clean.safetensors")
    )
    tensors = {name: torch.from_numpy(array) for name, array in encoder.tensors.items()}
    backbone = build_encoder(encoder.architecture, encoder.width).eval()
    backbone.load_state_dict(
        {n.removeprefix("backbone."): t for n, t in tensors.items() if n.startswith("backbone.")}
    )
    correct = 0
    with torch.no_grad():
        for image, label in zip(clean.test_images, clean.test_labels, strict=True):
            x = normalize(torch.from_numpy(image)[None] / 255, encoder.mean, encoder.std)
            logits = tensors["head.classifier.weight"] @ backbone(x)[0]
            correct += int((logits + tensors["head.classifier.bias"]).argmax()) == label
    assert abs(told["correct"] - correct) <= 1  # two images may be equally near to two classes
    assert told["accuracy_percent"] == round(100 * told["correct"] / told["total"], 2)
    assert (told["total"], told["selected_on_test"], told["best_epoch"]) == (32, False, None)


def test_classifier_that_does_not_fit(tool, make, tmp_path, files, supervised):
    make("cp-dataset", files / "clean.safetensors", "--classes", "bar,ring,star", o=tmp_path / "3")
    done = tool("cp-probe", supervised, "--dataset", tmp_path / "3")
    done.refused("classifier is 10x64, not for 64 features and 3 classes; give the dataset whose")
    encoder = open_artifact(supervised).read()
    for name, change in (
        ("head.classifier.weight", lambda array: array[:, 1:].copy()),
        ("head.classifier.bias", lambda array: array[1:].copy()),
    ):
        tensors = {**encoder.tensors, name: change(encoder.tensors[name])}
        write_artifact(replace(encoder, tensors=tensors), tmp_path / "a")
        tool("cp-probe", tmp_path / "a").refused("give the dataset whose classes it was trained on")


def noise_report(done):
    assert (done.code, done.err) == (0, "")
    linear, mlp = map(json.loads, done.out.splitlines())
    assert (linear["classifier"], mlp["classifier"]) == ("linear", "mlp")
    return linear, mlp


def test_separability(tool, tmp_path, files):
    poisoned = open_artifact(files / "poisoned.safetensors").read()
    done = tool("cp-probe", files / "poisoned.safetensors")
    for told in noise_report(done):  # one perturbation a class
        assert told["accuracy_percent"] == told["train_accuracy_percent"] == 100
        assert (told["correct"], told["total"]) == (13, 13)
        assert (told["train_correct"], told["train_total"]) == (51, 51)
        assert told["low_percent"] < told["train_low_percent"] < 100 == told["high_percent"]
        assert told["dataset_sha256"] == dataset_digest(poisoned)
        assert {"method": "separability", "holdout": 0.2, "iterations": 1000}.items() <= (
            told["settings"].items()
        )
        assert [step["tool"] for step in told["history"]] == ["cp-dataset", "cp-generate"]
    data = (files / "poisoned.safetensors").read_bytes()
    assert tool("cp-probe", stdin=data).out == done.out
    words = ["--method", "separability", "--dataset", files / "clean.safetensors"]
    assert tool("cp-probe", files / "poisoned.safetensors", *words).out == done.out
    tool("cp-probe", files / "poisoned.safetensors", "-o", tmp_path / "r.jsonl")
    assert (tmp_path / "r.jsonl").read_bytes() == done.out


def test_random_noise_is_not_separable(tool, make, tmp_path, files):
    make("cp-dataset", "shapes", "--limit", 200, o=tmp_path / "clean")
    make("cp-perturb", tmp_path / "clean", "--noise", o=tmp_path / "noise")
    words = ("--holdout", 0.5, "--iterations", 100)
    first = noise_report(tool("cp-probe", tmp_path / "noise", *words))
    for told in first:
        assert told["train_accuracy_percent"] == 100
        assert told["total"] == told["train_total"] == 100
        assert told["low_percent"] < 10 < told["high_percent"]
    assert noise_report(tool("cp-probe", tmp_path / "noise", *words, "--seed", 1)) != first


def test_noise_of_rows_that_were_chosen(tool, make, tmp_path, files):
    """A part of the poisoned images, whose clean source is the whole."""
    make("cp-dataset", files / "poisoned.safetensors", "--limit", 40, "--seed", 5, o=tmp_path / "a")
    for told in noise_report(tool("cp-probe", tmp_path / "a")):
        assert (told["correct"], told["train_total"]) == (8, 32)


def test_half_poisoned(tool, make, tmp_path, files):
    words = ("--delta", files / "delta.safetensors", "--fraction", 0.5)
    make("cp-perturb", files / "clean.safetensors", *words, o=tmp_path / "half")
    for told in noise_report(tool("cp-probe", tmp_path / "half")):
        assert told["total"] + told["train_total"] == 32


def test_noise_that_cannot_be_measured(tool, tmp_path, files):
    poisoned = open_artifact(files / "poisoned.safetensors").read()
    one = replace(poisoned, classes=("bar",), train_labels=poisoned.train_labels * 0,
                  test_labels=poisoned.test_labels * 0)  # fmt: skip
    write_artifact(one, tmp_path / "one")
    tool("cp-probe", tmp_path / "one").refused("the noise is of one class only; give a dataset")
    small = replace(
        poisoned, train_images=poisoned.train_images[..., ::2, ::2],
        test_images=poisoned.test_images[..., ::2, ::2],
    )  # fmt: skip
    write_artifact(small, tmp_path / "small")
    tool("cp-probe", tmp_path / "small").refused(
        "differ in size; give the matching clean --dataset"
    )
    write_artifact(replace(poisoned, source=None), tmp_path / "none")
    tool("cp-probe", tmp_path / "none").refused("the noise needs the clean dataset, but the header")


def test_dry_run_of_a_dataset(tool, files):
    done = tool("cp-probe", files / "poisoned.safetensors", "--recipe", "paper", "--dry-run")
    assert json.loads(done.out) == {
        "recipe": "paper", "seed": 0, "method": "separability", "holdout": 0.2, "iterations": 1000,
    }  # fmt: skip


def test_audit(tool, tmp_path, files):
    """The score and the figure are those of the measure; nothing of the clean dataset is used."""
    import torch

    from cptools.core.evaluation.audit import Audit, audit

    poisoned = open_artifact(files / "poisoned.safetensors").read()
    write_artifact(replace(poisoned, source=None), tmp_path / "stray")
    done = tool("cp-probe", tmp_path / "stray", "--audit", "--seed", 3)
    told = report(done)
    images, labels = map(torch.from_numpy, (poisoned.train_images, poisoned.train_labels))
    found = Audit.of(audit(images, labels, 10, seed=3))
    assert (told["verdict"], found.verdict) == ("poisoned", "poisoned")
    for name, value in {
        "score": found.score,
        "agreement_score": found.agreement.score,
        "noise_score": found.noise.score,
        "color_agreement": found.color.value,
        "color_agreement_deviation": found.color.deviation,
        "gray_agreement": found.gray.value,
        "gray_agreement_deviation": found.gray.deviation,
        "noise_level": found.noise.white,
        "noise_color": found.noise.color,
    }.items():
        assert told[name] == pytest.approx(value, rel=1e-4)
    classes = dict(zip(poisoned.classes, found.agreement.by_class, strict=True))
    assert told["class_agreement"] == pytest.approx(classes, rel=1e-4)
    assert told["noisy_percent"] == round(100 * found.noise.share, 2)
    assert told["marked_percent"] == round(100 * float((found.evidence >= 1).double().mean()), 2)
    worst = sorted(range(64), key=lambda i: -found.evidence[i])
    assert told["suspects"] == [i for i in worst[:20] if found.evidence[i] >= 1] != []
    assert (told["total"], told["dataset"]) == (64, "shapes")
    assert told["dataset_sha256"] == dataset_digest(poisoned)
    assert told["settings"] == {
        "recipe": "quick", "seed": 3, "method": "audit", "device": "cpu", "precision": "fp32",
    }  # fmt: skip
    assert [step["tool"] for step in told["history"]] == ["cp-dataset", "cp-generate"]
    data = (tmp_path / "stray").read_bytes()
    assert tool("cp-probe", "--method", "audit", "--seed", 3, stdin=data).out == done.out
    assert tool("cp-probe", "-", "--audit", "--method", "audit", "--seed", 3, stdin=data) == done
    tool("cp-probe", tmp_path / "stray", "--audit", "--seed", 3, "-o", tmp_path / "r.jsonl")
    assert (tmp_path / "r.jsonl").read_bytes() == done.out


def test_audits_tell_poison_from_noise(tool, make, tmp_path, files):
    make("cp-perturb", files / "clean.safetensors", "--noise", o=tmp_path / "noise")
    for path, verdict in (
        (files / "clean.safetensors", "inconspicuous"),
        (files / "poisoned.safetensors", "poisoned"),
        (tmp_path / "noise", "noisy"),
    ):
        told = report(tool("cp-probe", path, "--audit"))
        assert (told["verdict"], told["score"] >= 1) == (verdict, verdict == "poisoned")


def test_audit_of_little(tool, tmp_path, files):
    clean = open_artifact(files / "clean.safetensors").read()
    one = replace(clean, train_images=clean.train_images[:1], train_labels=clean.train_labels[:1])
    write_artifact(one, tmp_path / "one")
    told = report(tool("cp-probe", tmp_path / "one", "--audit"))
    assert (told["verdict"], told["score"], told["suspects"]) == ("inconspicuous", 0, [])
    tiny = replace(
        clean, train_images=clean.train_images[..., :7, :].copy(),
        test_images=clean.test_images[..., :7, :].copy(),
    )  # fmt: skip
    write_artifact(tiny, tmp_path / "tiny")
    done = tool("cp-probe", tmp_path / "tiny", "--audit")
    done.refused("an audit needs images of at least 8 x 8 pixels; make them larger")


def test_dry_run_of_an_audit(tool, files):
    done = tool("cp-probe", files / "clean.safetensors", "--audit", "--dry-run")
    assert json.loads(done.out) == {"recipe": "quick", "seed": 0, "method": "audit"}


def test_sentences_for_a_terminal(files, supervised):
    """What is printed where standard output is a terminal."""
    from cptools.reports.report import sentence

    base = {
        "accuracy_percent": 12.34, "low_percent": 5.0, "high_percent": 20.06, "total": 200,
        "dataset": "shapes", "algorithm": "simclr", "architecture": "resnet10", "width": 8,
        "selected_on_test": False,
    }  # fmt: skip
    probe = sentence(base | {"settings": {"method": "knn"}})
    assert probe == (
        "12.3 % of 200 test images of shapes (95% interval 5.0 to 20.1; knn probe of simclr,"
        " resnet10 width 8)"
    )
    best = sentence(base | {"selected_on_test": True, "settings": {"method": "sgd"}})
    assert best.endswith("width 8, the best epoch on the test images)")
    head = sentence(base | {"settings": {"method": "head"}})
    assert "; own classifier of simclr, " in head
    noise = {"classifier": "mlp", "train_accuracy_percent": 99.51, "train_total": 800}
    assert sentence(base | noise | {"settings": {"method": "separability"}}) == (
        "mlp classifier of noise alone: the class of 12.3 % of 200 held-out images of shapes"
        " (95% interval 5.0 to 20.1), 99.5 % of the 800 it was fitted to"
    )
    near = {"mean": 0.25, "median": 0.0314, "close_percent": 70.04, "close_below": 0.1}
    distances = base | near | {"features": "projector", "settings": {"method": "distances"}}
    assert sentence(distances) == (
        "cosine distance of two views of each of 200 images of shapes: median 0.031, mean 0.250,"
        " 70.0 % below 0.1 (projector of simclr, resnet10 width 8)"
    )
    scores = {"score": 2.7026, "agreement_score": 0.1639, "noise_score": 2.7026}
    audit = {"verdict": "suspicious", **scores, "marked_percent": 99.52}
    assert sentence(base | audit | {"settings": {"method": "audit"}}) == (
        "suspicious: 200 images of shapes score 2.70, where 1 raises the alarm (detail shared"
        " within classes: 0.16; color of noise: 2.70); 99.5 % of the images marked; too many to"
        " leave out: see cp-defend --recommend, or get the images elsewhere"
    )
    few = base | audit | {"settings": {"method": "audit"}, "marked_percent": 3.0}
    assert sentence(few).endswith("3.0 % of the images marked; look at these and leave them out:"
                                  " --scores FILE, then cp-dataset --drop FILE")  # fmt: skip
    for verdict, advice in (("noisy", "without a pattern"), ("inconspicuous", "no proof")):
        assert advice in sentence(few | {"verdict": verdict})


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("cp-pretrain {clean} --alg supervised --epochs 1 -q | cp-probe -o a.jsonl", ["a"]),
        ("cp-perturb {clean} --noise --epsilon 4/255 | cp-probe -o a.jsonl", ["a linear", "a mlp"]),
        ("cp-perturb {clean} --delta {delta} | cp-probe --audit -o a.jsonl", ["a"]),
    ],
)
def test_pipelines_end_in_a_report(bash, tmp_path, files, text, rows):
    paths = {name: files / f"{name}.safetensors" for name in ("clean", "delta")}
    done = bash(text.format(**paths), tmp_path)
    assert (done.returncode, done.stdout) == (0, b"")
    done = bash("cptools report a.jsonl", tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    shown = [line.split("|")[1].strip() for line in done.stdout.decode().splitlines()]
    assert shown[2:] == rows


def test_how_much_of_a_coreset_is_poisoned(tool, tmp_path, files):
    from cptools.reports.report import sentence

    clean = files / "clean.safetensors"
    part, coreset = tmp_path / "part", tmp_path / "coreset"
    tool("cp-perturb", clean, "--noise", "--fraction", 0.25, "-o", part)
    tool("cp-select", part, "--method", "random", "--fraction", 0.5, "--seed", 3, "-o", coreset)
    images = {
        name: open_artifact(path).read()
        for name, path in (("clean", clean), ("part", part), ("coreset", coreset))
    }
    moved = (images["part"].train_images != images["clean"].train_images).any(axis=(1, 2, 3))
    kept = int(moved[images["coreset"].train_index].sum())
    assert int(moved.sum()) == len(moved) // 4
    assert 0 < kept < len(images["coreset"].train_images)
    for path, changed in ((clean, 0), (part, len(moved) // 4), (coreset, kept)):
        done = tool("cp-probe", path, "--method", "changed", "--dataset", clean, "--json")
        assert (done.code, done.err) == (0, "")
        line = json.loads(done.out)
        total = len(open_artifact(path).read().train_images)
        assert (line["changed"], line["total"]) == (changed, total)
        assert line["changed_percent"] == round(100 * changed / total, 2)
        assert (line["low_percent"], line["high_percent"]) == tuple(
            round(100 * end, 2) for end in wilson(changed, total)
        )
    assert sentence(line).startswith(f"{line['changed_percent']:.1f} % of {total} images of shapes")
    other = tmp_path / "other"
    tool("cp-dataset", "shapes", "--limit", 64, "--limit-test", 32, "--seed", 7, "-o", other)
    tool("cp-probe", part, "--method", "changed", "--dataset", other).refused("was made of; give")
    tool("cp-probe", files / "encoder.safetensors", "--method", "changed").refused(
        "--method changed evaluates a dataset, this is an encoder;"
    )
