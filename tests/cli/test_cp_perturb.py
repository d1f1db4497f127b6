"""`cp-perturb`: natural corruptions; random noise and given deltas, within their bounds."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from cptools.artifacts.history import dataset_digest, digest
from cptools.artifacts.stream import open_artifact, write_artifact
from cptools.core.perturbations import PERTURBATIONS, SUITES
from cptools.core.perturbations.steps import Step, layer


@pytest.fixture(scope="module")
def clean(files):
    return open_artifact(files / "clean.safetensors").read()


def moved(clean, changed):
    """Gray levels by which each pixel moved."""
    return np.abs(changed.train_images.astype(int) - clean.train_images)


@pytest.mark.parametrize(
    ("epsilon", "levels"), [("8/255", 8), ("0.1", 25), ("1/255", 1), ("0.0039", 0), ("0", 0)]
)
def test_noise_fills_its_ball_and_keeps_to_it(make, tmp_path, files, clean, epsilon, levels):
    noisy = make(
        "cp-perturb", files / "clean.safetensors", "--noise", "--epsilon", epsilon,
        o=tmp_path / "a",
    )  # fmt: skip
    distance = moved(clean, noisy)
    assert distance.max() == levels
    if levels == 8:  # uniform: a mean of half the radius, and no row like another
        assert distance.mean() == pytest.approx(4, rel=0.05)
        assert len(np.unique(distance.reshape(64, -1), axis=0)) == 64
    assert np.array_equal(noisy.test_images, clean.test_images)
    assert np.array_equal(noisy.train_labels, clean.train_labels)


def test_noise_of_a_class_is_shared_by_its_images(make, tmp_path, files, clean, same_again_here):
    noisy = make(
        "cp-perturb", files / "clean.safetensors", "--noise", "--mode", "class", "--fraction", 0.9,
        o=tmp_path / "a",
    )  # fmt: skip
    changes = noisy.train_images.astype(int) - clean.train_images
    inside = (clean.train_images >= 8) & (clean.train_images <= 247)
    changed = changes.any((1, 2, 3))
    assert changed.sum() == 58
    drawn = []
    for label in range(10):
        rows = (clean.train_labels == label) & changed
        (first, *rest), (seen, *others) = changes[rows], inside[rows]
        assert rest
        for other, there in zip(rest, others, strict=True):
            assert (first == other)[seen & there].all()
        drawn.append(first)
    assert len({one.tobytes() for one in drawn}) == 10
    assert noisy.history[-1].parameters["mode"] == "class"
    same_again_here(tmp_path / "a")


def test_provenance_of_noise(make, tmp_path, files, clean):
    noisy = make(
        "cp-perturb", files / "clean.safetensors", "--noise", "--seed", 5, o=tmp_path / "a"
    )
    assert noisy.source == clean.source
    assert (noisy.mean, noisy.std) == (clean.mean, clean.std)
    *before, step = noisy.history
    assert tuple(before) == clean.history
    assert step.parameters == {"noise": True, "epsilon": "8/255", "fraction": 1.0, "seed": 5}
    assert step.inputs["input"].digest == dataset_digest(clean)


def test_fraction_is_a_fixed_choice_by_seed(make, tmp_path, files, clean):
    def changed(fraction, seed):
        noisy = make(
            "cp-perturb", files / "clean.safetensors", "--noise", "--fraction", fraction,
            "--seed", seed, o=tmp_path / "a",
        )  # fmt: skip
        return set(np.flatnonzero(moved(clean, noisy).max((1, 2, 3))).tolist())

    half, again, other = changed(0.5, 0), changed(0.5, 0), changed(0.5, 1)
    assert len(half) == len(other) == 32
    assert half == again != other
    assert len(changed(0.3, 0)) == 19  # of 64: 19.2
    assert changed(0.3, 0) < half  # the smaller choice is part of the larger
    assert changed(0, 0) == set()
    assert len(changed(1, 0)) == 64


def test_delta_gives_the_poisoned_dataset(make, tmp_path, files):
    applied = make(
        "cp-perturb", files / "clean.safetensors", "--delta", files / "delta.safetensors",
        o=tmp_path / "a",
    )  # fmt: skip
    poisoned = open_artifact(files / "poisoned.safetensors").read()
    assert np.array_equal(applied.train_images, poisoned.train_images)
    delta = open_artifact(files / "delta.safetensors").read()
    item = applied.history[-1].inputs["delta"]
    assert (item.kind, item.digest) == ("delta", digest(delta.arrays()))
    assert item.history == delta.history


def test_delta_of_a_fraction(make, tmp_path, files, clean):
    part = make(
        "cp-perturb", files / "clean.safetensors", "--delta", files / "delta.safetensors",
        "--fraction", 0.25, o=tmp_path / "a",
    )  # fmt: skip
    poisoned = open_artifact(files / "poisoned.safetensors").read()
    changed = moved(clean, part).max((1, 2, 3)) > 0
    assert changed.sum() == 16
    assert np.array_equal(part.train_images[changed], poisoned.train_images[changed])
    assert np.array_equal(part.train_images[~changed], clean.train_images[~changed])


def test_delta_from_standard_input(tool, make, tmp_path, files):
    data = (files / "delta.safetensors").read_bytes()
    done = tool("cp-perturb", files / "clean.safetensors", "--delta", "-", stdin=data)
    assert (done.code, done.err) == (0, "")
    make(
        "cp-perturb", files / "clean.safetensors", "--delta", files / "delta.safetensors",
        o=tmp_path / "a",
    )  # fmt: skip
    assert done.out == (tmp_path / "a").read_bytes()


def test_dry_run(tool):
    done = tool("cp-perturb", "--noise", "--fraction", 0.3, "--dry-run")
    assert (done.code, done.err) == (0, "")
    settings = {"noise": True, "epsilon": "8/255", "fraction": 0.3, "seed": 0}
    assert json.loads(done.out) == settings


def test_settings_are_told_where_asked(tool, tmp_path, files):
    done = tool("cp-perturb", files / "clean.safetensors", "--noise", "-v", "-o", tmp_path / "a")
    assert json.loads(done.err.removeprefix("cp-perturb: "))["epsilon"] == "8/255"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("{clean}", "choose one of --noise, --delta and natural corruptions"),
        ("{clean} --noise --delta {delta}", "choose one of --noise, --delta and natural"),
        ("{clean} --noise --kind fog", "choose one of --noise, --delta and natural"),
        ("{clean} --mix", "choose one of --noise, --delta and natural"),
        ("{clean} --noise --severity 3", "--severity does not apply to --noise;"),
        ("{clean} --noise --frame any", "--frame does not apply to --noise;"),
        ("{clean} --noise --split train", "--split does not apply to --noise;"),
        ("{clean} --delta {delta} --mode class", "--mode is of --noise;"),
        ("{clean} --noise --mode image", "'image'"),
        ("{clean} --delta {delta} --mix", "--mix does not apply to --delta;"),
        ("{clean} --delta {delta} --layer", "--layer does not apply to --delta;"),
        ("{clean} --kind fog --epsilon 8/255", "--epsilon does not apply to natural"),
        ("{clean} --kind gausian_blur", "is not a corruption; did you mean gaussian_blur?"),
        ("{clean} --kind ,", "--kind is empty;"),
        ("{clean} --suite cifar10", "'cifar10' is not one of cifar10-c, cifar10-p, ucla;"),
        ("{clean} --suite ucla --kind fog", "fog is not part of ucla; leave --suite out or"),
        ("{clean} --suite ucla", "8 corruptions are chosen; give --mix"),
        ("{clean} --kind fog,snow", "2 corruptions are chosen; give --mix"),
        ("{clean} --kind fog,snow --mix --layer", "--mix applies one corruption, --layer all"),
        ("{clean} --kind fog,snow,fog --mix", "fog is given twice; give it once"),
        ("{clean} --kind fog --severity 6", "fog has no severity 6; give one from 1 to 5"),
        ("{clean} --kind fog --severity 0", "fog has no severity 0; give one from 1 to 5"),
        ("{clean} --kind fog --severity -1", "'-1' is not a whole number, nor any;"),
        ("{clean} --kind fog --severity 2.5", "'2.5' is not a whole number, nor any;"),
        ("{clean} --kind fog --severity nan", "'nan' is not a whole number, nor any;"),
        ("{clean} --kind translate --frame 16", "translate has no frame 16; give one from 0 to 15"),
        ("{clean} --suite cifar10-p --mix --frame 30", "has no frame 30; give one from 0 to 20"),
        ("{clean} --kind rotate --severity 3", "give --frame for it, or a corruption that has:"),
        ("{clean} --kind fog --frame 3", "fog has no frames; give --severity for it, or"),
        ("{clean} --kind fog,rotate --mix", "fog has no frames and rotate no severities;"),
        ("{clean} --suite ucla --mix --severity 3", "--severity does not apply to --suite ucla,"),
        ("{clean} --suite cifar10-c --mix --frame 3", "--frame does not apply to --suite cifar10"),
        ("{clean} --kind fog --severity 3 --frame 3", "two measures of strength;"),
        ("{clean} --kind fog --split all", "'all' is not one of train, test, both;"),
        ("{clean} --delta {delta} --epsilon 1/255", "--epsilon does not apply to --delta,"),
        ("{small} --delta {delta}", "--delta: the delta is for images of 32x32 pixels, this data"
         "set has 16x16; load it with --size 32"),
        ("{poisoned} --delta {delta}", "--delta: the images are poisoned already, and twice"),
        ("{clean} --delta {clean}", "is of kind dataset; give one of kind delta"),
        ("{delta} --noise", "is of kind delta; give one of kind dataset"),
        ("{clean} --delta nowhere", "cannot read nowhere: No such file or directory;"),
        ("- --delta -", "nothing is piped into standard input"),
        ("{clean} --delta -", "standard input: empty input;"),
        ("{clean} --noise --epsilon x", "epsilon 'x' is no number;"),
        ("{clean} --noise --epsilon -1", "epsilon '-1' is negative;"),
        ("{clean} --noise --epsilon 8", "epsilon '8' is greater than 1;"),
        ("{clean} --noise --epsilon 1/0", "epsilon '1/0' divides by zero;"),
        ("{clean} --noise --fraction 1.5", "invalid value for '--fraction'"),
        ("nowhere --noise", "there is no file or source nowhere"),
    ],
)  # fmt: skip
def test_refusals(tool, files, arguments, message):
    names = {path.stem: path for path in files.iterdir()}
    done = tool("cp-perturb", *arguments.format(**names).split())
    assert message in done.err
    assert (done.code, done.out, done.err.count("\n")) == (2, b"", 1)


@pytest.mark.parametrize("value", [[], ["-"]])
def test_one_standard_input(tool, files, value):
    data = (files / "clean.safetensors").read_bytes()
    done = tool("cp-perturb", *value, "--delta", "-", stdin=data)
    done.refused("INPUT and --delta both read standard input; give one as a file")


def test_printed_history_gives_the_same_bytes(same_again, make, tmp_path, files):
    """The delta is regenerated as a side input; nothing but the shell runs the pipeline."""
    make(
        "cp-perturb", files / "clean.safetensors", "--delta", files / "delta.safetensors",
        "--fraction", 0.5, o=tmp_path / "a",
    )  # fmt: skip
    same_again(tmp_path / "a")


# Natural corruptions


def by_the_core(images, steps, *, seed=0, rows=None):
    rows = None if rows is None else torch.from_numpy(rows)
    return layer(torch.from_numpy(images), steps, seed=seed, rows=rows).numpy()


def told(dataset, part="train"):
    """Names of what each image has had."""
    numbers = getattr(dataset, f"{part}_perturbation")
    return [dataset.perturbations[number] for number in numbers]


def steps_of_name(name):
    """The steps that a recorded name stands for."""
    steps = [] if name == "none" else name.split("+")
    parts = [step.replace("=", ":").split(":") for step in steps]
    return [Step(kind, by, int(number)) for kind, by, number, *_ in parts]


def test_one_kind(make, tmp_path, files, clean):
    foggy = make(
        "cp-perturb", files / "clean.safetensors", "--kind", "fog", "--severity", 4, "--seed", 2,
        o=tmp_path / "a",
    )  # fmt: skip
    expected = by_the_core(clean.train_images, [Step("fog", "severity", 4)], seed=2)
    assert np.array_equal(foggy.train_images, expected)
    assert np.array_equal(foggy.test_images, clean.test_images)
    assert np.array_equal(foggy.train_labels, clean.train_labels)
    assert (foggy.mean, foggy.std, foggy.source) == (clean.mean, clean.std, clean.source)
    assert foggy.perturbations == ("none", "fog:severity=4")
    assert foggy.train_perturbation.tolist() == [1] * 64
    assert foggy.test_perturbation is None
    *before, step = foggy.history
    assert tuple(before) == clean.history
    assert step.parameters == {
        "kind": "fog", "severity": 4, "split": "train", "fraction": 1.0, "seed": 2,
    }  # fmt: skip
    assert step.inputs["input"].digest == dataset_digest(clean)


@pytest.mark.parametrize("name", SUITES)
def test_a_mixed_suite_says_what_each_image_has(make, tmp_path, files, clean, name):
    mixed = make(
        "cp-perturb", files / "clean.safetensors", "--suite", name, "--mix", o=tmp_path / "a"
    )
    names = told(mixed)
    assert len(set(names)) > 10
    for row, its in enumerate(names):
        (step,) = steps_of_name(its)
        assert step.kind in SUITES[name].kinds
        expected = by_the_core(clean.train_images[[row]], [step], rows=np.array([row]))
        assert np.array_equal(mixed.train_images[[row]], expected)
    assert set(mixed.perturbations) == {"none", *names}
    strength = {"severity": 3} if name == "cifar10-c" else {"frame": "any"}
    assert mixed.history[-1].parameters == {
        "suite": name, "mix": True, **strength, "split": "train", "fraction": 1.0, "seed": 0,
    }  # fmt: skip
    if name == "cifar10-c":
        assert {step.number for its in names for step in steps_of_name(its)} == {3}


def test_layered_effects_say_which_two_they_are(make, tmp_path, files, clean):
    made = make(
        "cp-perturb", files / "clean.safetensors", "--kind", "layered", "--frame", 24,
        "--split", "both", o=tmp_path / "a",
    )  # fmt: skip
    calm = 0
    for row, its in enumerate(told(made)):
        kinds = its.removeprefix("layered:frame=24:").split(",")
        assert len(set(kinds)) == 2
        if "gaussian_noise" in kinds or "motion_blur" in kinds:  # which draw numbers
            continue
        # of the frames 0 to 30, as far along
        steps = [Step(kind, "frame", 24) for kind in kinds]
        expected = by_the_core(clean.train_images[[row]], steps)
        assert np.array_equal(made.train_images[[row]], expected)
        calm += 1
    assert calm > 10
    assert len(set(told(made))) > 10
    assert all(its.startswith("layered:frame=24:") for its in told(made, "test"))


def test_strengths_left_out_and_drawn(tool):
    def resolved(*words):
        found = json.loads(tool("cp-perturb", *words, "--dry-run").out)
        return {name: found[name] for name in ("severity", "frame") if name in found}

    assert resolved("--kind", "fog") == {"severity": 3}
    assert resolved("--kind", "brightness") == {"severity": 3}, "the first that it has"
    assert resolved("--kind", "rotate,brightness", "--mix") == {"frame": "any"}, "that both have"
    assert resolved("--kind", "brightness", "--suite", "ucla") == {"frame": "any"}
    assert resolved("--kind", "brightness", "--frame", "7") == {"frame": 7}
    assert resolved("--kind", "fog", "--severity", "any") == {"severity": "any"}


def test_any_severity_is_any(make, tmp_path, files):
    foggy = make(
        "cp-perturb", files / "clean.safetensors", "--kind", "fog", "--severity", "any",
        o=tmp_path / "a",
    )  # fmt: skip
    assert set(told(foggy)) == {f"fog:severity={n}" for n in range(1, 6)}


def test_layers_in_the_order_given(make, tmp_path, files, clean):
    def layered(kinds, *more):
        return make(
            "cp-perturb", files / "clean.safetensors", "--kind", kinds, "--layer", *more,
            o=tmp_path / "a",
        )  # fmt: skip

    both = layered("shear,brightness", "--frame", 30)
    steps = [Step("shear", "frame", 30), Step("brightness", "frame", 30)]
    assert np.array_equal(both.train_images, by_the_core(clean.train_images, steps))
    assert set(told(both)) == {"shear:frame=30+brightness:frame=30"}
    other = layered("brightness,shear", "--frame", 30)
    assert not np.array_equal(other.train_images, both.train_images)
    lots = layered("rotate,shear")
    assert len({tuple(s.number for s in steps_of_name(its)) for its in told(lots)}) > 50
    for row, its in enumerate(told(lots)[:20]):  # each layer has a frame of its own
        expected = by_the_core(clean.train_images[[row]], steps_of_name(its), rows=np.array([row]))
        assert np.array_equal(lots.train_images[[row]], expected)
    alike = [len({s.number for s in steps_of_name(its)}) == 1 for its in told(lots)]
    assert sum(alike) < 10


@pytest.mark.parametrize("split", ["train", "test", "both"])
def test_splits(make, tmp_path, files, clean, split):
    changed = make(
        "cp-perturb", files / "clean.safetensors", "--kind", "impulse_noise", "--split", split,
        o=tmp_path / "a",
    )  # fmt: skip
    for part in ("train", "test"):
        images, before = (getattr(d, f"{part}_images") for d in (changed, clean))
        is_part = split in (part, "both")
        assert (images != before).any((1, 2, 3)).all() == is_part
        assert np.array_equal(images, before) == (not is_part)
        number = getattr(changed, f"{part}_perturbation")
        assert number.tolist() == [1] * len(before) if is_part else number is None
    if split == "both":  # the parts draw apart
        noise = [(d != c).any(1) for d, c in [
            (changed.train_images[:32], clean.train_images[:32]),
            (changed.test_images, clean.test_images),
        ]]  # fmt: skip
        assert not (noise[0] == noise[1]).all((1, 2)).any()


def test_a_share_is_that_of_noise_and_the_rest_is_none(make, tmp_path, files, clean):
    def changed(*what):
        part = make(
            "cp-perturb", files / "clean.safetensors", *what, "--fraction", 0.3, "--seed", 4,
            o=tmp_path / "a",
        )  # fmt: skip
        return part, (part.train_images != clean.train_images).any((1, 2, 3))

    foggy, rows = changed("--kind", "fog")
    assert rows.sum() == 19
    assert foggy.train_perturbation.tolist() == rows.astype(int).tolist()
    assert np.array_equal(rows, changed("--noise")[1])
    whole = make(
        "cp-perturb", files / "clean.safetensors", "--kind", "fog", "--seed", 4, o=tmp_path / "b"
    )
    assert np.array_equal(foggy.train_images[rows], whole.train_images[rows])
    none = make(
        "cp-perturb", files / "clean.safetensors", "--kind", "fog", "--fraction", 0,
        o=tmp_path / "c",
    )  # fmt: skip
    assert (none.perturbations, set(told(none))) == (("none",), {"none"})


def test_one_after_the_other_is_recorded_together(make, tmp_path, files, clean):
    first = make(
        "cp-perturb", files / "clean.safetensors", "--kind", "rotate", "--frame", 3,
        "--fraction", 0.5, o=tmp_path / "a",
    )  # fmt: skip
    second = make(
        "cp-perturb", tmp_path / "a", "--kind", "fog", "--fraction", 0.5, "--seed", 1,
        "--split", "both", o=tmp_path / "b",
    )  # fmt: skip
    third = make("cp-perturb", tmp_path / "b", "--noise", o=tmp_path / "c")
    names = told(second)
    assert set(names) == {
        "none", "rotate:frame=3", "fog:severity=3", "rotate:frame=3+fog:severity=3"
    }  # fmt: skip
    for row, its in enumerate(names):
        assert told(first)[row] == ("rotate:frame=3" if its.startswith("rotate") else "none")
        is_foggy = (first.train_images[row] != second.train_images[row]).any()
        assert is_foggy == its.endswith("fog:severity=3")
    assert told(second, "test").count("fog:severity=3") == 16
    assert told(third) == names
    assert told(third, "test") == told(second, "test")


def test_one_after_the_other_draws_anew(make, tmp_path, files, clean):
    noise = ["--kind", "gaussian_noise", "--severity", 5]
    once = make("cp-perturb", files / "clean.safetensors", *noise, o=tmp_path / "once")
    chain = make("cp-perturb", tmp_path / "once", *noise, o=tmp_path / "chain")
    layers = make(
        "cp-perturb", files / "clean.safetensors", "--kind", "gaussian_noise,gaussian_noise",
        "--layer", "--severity", 5, o=tmp_path / "layers",
    )  # fmt: skip
    assert chain.history[-1].parameters == once.history[-1].parameters, "of the same seed"
    assert np.array_equal(chain.train_images, layers.train_images)
    third = make("cp-perturb", tmp_path / "layers", *noise, o=tmp_path / "third")
    again = make("cp-perturb", tmp_path / "chain", *noise, o=tmp_path / "again")
    assert np.array_equal(third.train_images, again.train_images)
    mixed = ["--suite", "ucla", "--mix"]
    make("cp-perturb", files / "clean.safetensors", *mixed, o=tmp_path / "a")
    twice = [
        name.split("+")
        for name in told(make("cp-perturb", tmp_path / "a", *mixed, o=tmp_path / "b"))
    ]
    same = sum(first == second for first, second in twice)
    assert same < len(twice) / 4, "eight kinds of up to 31 frames each"


def test_shares_of_one_after_the_other_are_chosen_apart(make, tmp_path, files, clean):
    """Or else the poisoned half would be the perturbed half."""
    half = ["--fraction", 0.5]
    first = make("cp-perturb", files / "clean.safetensors", "--noise", *half, o=tmp_path / "a")
    second = make("cp-perturb", tmp_path / "a", "--kind", "brightness", *half, o=tmp_path / "b")
    third = make("cp-perturb", tmp_path / "b", "--noise", *half, o=tmp_path / "c")
    shares = [
        set(np.flatnonzero((a.train_images != b.train_images).any((1, 2, 3))))
        for a, b in ((clean, first), (first, second), (second, third))
    ]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert shares[one] != shares[other]
        assert shares[one] & shares[other]


def test_rows_keep_their_perturbation(make, tool, tmp_path, files):
    """Whoever selects rows selects the record; whoever changes images leaves it."""
    whole = make(
        "cp-perturb", files / "clean.safetensors", "--suite", "ucla", "--mix", "--split", "both",
        o=tmp_path / "whole",
    )  # fmt: skip
    for command in (
        ["cp-dataset", "--fraction", 0.5, "--limit-test", 9],
        ["cp-dataset", "--classes", "disk,square"],
        ["cp-select", "--method", "random", "--fraction", 0.5],
        ["cp-select", "--method", "balanced", "--fraction", 0.3],
    ):
        tool_name, *options = command
        few = make(tool_name, tmp_path / "whole", *options, o=tmp_path / "few")
        assert len(few.train_perturbation) == len(few.train_images) < 64
        assert few.perturbations == whole.perturbations
        assert np.array_equal(few.train_perturbation, whole.train_perturbation[few.train_index])
        same = [np.flatnonzero((whole.test_images == x).all((1, 2, 3)))[0] for x in few.test_images]
        assert np.array_equal(few.test_perturbation, whole.test_perturbation[same])
        exported = tmp_path / "-".join(map(str, command))
        assert tool("cp-dataset", tmp_path / "few", "--export", exported).code == 0
        make("cp-dataset", exported, o=tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == (tmp_path / "few").read_bytes()
    defended = make("cp-defend", tmp_path / "whole", "--bits", 3, o=tmp_path / "few")
    assert np.array_equal(defended.train_perturbation, whole.train_perturbation)


def test_an_image_comes_out_the_same_before_and_after_selection(make, tmp_path, files):
    what = ("--suite", "cifar10-p", "--mix")
    make("cp-perturb", files / "clean.safetensors", *what, o=tmp_path / "a")
    late = make("cp-dataset", tmp_path / "a", "--limit", 20, o=tmp_path / "b")
    early = make("cp-perturb", files / "few.safetensors", *what, o=tmp_path / "c")
    assert np.array_equal(early.train_images, late.train_images)
    assert told(early) == told(late)


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 1)])
@pytest.mark.parametrize(
    "what",
    [
        ["--suite", "cifar10-c", "--mix", "--severity", "any"],
        ["--suite", "cifar10-p", "--mix"],
        ["--suite", "ucla", "--layer"],
    ],
)
def test_tiny_images(make, tmp_path, clean, size, what):
    height, width = size
    parts = {
        name: np.ascontiguousarray(getattr(clean, name)[:, :, :height, :width])
        for name in ("train_images", "test_images")
    }
    write_artifact(replace(clean, **parts), tmp_path / "tiny")
    made = make("cp-perturb", tmp_path / "tiny", *what, "--split", "both", o=tmp_path / "a")
    assert made.train_images.shape == (64, 3, height, width)
    for row, its in enumerate(told(made)[:30]):
        expected = by_the_core(
            parts["train_images"][[row]], steps_of_name(its), rows=np.array([row])
        )
        assert np.array_equal(made.train_images[[row]], expected)


def test_without_test_images(tool, make, tmp_path, clean):
    bare = replace(clean, test_images=clean.test_images[:0], test_labels=clean.test_labels[:0])
    write_artifact(bare, tmp_path / "bare")
    tool("cp-perturb", tmp_path / "bare", "--kind", "fog", "--split", "test").refused(
        "the dataset has no test images; give --split train"
    )
    made = make(
        "cp-perturb", tmp_path / "bare", "--kind", "fog", "--split", "both", o=tmp_path / "a"
    )
    assert made.test_perturbation is None
    assert set(told(made)) == {"fog:severity=3"}


def test_rows_beyond_use(tool, tmp_path, clean):
    write_artifact(replace(clean, train_index=np.arange(64) + 2**50), tmp_path / "far")
    tool("cp-perturb", tmp_path / "far", "--kind", "fog").refused("more than 268435456 rows;")


@pytest.mark.parametrize("arguments", [
    ["--suite", "ucla", "--mix", "--seed", 3],
    ["--kind", "rotate, shear", "--layer", "--fraction", 0.5, "--split", "both"],
])  # fmt: skip
def test_printed_history_of_natural_ones_gives_the_same_bytes(
    same_again_here, make, tmp_path, files, arguments
):
    make("cp-perturb", files / "clean.safetensors", *arguments, o=tmp_path / "a")
    same_again_here(tmp_path / "a")


def test_help_names_every_perturbation(tool):
    shown = tool("cp-perturb", "--help").out.decode().replace("\n", " ").split()
    assert not {*PERTURBATIONS} - {word.strip(",.") for word in shown}
