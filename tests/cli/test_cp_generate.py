"""`cp-generate`: the poisoned dataset, its delta, how they were made, and checkpoints."""

import json
import shlex

import numpy as np
import pytest
from conftest import TINY_POISON

from cptools.artifacts.history import dataset_digest, digest, shell
from cptools.artifacts.stream import open_artifact
from cptools.core.poisons import ATTACKS


@pytest.fixture(scope="module")
def clean(files):
    return open_artifact(files / "clean.safetensors").read()


def generate(make, folder, source, *arguments):
    """Poisoned dataset and delta of a tiny run."""
    poisoned = make(
        "cp-generate", source, *TINY_POISON, *arguments, "--delta", folder / "delta",
        o=folder / "poisoned",
    )  # fmt: skip
    return poisoned, open_artifact(folder / "delta").read()


@pytest.mark.parametrize("mode", ["class", "sample"])
@pytest.mark.parametrize("alg", ["simclr", "moco", "byol"])
def test_poison_stays_in_its_ball(make, tmp_path, files, clean, alg, mode):
    poisoned, delta = generate(
        make, tmp_path, files / "clean.safetensors", "--alg", alg, "--mode", mode,
        "--epsilon", "5/255",
    )  # fmt: skip
    distance = np.abs(poisoned.train_images.astype(int) - clean.train_images)
    assert distance.max() == 5
    rows = clean.train_labels if mode == "class" else np.arange(64)
    assert delta.delta.shape == (10 if mode == "class" else 64, 3, 32, 32)
    exact = (clean.train_images + 5.0 * delta.delta[rows]).clip(0, 255)
    assert np.abs(poisoned.train_images - exact).max() < 0.5 + 1e-4
    assert np.array_equal(poisoned.test_images, clean.test_images)
    assert (delta.mode, delta.algorithm, delta.epsilon) == (mode, alg, "5/255")


def test_provenance(files, clean):
    poisoned = open_artifact(files / "poisoned.safetensors").read()
    delta = open_artifact(files / "delta.safetensors").read()
    assert poisoned.source == clean.source
    assert delta.dataset == dataset_digest(clean)
    assert delta.history == poisoned.history
    *before, step = poisoned.history
    assert tuple(before) == clean.history
    assert step.tool == "cp-generate"
    told = {"alg": "simclr", "mode": "class", "branch": "dual", "epsilon": "8/255", "rounds": 1,
            "recipe": "quick", "seed": 0, "batch_size": 32, "device": "cpu"}  # fmt: skip
    assert told.items() <= step.parameters.items()
    assert not {"ema", "queue_size", "checkpoint", "delta"} & set(step.parameters)
    assert step.inputs["input"].digest == dataset_digest(clean)


def test_a_poisoned_dataset_holds_neither_clean_images_nor_delta(files, clean):
    reader = open_artifact(files / "poisoned.safetensors")
    assert set(reader.specs) == {"train.images", "train.labels", "test.images", "test.labels"}
    poisoned = reader.read()
    assert not (poisoned.train_images == clean.train_images).all((1, 2, 3)).any()


def test_poison_on_poison_is_said(tool, files, tmp_path):
    words = ("--alg", "lsp", "-o", tmp_path / "x")
    done = tool("cp-generate", files / "poisoned.safetensors", *words)
    assert done.err.startswith("cp-generate: note: these images are poisoned already;")
    assert done.err.endswith("by more than --epsilon 8/255\n")
    assert tool("cp-generate", files / "clean.safetensors", *words).err == ""


def test_settings_change_the_poison(make, tmp_path, files):
    base = open_artifact(files / "poisoned.safetensors").read()
    for arguments in (["--seed", 1], ["--lr", 0.1], ["--crop-area", 1], ["--pgd-steps", 2]):
        other, _ = generate(make, tmp_path, files / "clean.safetensors", *arguments)
        assert dataset_digest(other) != dataset_digest(base)


def test_branch_matters_where_there_is_one(make, tmp_path, files):
    def poison(alg, branch):
        options = ("--alg", alg, "--branch", branch)
        _, delta = generate(make, tmp_path, files / "clean.safetensors", *options)
        return digest(delta.arrays())

    assert poison("simclr", "dual") == poison("simclr", "single")
    for alg in ("moco", "byol"):
        assert poison(alg, "dual") != poison(alg, "single")


