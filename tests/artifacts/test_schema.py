"""What makes an artifact valid: every rule is broken once, and the message says which."""

import dataclasses

import numpy as np
import pytest

from cptools.artifacts.codec import build, decode, encode
from cptools.artifacts.errors import ArtifactError
from cptools.artifacts.frame import layout
from cptools.artifacts.history import dataset_digest, digest
from cptools.artifacts.schema import (
    Assigner,
    Checkpoint,
    Dataset,
    Delta,
    Encoder,
    Entry,
    Input,
    Source,
)

DIGEST = "0123456789abcdef" * 4

SIDE = Input(DIGEST, (Entry("cp-generate", "0.1.0", {"alg": "byol"}),), "delta")
HISTORY = (Entry("cp-perturb", "0.1.0", {"seed": 0}, {"input": Input(DIGEST), "delta": SIDE}),)
SOURCE = Source("shapes", {"limit": 4}, DIGEST)

DATASET = Dataset(
    train_images=np.zeros((4, 3, 2, 6), np.uint8),
    train_labels=np.array([0, 1, 0, 1]),
    test_images=np.zeros((1, 3, 2, 6), np.uint8),
    test_labels=np.array([1]),
    train_index=np.arange(4),
    name="tiny",
    classes=("cat", "dog"),
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
    source=SOURCE,
    history=HISTORY,
)
PERTURBED = dataclasses.replace(
    DATASET,
    perturbations=("none", "fog:severity=3"),
    train_perturbation=np.array([0, 1, 1, 0]),
    test_perturbation=np.array([1]),
)
DELTA = Delta(np.zeros((2, 3, 2, 2), np.float32), "class", "8/255", "byol", DIGEST, HISTORY)
NAMED = dataclasses.replace(DELTA, classes=("cat", "dog"))
ASSIGNED = dataclasses.replace(
    DELTA,
    assigner=Assigner(
        {
            "backbone.conv1.weight": np.zeros((4, 3, 3, 3), np.float32),
            "backbone.bn1.num_batches_tracked": np.array(3),
            "centers": np.zeros((2, 5), np.float32),
        },
        architecture="resnet10",
        width=4,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    ),
)
ASSIGNER = encode(ASSIGNED)["assigner"]
ENCODER = Encoder(
    tensors={
        "backbone.conv1.weight": np.zeros((4, 3, 3, 3), np.float32),
        "backbone.bn1.num_batches_tracked": np.array(3),
        "head.0.weight": np.zeros((2, 2), np.float16),
        "curve.loss": np.zeros(5, np.float32),
    },
    architecture="resnet18",
    width=4,
    feature_dim=8,
    algorithm="simclr",
    input_size=32,
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
    source=SOURCE,
    history=HISTORY,
)
CHECKPOINT = Checkpoint({"step": np.array(3)}, "ab12")
ALL = [DATASET, DELTA, ENCODER, CHECKPOINT]


def attempt(artifact, header=None, arrays=None):
    header = {**encode(artifact), **(header or {})}
    arrays = {**artifact.arrays(), **(arrays or {})}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    header = {key: value for key, value in header.items() if value is not ...}
    result = build(decode(header, layout(arrays)), arrays)
    result.check()
    return result


EVERY = pytest.mark.parametrize(
    "artifact", [*ALL, PERTURBED, ASSIGNED], ids=lambda a: f"{a.kind}{len(a.arrays())}"
)


@EVERY
def test_samples_are_valid(artifact):
    assert encode(attempt(artifact)) == encode(artifact)


@EVERY
def test_each_field_is_needed_and_no_other(artifact):
    for key in encode(artifact).keys() - {"assigner"}:
        with pytest.raises(ArtifactError, match=f"{key}|no format and kind"):
            attempt(artifact, {key: ...})
    with pytest.raises(ArtifactError, match="unknown field 'gift'"):
        attempt(artifact, {"gift": 1})


