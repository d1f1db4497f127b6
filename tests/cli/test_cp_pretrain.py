"""`cp-pretrain`: the encoder, its curves, how it was made, and checkpoints."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import TINY_TRAINING

from cptools.artifacts.history import dataset_digest, digest
from cptools.artifacts.stream import open_artifact, write_artifact
from cptools.core.algorithms import ALGORITHMS


def learner(alg, files):
    """Options of a learner; one that learns pseudo-labels has them from the encoder."""
    if not ALGORITHMS[alg].is_clustered:
        return ["--alg", alg]
    return ["--alg", alg, "--labels-from", files / "encoder.safetensors"]


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_encoder(make, tmp_path, files, alg):
    clean = open_artifact(files / "clean.safetensors").read()
    made = make(
        "cp-pretrain", files / "clean.safetensors", *learner(alg, files), "--epochs", 2,
        "--batch-size", 32, o=tmp_path / "a",
    )  # fmt: skip
    architecture, width, dim, stem = {
        "cmc": ("lab-resnet10", 8, 64, "lightness.conv1"), "mae": ("vit-tiny", 48, 48, "conv_proj"),
    }.get(alg, ("resnet10", 8, 64, "conv1"))  # fmt: skip
    assert (made.architecture, made.width, made.algorithm) == (architecture, width, alg)
    assert (made.input_size, made.feature_dim) == (32, dim)
    assert (made.mean, made.std, made.source) == (clean.mean, clean.std, clean.source)
    for curve in ("loss", "alignment", "uniformity"):
        assert made.tensors[f"curve.{curve}"].shape == (2,)
    assert f"backbone.{stem}.weight" in made.tensors
    assert any(name.startswith("head.") for name in made.tensors)
    *before, step = made.history
    assert tuple(before) == clean.history
    assert (step.tool, step.parameters["epochs"], step.parameters["alg"]) == ("cp-pretrain", 2, alg)
    assert step.inputs["input"].digest == dataset_digest(clean)
    assert ("ema" in step.parameters) == (alg in ("moco", "moco-v3", "byol", "dino"))
    assert ("head.classifier.weight" in made.tensors) == (
        alg in ("supervised", "advsupervised", "ueraser", "vespr")
    )


def test_a_queue_that_holds_every_image_is_noted(tool, tmp_path, files):
    def notes(size):
        done = tool(
            "cp-pretrain", files / "clean.safetensors", "--alg", "moco", "--epochs", 1,
            "--batch-size", 32, "--queue-size", size, "-o", tmp_path / "a",
        )  # fmt: skip
        assert done.code == 0
        return done.err

    assert "a queue of 64 holds all 64 images" in notes(64)
    assert notes(63) == ""


def test_training_changes_the_weights_and_the_seed_the_start(make, tmp_path, files):
    def weights(*arguments):
        encoder = make("cp-pretrain", files / "clean.safetensors", *arguments, o=tmp_path / "a")
        return encoder.tensors["backbone.conv1.weight"]

    start = weights("--epochs", 1, "--lr", 0, "--weight-decay", 0)
    assert not np.array_equal(weights(*TINY_TRAINING), start)
    assert not np.array_equal(weights("--epochs", 1, "--lr", 0, "--seed", 1), start)
    assert np.array_equal(weights("--epochs", 2, "--lr", 0, "--weight-decay", 0), start)


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_only_supervised_learning_uses_labels(make, tmp_path, files, alg):
    clean = open_artifact(files / "clean.safetensors").read()
    write_artifact(replace(clean, train_labels=clean.train_labels * 0), tmp_path / "one")
    curves = [
        make("cp-pretrain", path, *learner(alg, files), *TINY_TRAINING, o=tmp_path / "a").tensors[
            "curve.loss"
        ]
        for path in (files / "clean.safetensors", tmp_path / "one")
    ]
    assert np.array_equal(*curves) == (
        alg not in ("supervised", "advsupervised", "supcon", "ueraser", "vespr")
    )


def test_watching_the_clean_images(make, same_again, tmp_path, files):
    arguments = ("cp-pretrain", files / "poisoned.safetensors", *TINY_TRAINING)
    watch = ("--watch", files / "clean.safetensors")
    plain, watching = make(*arguments, o=tmp_path / "a"), make(*arguments, *watch, o=tmp_path / "b")
    for name, tensor in plain.tensors.items():
        assert np.array_equal(watching.tensors[name], tensor), name
    assert watching.tensors.keys() - plain.tensors.keys() == {
        "curve.eval_loss", "curve.watch_loss", "curve.watch_alignment", "curve.watch_uniformity",
    }  # fmt: skip
    clean = open_artifact(files / "clean.safetensors").read()
    item = watching.history[-1].inputs["watch"]
    assert (item.kind, item.digest) == ("dataset", dataset_digest(clean))
    same_again(tmp_path / "b")


def test_pseudo_labels_are_clusters_of_an_encoders_features(make, same_again, tmp_path, files):
    arguments = ("cp-pretrain", files / "poisoned.safetensors", *TINY_TRAINING)
    watch = ("--watch", files / "clean.safetensors")
    made = make(*arguments, *learner("advcl", files), *watch, o=tmp_path / "a")
    encoder = open_artifact(files / "encoder.safetensors").read()
    item = made.history[-1].inputs["labels_from"]
    assert (item.kind, item.digest) == ("encoder", digest(encoder.arrays()))
    assert item.history == encoder.history
    heads = [made.tensors[f"head.classifiers.{n}.weight"].shape for n in range(2)]
    assert heads == [(2, 64), (10, 64)]  # of 64 images, 50 clusters would be too many
    assert "head.classifiers.2.weight" not in made.tensors
    assert made.tensors["head.normal.0.weight"].shape == (8,)
    # The labels follow the encoder, and the watched images have labels of their own.
    other = make(*arguments, "--seed", 1, o=tmp_path / "encoder")
    write_artifact(other, tmp_path / "encoder")
    again = make(
        *arguments, "--alg", "advcl", "--labels-from", tmp_path / "encoder", o=tmp_path / "b"
    )
    assert not np.array_equal(again.tensors["curve.loss"], made.tensors["curve.loss"])
    assert made.tensors["curve.watch_loss"] != made.tensors["curve.eval_loss"]
    same_again(tmp_path / "a")


def test_pseudo_labels_may_come_through_the_pipe(tool, tmp_path, files):
    arguments = ("cp-pretrain", files / "clean.safetensors", *TINY_TRAINING, "--alg", "advcl")
    done = tool(
        *arguments, "--labels-from", "-", stdin=(files / "encoder.safetensors").read_bytes()
    )
    assert (done.code, done.err) == (0, "")
    named = tool(*arguments, "--labels-from", files / "encoder.safetensors")
    assert named.out == done.out


def test_dry_run_needs_no_pseudo_labels(tool, files):
    done = tool("cp-pretrain", files / "clean.safetensors", "--alg", "advcl", "--dry-run")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out)["adv_epsilon"] == "4/255"


def test_stream(tool, files):
    data = (files / "poisoned.safetensors").read_bytes()
    done = tool("cp-pretrain", *TINY_TRAINING, stdin=data)
    assert (done.code, done.err) == (0, "")
    assert done.out == (files / "encoder.safetensors").read_bytes()


def test_encoder_and_width(make, tmp_path, files):
    made = make(
        "cp-pretrain", files / "few.safetensors", "--encoder", "resnet18", "--width", 4,
        "--epochs", 1, o=tmp_path / "a",
    )  # fmt: skip
    assert (made.architecture, made.width, made.feature_dim) == ("resnet18", 4, 32)


def test_dry_run(tool, files, pictures):
    done = tool("cp-pretrain", files / "clean.safetensors", "--recipe", "paper", "--dry-run")
    assert (done.code, done.err) == (0, "")
    settings = json.loads(done.out)
    assert (settings["epochs"], settings["warmup_epochs"], settings["lr"]) == (1000, 10, 0.5)
    assert json.loads(tool("cp-pretrain", pictures, "-n", "--lr", 2).out)["lr"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("{clean} --ema 0.9", "--ema does not apply to --alg simclr; leave it out"),
        ("{clean} --alg moko", "'moko' is not one of simclr, moco, byol"),
        ("{clean} --epochs 0", "invalid value for '--epochs'"),
        ("{encoder}", "is of kind encoder; give one of kind dataset"),
        ("nowhere", "there is no file or source nowhere;"),
        ("-", "nothing is piped into standard input;"),
        ("{clean} --watch {small}", "--watch has 16-pixel images of 10 classes, the input has 32"),
        ("{clean} --watch {encoder}", "is of kind encoder; give one of kind dataset"),
        ("{clean} --alg supervised --temperature 1", "--temperature does not apply to --alg sup"),
        ("{clean} --alg simsiam --ema 1", "--ema does not apply to --alg simsiam; leave it out"),
        ("{clean} --adv-epsilon 8", "'8' is not a number from 0 to 1, such as 8/255"),
        ("{clean} --adv-steps 2", "--adv-steps does not apply to --alg simclr; leave it out"),
        ("{clean} --alg advsimclr --ce-weight 2", "--ce-weight does not apply to --alg advsimclr"),
        ("{clean} --alg advcl", "--alg advcl uses pseudo-labels, which need an encoder of the"),
        ("{clean} --labels-from {encoder}", "--labels-from does not apply to --alg simclr; leave"),
        ("{clean} --alg advcl --labels-from {clean}", "is of kind dataset; give one of kind enc"),
        ("{small} --alg advcl --labels-from {encoder}", "--labels-from: the encoder was trained"),
        ("--watch - --alg advcl --labels-from -", "--watch and --labels-from both read standard"),
        ("{clean} -o /no/where", "there is no folder /no;"),
        ("{clean} --checkpoint .", "it is a folder;"),
        ("{clean} --checkpoint {delta}", "is of kind delta; give one of kind checkpoint"),
        ("{clean} --checkpoint - -o a", "cannot be read again; name a file"),
        ("{clean} --checkpoint a -o ./a", "are the same file; give two different ones"),
        ("{clean} -o a --watch {few} --checkpoint {few}", "are the same file;"),
        ("{clean} --device cuda:99", "no device 'cuda:99' on this machine;"),
        ("{clean} --precision fp8", "'fp8' is not one of auto, fp32, bf16"),
    ],
)
def test_refusals(tool, files, arguments, message):
    names = {path.stem: path for path in files.iterdir()}
    tool("cp-pretrain", *arguments.format(**names).split()).refused(message)


def test_divergence_is_one_line(tool, tmp_path, files):
    done = tool(
        "cp-pretrain", files / "clean.safetensors", "--epochs", 3, "--lr", 1e30,
        "-o", tmp_path / "a",
    )  # fmt: skip
    assert (done.code, done.out) == (1, b"")
    assert (
        done.err
        == "cp-pretrain: error: training diverged (the loss is not finite); use a lower --lr\n"
    )
    assert not list(tmp_path.iterdir())


def test_interrupted_and_carried_on_gives_the_same_bytes(interrupt_and_carry_on, files):
    interrupt_and_carry_on(
        "cp-pretrain", files / "clean.safetensors", "--alg", "byol", "--epochs", "25",
        "--batch-size", "32",
        total=25,
    )  # fmt: skip


def test_printed_history_gives_the_same_bytes(same_again_here, files):
    same_again_here(files / "encoder.safetensors")


def test_accuracy_by_epoch_goes_to_a_report_that_can_be_drawn(tool, make, tmp_path, files):
    clean, curve = files / "clean.safetensors", tmp_path / "curve.jsonl"
    command = ["cp-pretrain", clean, *TINY_TRAINING]
    make(*command, "--probe-every", 1, "--report", curve, "--clean", clean, o=tmp_path / "a")
    make(*command, o=tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    (line,) = map(json.loads, curve.read_text().splitlines())
    assert line["epochs"] == [*range(1, len(line["epochs"]) + 1)]
    assert tool("cp-visualize", curve, "-o", tmp_path / "curve.svg").code == 0
    assert "Accuracy by epoch" in (tmp_path / "curve.svg").read_text()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--probe-every", 1], "--probe-every needs --report;"),
        (["--report", "x"], "--report needs --probe-every;"),
        (["--clean", "x"], "--clean needs --probe-every;"),
        (["--probe-every", 1, "--report", "-"], "the encoder goes to stdout"),
        (["--probe-every", 1, "--report", "b", "-o", "b"], "are the same file"),
    ],
)
def test_probing_is_told_whole(tool, monkeypatch, tmp_path, files, options, told):
    monkeypatch.chdir(tmp_path)
    done = tool("cp-pretrain", files / "clean.safetensors", *options)
    assert (done.code, told in done.err) == (2, True)
    assert not any(tmp_path.iterdir())


def test_a_hardened_recipe_is_told_and_its_settings_are_the_same_typed(tool, files):
    def told(*options):
        done = tool("cp-pretrain", files / "clean.safetensors", *options, "--dry-run")
        return json.loads(done.out)

    hard = told("--recipe", "quick+no-crop+temperature")
    assert hard.pop("recipe") == "quick+no-crop+temperature"
    typed = told("--views", "flip,jitter,gray", "--temperature", 0.1)
    assert hard == {name: value for name, value in typed.items() if name != "recipe"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--recipe", "quick+nocrop"], "--recipe quick+nocrop has no nocrop; did you mean"),
        (["--recipe", "quick+no-crop", "--alg", "supervised"], "there are no crops; leave no-crop"),
        (["--recipe", "no-crop"], "is no recipe"),
    ],
)
def test_what_hardens_nothing_is_refused(tool, files, options, told):
    done = tool("cp-pretrain", files / "clean.safetensors", *options, "--dry-run")
    assert (done.code, told in done.err, done.err.count("\n")) == (2, True, 1), done.err


@pytest.mark.parametrize("number", ["2", "1"])
def test_several_processes_are_refused(tool, files, monkeypatch, number):
    """Under torchrun each would do all of the work."""
    monkeypatch.setenv("WORLD_SIZE", number)
    done = tool("cp-pretrain", files / "clean.safetensors", "--dry-run")
    if number == "1":
        assert done.code == 0
    else:
        done.refused("several processes cannot share the work yet (WORLD_SIZE=2);")