def test_class_wise_poison_starts_sample_wise(make, tmp_path, files, clean):
    start = open_artifact(files / "delta.safetensors").read()
    init = ("--mode", "sample", "--init", files / "delta.safetensors")
    _, same = generate(
        make, tmp_path, files / "clean.safetensors", *init, "--model-steps", 0, "--noise-steps", 0
    )
    assert np.array_equal(same.delta, start.delta[clean.train_labels])
    poisoned, delta = generate(make, tmp_path, files / "clean.safetensors", *init, "--pgd-steps", 1)
    distance = np.abs(delta.delta - start.delta[clean.train_labels])
    assert distance.max() == pytest.approx(0.1)  # one PGD step of a tenth of epsilon
    assert (distance.max((1, 2, 3)) > 0).sum() == 32  # on one batch
    item = poisoned.history[-1].inputs["init"]
    assert (item.kind, item.digest, item.history) == (
        "delta",
        digest(start.arrays()),
        start.history,
    )
    assert "--init <(cp-dataset shapes" in shell(poisoned.history)


def test_init_of_the_same_mode(make, tmp_path, files):
    none = ("--model-steps", 0, "--noise-steps", 0)
    start = open_artifact(files / "delta.safetensors").read()
    init = ("--init", files / "delta.safetensors")
    _, same = generate(make, tmp_path, files / "clean.safetensors", *init, *none)
    assert np.array_equal(same.delta, start.delta)


@pytest.mark.parametrize("value", ["-", "/dev/stdout"])
def test_delta_on_standard_output(tool, tmp_path, files, value):
    source = files / "clean.safetensors"
    done = tool("cp-generate", source, *TINY_POISON, "--delta", value)
    assert (done.code, done.err) == (0, "")
    assert done.out == (files / "delta.safetensors").read_bytes()
    done = tool("cp-generate", source, *TINY_POISON, "--delta", value, "-o", tmp_path / "a")
    assert done.out == (files / "delta.safetensors").read_bytes()
    assert (tmp_path / "a").read_bytes() == (files / "poisoned.safetensors").read_bytes()


def test_pictures_and_streams(tool, pictures, files):
    done = tool("cp-generate", pictures, *TINY_POISON, "--delta", "-")
    assert (done.code, done.err) == (0, "")
    data = (files / "clean.safetensors").read_bytes()
    done = tool("cp-generate", *TINY_POISON, stdin=data)
    assert done.out == (files / "poisoned.safetensors").read_bytes()