@pytest.mark.parametrize("artifact", ALL[:3], ids=lambda a: a.kind)
@pytest.mark.parametrize(
    "history",
    [
        None,
        {},
        [3],
        [{}],
        [{"tool": "rm -rf; ", "version": "", "parameters": {}, "inputs": {}}],
        [{"tool": "cp-perturb", "version": 1, "parameters": {}, "inputs": {}}],
        [{"tool": "cp-perturb", "version": "1", "parameters": [], "inputs": {}}],
        [{"tool": "cp-perturb", "version": "1", "parameters": {"a b": 1}, "inputs": {}}],
        [{"tool": "cp-perturb", "version": "1", "parameters": {}, "inputs": {"input": {}}}],
        [
            {
                "tool": "cp-perturb",
                "version": "1",
                "parameters": {},
                "inputs": {"input": {"digest": "ab", "history": [], "kind": ""}},
            }
        ],
        [
            {
                "tool": "cp-perturb",
                "version": "1",
                "parameters": {},
                "inputs": {"input": {"digest": DIGEST, "history": [], "kind": "gift"}},
            }
        ],
    ],
)
def test_bad_history_is_refused(artifact, history):
    with pytest.raises(ArtifactError, match="history"):
        attempt(artifact, {"history": history})


def test_endless_nesting_is_refused():
    history: list[object] = []
    for _ in range(5000):
        inputs = {"delta": {"digest": DIGEST, "history": history, "kind": ""}}
        history = [{"tool": "cp-perturb", "version": "1", "parameters": {}, "inputs": inputs}]
    with pytest.raises(ArtifactError, match="is more than 64 deep"):
        attempt(DATASET, {"history": history})


