"""The kinds of artifacts: their fields, their tensors, and what makes one valid.

Legend: N images, K perturbations, H x W pixels; images are uint8 RGB, channels first.
A kind knows its tensors (`arrays`), checks its own contents (`check`) and can say what it is in a
few words (`summary`); `codec` turns it into a header and back.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from cptools.artifacts.errors import ArtifactError
from cptools.artifacts.frame import Array, blocks
from cptools.artifacts.provenance import Entry, Input, Source

__all__ = [
    "ASSIGN",
    "FAILURE",
    "FORMAT",
    "KINDS",
    "UNCHANGED",
    "UNLABELED",
    "Artifact",
    "Assigner",
    "Checkpoint",
    "Dataset",
    "Delta",
    "Encoder",
    "Entry",
    "Input",
    "Source",
]

FAILURE = "failure"  # the kind of what a tool that failed sends down its pipe

UNCHANGED = "none"  # the first of a dataset's `perturbations`

UNLABELED = "unlabeled"  # the only class of images without labels

ASSIGN = "assign."  # before the names of the tensors of a delta's assigner

FORMAT = 2  # of the `cptools` header; 1, which had no checksum, is still read


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labeled images in a train and a test part.

    Attributes:
        train_images: uint8 [N,3,H,W], N at least 1.
        train_labels: int64 [N], in [0, number of classes).
        test_images: uint8 [M,3,H,W], M may be 0.
        test_labels: int64 [M].
        train_index: int64 [N], row in the dataset the rows were selected from, each once; or None.
        name: what to call it in tables and file names.
        classes: class names, by label.
        mean: per-channel mean of the pixels, in [0, 1].
        std: per-channel standard deviation, in (0, 1].
        source: where the clean dataset can be had again.
        history: the commands that made it, oldest first.
        perturbations: names of natural corruptions, `none` first; empty if none are recorded.
        train_perturbation: int64 [N], which of the names each image has; or None.
        test_perturbation: int64 [M]; or None.
    """

    kind: ClassVar[str] = "dataset"

    train_images: Array
    train_labels: Array
    test_images: Array
    test_labels: Array
    train_index: Array | None
    name: str
    classes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    source: Source | None
    history: tuple[Entry, ...] = ()
    perturbations: tuple[str, ...] = ()
    train_perturbation: Array | None = None
    test_perturbation: Array | None = None

    @property
    def is_labeled(self) -> bool:
        """Whether its labels say anything: images without labels are all of one class."""
        return self.classes != (UNLABELED,)

    @property
    def ids(self) -> Array:
        """Of each training image, int64 (N,): its row in the dataset that it was chosen from."""
        return np.arange(len(self.train_labels)) if self.train_index is None else self.train_index

    def arrays(self) -> dict[str, Array]:
        """The tensors by their names in the file."""
        optional = {
            "train.index": self.train_index,
            "train.perturbation": self.train_perturbation,
            "test.perturbation": self.test_perturbation,
        }
        return {
            "train.images": self.train_images,
            "train.labels": self.train_labels,
            "test.images": self.test_images,
            "test.labels": self.test_labels,
            **{name: array for name, array in optional.items() if array is not None},
        }

    def take(self, train: Array, test: Array | None = None) -> "Dataset":
        """The dataset of some of its rows.

        Args:
            train: int64, rows of the train part.
            test: int64, rows of the test part; None keeps all.
        """
        rows = {"train": train} if test is None else {"train": train, "test": test}
        tensors: dict[str, Any] = {
            name.replace(".", "_"): np.ascontiguousarray(array[rows[part]])
            for name, array in self.arrays().items()
            if (part := name.partition(".")[0]) in rows
        }
        return replace(self, **tensors)

    def check(self) -> None:
        """Raise `ArtifactError` unless labels, index and perturbations are in range."""
        for part, labels in (("train", self.train_labels), ("test", self.test_labels)):
            bad = np.flatnonzero((labels < 0) | (labels >= len(self.classes)))
            if bad.size:
                raise ArtifactError(
                    f"label {labels[bad[0]]} of {part} image {bad[0]} is not one of"
                    f" {len(self.classes)} classes; make the file again"
                )
        if self.train_index is not None:
            if self.train_index.min() < 0:
                raise ArtifactError("train.index has a negative row; make the file again")
            if len(np.unique(self.train_index)) < len(self.train_index):
                raise ArtifactError("train.index has a row twice; make the file again")
        num = len(self.perturbations)
        for part, numbers in (("train", self.train_perturbation), ("test", self.test_perturbation)):
            if numbers is None:
                continue
            bad = np.flatnonzero((numbers < 0) | (numbers >= num))
            if bad.size:
                raise ArtifactError(
                    f"perturbation {numbers[bad[0]]} of {part} image {bad[0]} is not one of"
                    f" {num} names; make the file again"
                )

    def summary(self) -> str:
        """Sizes in a few words."""
        (n, _, h, w), m = self.train_images.shape, len(self.test_images)
        return f"{n}+{m} images {w}x{h}, {_count(len(self.classes), 'class', 'classes')}"