def test_dry_run(tool):
    done = tool("cp-generate", "--alg", "moco", "--lr", 0.5, "--dry-run")
    assert (done.code, done.err) == (0, "")
    settings = json.loads(done.out)
    assert (settings["alg"], settings["lr"], settings["mode"]) == ("moco", 0.5, "class")
    paper = json.loads(tool("cp-generate", "--recipe", "paper", "-n").out)
    assert (paper["rounds"], paper["encoder"], paper["batch_size"]) == (1000, "resnet18", 512)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("{clean} --ema 0.9", "--ema does not apply to --alg simclr; leave it out"),
        ("{clean} --alg byol --queue-size 9", "--queue-size does not apply to --alg byol"),
        ("{clean} --alg magic", "'magic' is not one of simclr, moco, byol"),
        ("{clean} --epsilon 2", "epsilon '2' is greater than 1;"),
        ("{clean} --jitter 9", "invalid value for '--jitter'"),
        ("{clean} --device cuda:99", "no device 'cuda:99' on this machine;"),
        ("{clean} --device abacus", "unknown device 'abacus';"),
        ("{small} --init {delta}", "--init: the delta is for images of 32x32 pixels, this"),
        ("{clean} --clusters 1", "invalid value for '--clusters'"),
        ("{clean} --clusters 5 --mode sample", "--clusters does not apply to --mode sample;"),
        ("{clean} --clusters 5 --init {delta}", "--clusters does not apply to --init, whose"),
        ("{clean} --clusters 65", "--clusters 65 are more than 64 images; take fewer"),
        ("{clean} --labels-from {encoder}", "--labels-from needs --clusters; give their"),
        ("{small} --clusters 5 --labels-from {encoder}", "--labels-from: the encoder was trained"),
        ("{clean} --init {poisoned}", "is of kind dataset; give one of kind delta"),
        ("{encoder}", "is of kind encoder; give one of kind dataset"),
        ("{clean} --delta - -o -", "dataset and delta both go to stdout;"),
        ("{clean} --delta /dev/stdout -o /dev/fd/1", "dataset and delta both go to stdout;"),
        ("{clean} --delta same -o same", "--output same and --delta same are the same file;"),
        ("{clean} --delta /no/where", "there is no folder /no;"),
        ("{clean} -o /no/where", "there is no folder /no;"),
        ("{clean} --checkpoint /no/where", "there is no folder /no;"),
        ("{clean} --checkpoint {clean}", "are the same file; give two different ones"),
        ("{clean} --checkpoint {delta}", "is of kind delta; give one of kind checkpoint"),
        ("{clean} --checkpoint - -o a", "cannot be read again; name a file"),
        ("{clean} --checkpoint /dev/stdout -o a", "cannot be read again; name a file"),
        ("{clean} --checkpoint a -o ./a", "are the same file; give two different ones"),
        ("{clean} -o a --delta ./a", "are the same file; give two different ones"),
        ("{clean} -o a --delta b --checkpoint b", "are the same file; give two different ones"),
        ("{clean} -o a --init {delta} --checkpoint {delta}", "the input"),
        ("- --init -", "nothing is piped into standard input"),
    ],
)  # fmt: skip
def test_refusals(tool, files, arguments, message):
    names = {path.stem: path for path in files.iterdir()}
    words = arguments.format(**names).split()
    done = tool("cp-generate", *words, "--rounds", 1)
    assert message in done.err
    assert (done.code, done.out, done.err.count("\n")) == (2, b"", 1)


def test_sample_wise_delta_cannot_start_a_class_wise_one(tool, make, tmp_path, files):
    generate(make, tmp_path, files / "clean.safetensors", "--mode", "sample")
    done = tool("cp-generate", files / "clean.safetensors", "--init", tmp_path / "delta")
    done.refused("--init: a sample-wise delta cannot initialize a class-wise one")


def test_one_standard_input(tool, files):
    data = (files / "clean.safetensors").read_bytes()
    done = tool("cp-generate", "--init", "-", stdin=data)
    done.refused("INPUT and --init both read standard input; give one as a file")


def test_divergence_is_one_line(tool, tmp_path, files):
    done = tool(
        "cp-generate", files / "clean.safetensors", *TINY_POISON, "--lr", 1e30,
        "-o", tmp_path / "a",
    )  # fmt: skip
    assert (done.code, done.out) == (1, b"")
    assert (
        done.err
        == "cp-generate: error: training diverged (the loss is not finite); use a lower --lr\n"
    )
    assert not list(tmp_path.iterdir())


def test_checkpoint_of_another_command_is_refused(tool, make, tmp_path, files):
    checkpoint = ("--checkpoint", tmp_path / "saved")
    generate(make, tmp_path, files / "clean.safetensors", *checkpoint)
    before = (tmp_path / "saved").read_bytes()
    for name, *arguments in (
        ("cp-generate", files / "clean.safetensors", *TINY_POISON, "--seed", 1),
        ("cp-generate", files / "few.safetensors", *TINY_POISON),
        ("cp-pretrain", files / "clean.safetensors", "--epochs", 1),
    ):
        done = tool(name, *arguments, *checkpoint, "-o", tmp_path / "a")
        done.refused("is the checkpoint of another command")
    assert (tmp_path / "saved").read_bytes() == before
    done = tool(
        "cp-generate", files / "clean.safetensors", *TINY_POISON, *checkpoint, "-o", tmp_path / "b"
    )
    assert done.err == f"cp-generate: resuming from {tmp_path}/saved: 1 of 1 done\n"
    assert (tmp_path / "b").read_bytes() == (tmp_path / "poisoned").read_bytes()