@pytest.mark.parametrize(
    ("artifact", "header", "arrays", "message"),
    [
        (DATASET, {"format": True}, {}, "format True"),
        (DATASET, {"kind": []}, {}, "kind"),
        (DATASET, {"kind": "delta"}, {}, "unknown field|missing"),
        (DATASET, {"name": 3}, {}, "name"),
        (DATASET, {"classes": []}, {}, "classes"),
        (DATASET, {"classes": ["a", 2]}, {}, "classes"),
        (DATASET, {"classes": ["cat"]}, {}, "label 1 of train image 1 is not one of 1 classes"),
        (DATASET, {"mean": [0, 0]}, {}, "mean"),
        (DATASET, {"mean": [0, 0, 1.5]}, {}, "mean"),
        (DATASET, {"mean": [0, 0, True]}, {}, "mean"),
        (DATASET, {"std": [0, 0.1, 0.1]}, {}, "std"),
        (DATASET, {"source": 3}, {}, "source"),
        (DATASET, {"source": {"name": "x", "options": {}, "digest": "x"}}, {}, "source.digest"),
        (DATASET, {}, {"train.images": None}, "'train.images' is missing"),
        (DATASET, {}, {"test.labels": None}, "'test.labels' is missing"),
        (DATASET, {}, {"gift": np.zeros(2)}, "'gift' is not part of this kind"),
        (DATASET, {}, {"train.images": np.zeros((4, 3, 2, 6), np.float32)}, "float32.*not uint8"),
        (DATASET, {}, {"train.images": np.zeros((4, 1, 2, 6), np.uint8)}, r"not uint8\[any, 3"),
        (DATASET, {}, {"test.images": np.zeros((1, 3, 2, 7), np.uint8)}, "test.images"),
        (DATASET, {}, {"train.labels": np.zeros(4, np.int32)}, "int32.*not int64"),
        (DATASET, {}, {"train.labels": np.zeros(5, np.int64)}, r"int64\[5\], not int64\[4\]"),
        (DATASET, {}, {"train.labels": np.array([0, 0, -1, 0])}, "label -1 of train image 2"),
        (DATASET, {}, {"test.labels": np.array([2])}, "label 2 of test image 0"),
        (DATASET, {}, {"train.index": np.arange(3)}, "train.index"),
        (DATASET, {}, {"train.index": np.array([0, 1, -1, 2])}, "negative"),
        (PERTURBED, {}, {"train.perturbation": np.arange(3)}, r"int64\[3\], not int64\[4\]"),
        (PERTURBED, {}, {"test.perturbation": np.zeros(2, np.int64)}, r"int64\[2\], not int64"),
        (PERTURBED, {}, {"train.perturbation": np.zeros(4)}, "float64.*not int64"),
        (PERTURBED, {}, {"train.perturbation": np.array([0, 1, 2, 0])}, "2 of train image 2 is"),
        (PERTURBED, {}, {"test.perturbation": np.array([-1])}, "perturbation -1 of test image 0"),
        (PERTURBED, {"perturbations": "none"}, {}, "perturbations is not a list"),
        (PERTURBED, {"perturbations": []}, {}, "perturbations is not a list of names"),
        (PERTURBED, {"perturbations": ["none", 3]}, {}, "perturbations is not a list of names"),
        (PERTURBED, {"perturbations": ["fog", "none"]}, {}, "'none' first"),
        (PERTURBED, {"perturbations": ["none", "fog", "fog"]}, {}, "different names"),
        (DATASET, {"classes": ["a", "a"]}, {}, "classes is not a list of different names"),
        (DATASET, {"perturbations": ["none"]}, {}, "is given without a perturbation tensor"),
        (DATASET, {}, {"train.perturbation": np.zeros(4, np.int64)}, "perturbations is missing"),
        (DELTA, {"mode": "pixel"}, {}, "mode"),
        (DELTA, {"epsilon": "8/0"}, {}, "epsilon"),
        (DELTA, {"epsilon": "1e-999999999"}, {}, "epsilon"),
        (DELTA, {"epsilon": "256/255"}, {}, "epsilon is more than 1"),
        (DELTA, {"epsilon": 0.03}, {}, "epsilon"),
        (DELTA, {"dataset": DIGEST.upper()}, {}, "dataset"),
        (DELTA, {}, {"delta": np.zeros((0, 3, 2, 2), np.float32)}, "empty"),
        (DELTA, {}, {"delta": np.zeros((2, 3, 2, 2))}, "float64"),
        (DELTA, {}, {"delta": np.full((2, 3, 2, 2), 1.001, np.float32)}, r"exceeds \[-1, 1\]"),
        (DELTA, {}, {"delta": np.full((2, 3, 2, 2), np.nan, np.float16)}, "not finite"),
        (DELTA, {}, {"delta": np.full((2, 3, 2, 2), -np.inf, np.float32)}, "not finite"),
        (NAMED, {"classes": ["cat"]}, {}, "classes is not a name for each of 2 rows"),
        (NAMED, {"classes": ["cat", "cat"]}, {}, "classes is not a list of different names"),
        (NAMED, {"classes": []}, {}, "classes is not a list of names"),
        (NAMED, {"mode": "sample"}, {}, "rows of a class-wise delta"),
        (NAMED, {}, {"assign.centers": np.zeros((2, 5), np.float32)}, "'assign.centers' is not"),
        (ASSIGNED, {"mode": "sample"}, {}, "assigner is given for a sample-wise delta"),
        (ASSIGNED, {"assigner": ...}, {}, "'assign.backbone.* is not part"),
        (ASSIGNED, {"assigner": None}, {}, "header.assigner is not an object"),
        (ASSIGNED, {"assigner": ASSIGNER | {"width": 0}}, {}, "header.assigner.width"),
        (ASSIGNED, {"assigner": ASSIGNER | {"std": [0, 1, 1]}}, {}, "header.assigner.std"),
        (ASSIGNED, {"assigner": ASSIGNER | {"gift": 1}}, {}, "unknown field 'gift'"),
        (ASSIGNED, {"assigner": {"width": 4}}, {}, "header.assigner.architecture is missing"),
        (ASSIGNED, {}, {"assign.centers": None}, "'assign.centers' is missing"),
        (ASSIGNED, {}, {"assign.centers": np.zeros((3, 5), np.float32)}, r"not float32\[2, any\]"),
        (ASSIGNED, {}, {"assign.centers": np.zeros((2, 0), np.float32)}, "empty"),
        (ASSIGNED, {}, {"assign.centers": np.full((2, 5), np.nan, np.float32)}, "not finite"),
        (ASSIGNED, {}, {"assign.head.weight": np.zeros(2)}, "'assign.head.weight' is not part"),
        (ASSIGNED, {}, {"assign.backbone.conv1.weight": np.zeros(2)}, "float64"),
        (ASSIGNED, {}, {"assign.backbone.conv1.weight": np.float32([np.inf])}, "not finite"),
        (ASSIGNED, {}, {"assign.backbone.conv1.weight": None,
                        "assign.backbone.bn1.num_batches_tracked": None}, "has no backbone"),
        (ENCODER, {"width": 0}, {}, "width"),
        (ENCODER, {"width": 4.0}, {}, "width"),
        (ENCODER, {"feature_dim": True}, {}, "feature_dim"),
        (ENCODER, {}, {"curve.loss": np.zeros((5, 1), np.float32)}, "curve.loss"),
        (ENCODER, {}, {"head.0.weight": np.zeros(2)}, "float64"),
        (ENCODER, {}, {"backbone.conv1.weight": np.float32([np.nan])}, "not finite"),
        (ENCODER, {}, {"other": np.zeros(2)}, "'other' is not part"),
        (CHECKPOINT, {"command": "sh"}, {}, "command"),
    ],
)  # fmt: skip
def test_broken_rules_are_named(artifact, header, arrays, message):
    with pytest.raises(ArtifactError, match=message):
        attempt(artifact, header, arrays)