@dataclass(frozen=True, eq=False)
class Assigner:
    """What finds the row of a class-wise delta for an image: the nearest center of its features.

    Attributes:
        tensors: `backbone.*` as of an encoder of the delta's images (floats or int64), and
            `centers` float32 [K, D].
        architecture: of the encoder, such as `resnet10`.
        width: channels of its first stage.
        mean: per-channel mean of its normalization, in [0, 1].
        std: per-channel standard deviation of its normalization, in (0, 1].
    """

    tensors: dict[str, Array]
    architecture: str
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Delta:
    """Perturbations that poison a dataset: image + epsilon * delta.

    Attributes:
        delta: float32 or float16 [K,3,H,W] in [-1, 1], in units of epsilon.
        mode: `class` (a row for each class or cluster) or `sample` (K is N).
        epsilon: L-infinity bound in [0, 1] pixel units as a fraction, such as `8/255`.
        algorithm: what made it, such as `byol`.
        dataset: digest of the clean dataset that it belongs to.
        history: the commands that made it, oldest first.
        classes: names of the classes that the rows are of, K of them; empty where the rows are of
            images or clusters, and in files of older versions.
        assigner: what finds the row of an image where the rows are of clusters; or None.
    """

    kind: ClassVar[str] = "delta"

    delta: Array
    mode: str
    epsilon: str
    algorithm: str
    dataset: str
    history: tuple[Entry, ...] = ()
    classes: tuple[str, ...] = ()
    assigner: Assigner | None = None

    def arrays(self) -> dict[str, Array]:
        """The tensors by their names in the file."""
        tensors = {} if self.assigner is None else self.assigner.tensors
        return {"delta": self.delta, **{ASSIGN + name: array for name, array in tensors.items()}}

    def check(self) -> None:
        """Raise `ArtifactError` unless all of it is in [-1, 1], and what assigns it is finite."""
        if not all(np.abs(block).max() <= 1 for block in blocks(self.delta)):  # false for NaN
            raise ArtifactError("the delta exceeds [-1, 1] or is not finite; make the file again")
        if self.assigner is not None:
            _check_finite(self.assigner.tensors, "make the file again")

    def summary(self) -> str:
        """Sizes in a few words."""
        k, _, h, w = self.delta.shape
        return f"{self.algorithm}, {self.mode}-wise, {k} of {w}x{h}, epsilon {self.epsilon}"


@dataclass(frozen=True, eq=False)
class Encoder:
    """A pretrained backbone, the heads it was trained with and the curves of its training.

    Attributes:
        tensors: `backbone.*` and `head.*` under the names of the state dict (floats or int64), and
            `curve.*` float32 [epochs].
        architecture: such as `resnet18`.
        width: channels of the first stage.
        feature_dim: length of a feature vector.
        algorithm: such as `simclr`.
        input_size: side of the square training views, in pixels.
        mean: per-channel mean of its normalization, in [0, 1].
        std: per-channel standard deviation of its normalization, in (0, 1].
        source: where the clean dataset of its training can be had again.
        history: the commands that made it, oldest first.
    """

    kind: ClassVar[str] = "encoder"

    tensors: dict[str, Array]
    architecture: str
    width: int
    feature_dim: int
    algorithm: str
    input_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    source: Source | None
    history: tuple[Entry, ...] = ()

    def arrays(self) -> dict[str, Array]:
        """The tensors by their names in the file."""
        return self.tensors

    def check(self) -> None:
        """Raise `ArtifactError` unless every float is finite."""
        _check_finite(self.tensors, "did the training diverge?")

    def summary(self) -> str:
        """Sizes in a few words."""
        return (
            f"{self.algorithm}, {self.architecture} of width {self.width},"
            f" {_count(self.feature_dim, 'feature', 'features')}"
        )


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of unfinished work; internal, and of use to the same command alone.

    Attributes:
        tensors: any.
        command: fingerprint of the command in hexadecimal.
        history: always empty.
    """

    kind: ClassVar[str] = "checkpoint"

    tensors: dict[str, Array]
    command: str
    history: tuple[Entry, ...] = ()

    def arrays(self) -> dict[str, Array]:
        """The tensors by their names in the file."""
        return self.tensors

    def check(self) -> None:
        """Nothing to check: the state is what it is."""

    def summary(self) -> str:
        """Sizes in a few words."""
        return _count(len(self.tensors), "tensor", "tensors")


Artifact = Dataset | Delta | Encoder | Checkpoint

KINDS: dict[str, type[Artifact]] = {c.kind: c for c in (Dataset, Delta, Encoder, Checkpoint)}


def _check_finite(tensors: dict[str, Array], remedy: str) -> None:
    for name, array in tensors.items():
        if not all(np.isfinite(block).all() for block in blocks(array)):
            raise ArtifactError(f"tensor {name!r} is not finite; {remedy}")


def _count(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"