@pytest.mark.parametrize(("alg", "mode"), [("byol", "class"), ("simclr", "sample")])
def test_interrupted_and_carried_on_gives_the_same_bytes(interrupt_and_carry_on, files, alg, mode):
    interrupt_and_carry_on(
        "cp-generate", files / "clean.safetensors", "--alg", alg, "--mode", mode,
        "--rounds", "40", "--model-steps", "1", "--noise-steps", "1", "--pgd-steps", "1",
        "--batch-size", "32",
        total=40,
    )  # fmt: skip


def test_printed_history_gives_the_same_bytes(same_again, make, tmp_path, files):
    """Sample-wise from class-wise: three tools and a side input, in other processes."""
    _, _ = generate(
        make, tmp_path, files / "clean.safetensors", "--mode", "sample",
        "--init", files / "delta.safetensors",
    )  # fmt: skip
    same_again(tmp_path / "poisoned")


SMALL = {  # what makes each attack quick
    "simsiam": ("--rounds", 1, "--model-steps", 1, "--noise-steps", 1, "--pgd-steps", 1),
    "cmc": ("--rounds", 1, "--model-steps", 1, "--noise-steps", 1, "--pgd-steps", 1),
    "barlow-twins": ("--rounds", 1, "--model-steps", 1, "--noise-steps", 1, "--pgd-steps", 1),
    "unlearnable": ("--rounds", 1, "--model-steps", 1, "--noise-steps", 1, "--pgd-steps", 1),
    "aue": ("--rounds", 1, "--model-steps", 1, "--noise-steps", 1, "--pgd-steps", 1),
    "tue": ("--rounds", 1, "--model-steps", 1, "--noise-steps", 1, "--pgd-steps", 1),
    "adversarial": ("--epochs", 1, "--pgd-steps", 1),
    "aap": ("--epochs", 1, "--pgd-steps", 1, "--step-size", 0.2),  # a smaller step rounds to 0
    "robust-unlearnable": ("--rounds", 1, "--pgd-steps", 1),
    "hypocritical": ("--epochs", 1, "--pgd-steps", 1),
    "entangled": ("--epochs", 1, "--pgd-steps", 1),
    "transferable": (
        "--epochs",
        1,
        "--rounds",
        1,
        "--model-steps",
        1,
        "--noise-steps",
        1,
        "--pgd-steps",
        1,
    ),
    "lsp": (),
    "autoregressive": ("--least-response", 1, "--epsilon", "8/255"),
    "one-pixel": ("--epsilon", "8/255"),
}


@pytest.mark.parametrize("alg", SMALL)
def test_other_attacks(tool, make, tmp_path, files, clean, alg):
    poisoned = make(
        "cp-generate", files / "clean.safetensors", "--alg", alg, *SMALL[alg], "--precision",
        "fp32", "--delta", tmp_path / "delta", o=tmp_path / "poisoned",
    )  # fmt: skip
    delta = open_artifact(tmp_path / "delta").read()
    distance = np.abs(poisoned.train_images.astype(int) - clean.train_images)
    assert 0 < distance.max() <= 8
    modes = ATTACKS[alg].modes
    assert (delta.algorithm, delta.mode, delta.epsilon) == (alg, modes[0], "8/255")
    step = poisoned.history[-1]
    settings = ATTACKS[alg].settings("quick", modes[0])
    assert step.parameters.keys() >= settings.keys() - {"survive"}  # which is empty
    # What the history prints, typed again, gives the same bytes.
    name, *words = shlex.split(shell(poisoned.history).split("|\n")[-1])
    done = tool(name, files / "clean.safetensors", *words)
    assert (done.code, done.err) == (0, "")
    assert done.out == (tmp_path / "poisoned").read_bytes()


def test_one_pixel_is_bounded_in_number_not_in_size(make, tmp_path, files, clean):
    poisoned = make(
        "cp-generate", files / "clean.safetensors", "--alg", "one-pixel", "--delta",
        tmp_path / "delta", o=tmp_path / "poisoned",
    )  # fmt: skip
    moved = (poisoned.train_images != clean.train_images).any(1).sum((1, 2))
    assert set(moved.tolist()) == {1}
    assert open_artifact(tmp_path / "delta").read().epsilon == "1"