def test_one_part_alone_may_be_perturbed():
    alone = dataclasses.replace(PERTURBED, train_perturbation=None)
    assert attempt(alone).test_perturbation.tolist() == [1]
    assert attempt(alone).train_perturbation is None


def test_without_a_record_nothing_is_said_of_perturbations():
    """Older files keep their bytes and digests."""
    assert "perturbations" not in encode(DATASET)
    assert not [name for name in DATASET.arrays() if "perturbation" in name]
    assert attempt(DATASET).perturbations == ()
    before = "014f3a01b83b4a523980cda537142ad15e5ad3cf7d9eec93696c3e3ff86957b0"
    assert dataset_digest(DATASET) == before


def test_a_perturbation_counts_in_the_digest():
    other = dataclasses.replace(PERTURBED, test_perturbation=np.array([0]))
    assert len({dataset_digest(d) for d in (DATASET, PERTURBED, other)}) == 3


def test_what_older_deltas_lack_may_be_left_out():
    assert not {"classes", "assigner"} & encode(DELTA).keys()
    assert (attempt(DELTA).classes, attempt(DELTA).assigner) == ((), None)
    assert attempt(NAMED).classes == ("cat", "dog")
    assigner = attempt(ASSIGNED).assigner
    assert (assigner.architecture, assigner.width) == ("resnet10", 4)
    assert sorted(assigner.tensors) == sorted(ASSIGNED.assigner.tensors)


def test_a_digest_of_a_delta_is_of_its_tensors():
    """Names are not part of it, as in datasets; what assigns is."""
    assert digest(NAMED.arrays()) == digest(DELTA.arrays()) != digest(ASSIGNED.arrays())


def test_rows_are_taken_with_all_that_belongs_to_them():
    few = PERTURBED.take(np.array([2, 3]), np.array([], np.int64))
    assert few.train_images.shape == (2, 3, 2, 6)
    assert few.train_labels.tolist() == [0, 1]
    assert few.train_index.tolist() == [2, 3]
    assert few.train_perturbation.tolist() == [1, 0]
    assert (len(few.test_images), len(few.test_labels), len(few.test_perturbation)) == (0, 0, 0)
    assert PERTURBED.take(np.array([1])).test_perturbation.tolist() == [1]
    bare = dataclasses.replace(DATASET, train_index=None).take(np.array([1]))
    assert (bare.train_index, bare.train_perturbation) == (None, None)


def test_encoder_needs_a_backbone():
    with pytest.raises(ArtifactError, match="no backbone"):
        attempt(dataclasses.replace(ENCODER, tensors={"head.w": np.zeros(2, np.float32)}))


def test_one_bad_value_is_found_in_every_block(monkeypatch):
    monkeypatch.setattr("cptools.artifacts.frame.BLOCK", 64)
    for position in (0, 17, 1023):
        delta = np.zeros(1024, np.float32)
        delta[position] = np.nan
        with pytest.raises(ArtifactError, match="not finite"):
            dataclasses.replace(DELTA, delta=delta).check()


def test_summaries():
    assert DATASET.summary() == "4+1 images 6x2, 2 classes"
    assert DELTA.summary() == "byol, class-wise, 2 of 2x2, epsilon 8/255"
    assert ENCODER.summary() == "simclr, resnet18 of width 4, 8 features"
    assert CHECKPOINT.summary() == "1 tensor"


def test_a_row_is_chosen_once():
    twice = dataclasses.replace(DATASET, train_index=np.array([0, 1, 1, 2]))
    with pytest.raises(ArtifactError, match=r"train\.index has a row twice"):
        twice.check()