def test_a_mode_that_an_attack_has_not(tool, files):
    source = files / "clean.safetensors"
    done = tool("cp-generate", source, "--alg", "lsp", "--mode", "class", "-o", "x")
    assert (done.code, done.out) == (2, b"")
    assert done.err == "cp-generate: error: --alg lsp has no mode class; give --mode sample\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--alg", "lsp", "--rounds", 2), "--rounds does not apply to --alg lsp; leave it out"),
        (("--alg", "simclr", "--stop-error", 0.1), "--stop-error does not apply to --alg simclr"),
        (("--alg", "unlearnable", "--branch", "dual"), "--branch does not apply to --alg unl"),
        (("--alg", "lsp", "--rms", 300), "invalid value for '--rms'"),
        (("--alg", "nothing"), "invalid value for '--alg': 'nothing' is not one of simclr, moco"),
        (("--alg", "lsp", "--patch-size", 32, "--seed", 1), "10 classes need more than 3 patches"),
    ],
)
def test_settings_that_do_not_apply(tool, tmp_path, files, arguments, message):
    done = tool("cp-generate", files / "clean.safetensors", *arguments, "-o", tmp_path / "x")
    assert (done.code, done.out) == (2, b"")
    assert done.err.startswith(f"cp-generate: error: {message}")
    assert done.err.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_init_does_not_apply_to_drawn_noise(tool, tmp_path, files):
    done = tool(
        "cp-generate", files / "clean.safetensors", "--alg", "lsp", "--init",
        files / "delta.safetensors", "-o", tmp_path / "x",
    )  # fmt: skip
    assert (done.code, done.out) == (2, b"")
    assert "--init does not apply to --alg lsp" in done.err
    assert not (tmp_path / "x").exists()


def test_half_precision_is_what_the_poison_is_made_of(make, tmp_path, files, clean):
    poisoned, delta = generate(make, tmp_path, files / "clean.safetensors", "--half")
    assert delta.delta.dtype == np.float16
    offset = 8 * delta.delta.astype(np.float64)[clean.train_labels]
    exact = (clean.train_images + offset).clip(0, 255)
    assert np.abs(poisoned.train_images - exact).max() < 0.5 + 1e-6
    assert delta.history[-1].parameters["half"] is True
    full = open_artifact(files / "delta.safetensors").read()
    assert np.array_equal(delta.delta, full.delta.astype(np.float16))
    assert "half" not in full.history[-1].parameters


@pytest.mark.parametrize(("typed", "kept"), [("0.03", "3/100"), ("5 / 255", "5/255"), ("0", "0")])
def test_epsilon_is_kept_as_a_fraction(make, tmp_path, files, typed, kept):
    _, delta = generate(make, tmp_path, files / "clean.safetensors", "--epsilon", typed)
    assert delta.epsilon == kept


def test_what_the_noise_survives_is_in_the_history(make, tmp_path, files):
    source, survive = files / "clean.safetensors", "jpeg:75,resize:0.5,blur:1"
    plain, _ = generate(make, tmp_path, source)
    same, _ = generate(make, tmp_path, source, "--survive", "")
    robust, _ = generate(make, tmp_path, source, "--survive", "jpeg:75, resize:.50,blur:1.0")
    assert same.history == plain.history
    assert np.array_equal(same.train_images, plain.train_images)
    assert "survive" not in plain.history[-1].parameters
    assert robust.history[-1].parameters["survive"] == survive
    assert f"--survive {survive}" in shell(robust.history)
    assert not np.array_equal(robust.train_images, plain.train_images)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--survive jpg:75", "'jpg' is no degradation; did you mean jpeg"),
        ("--survive jpeg:175", "give jpeg:N, from 1 to 100"),
        ("--alg lsp --survive blur:1", "--survive does not apply to --alg lsp; leave it out"),
    ],
)
def test_what_no_noise_survives(tool, arguments, message):
    tool("cp-generate", *arguments.split(), "-n").refused(message)
