"""Artifacts for Python: datasets for PyTorch data loaders, encoders that become networks."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cptools.artifacts import schema

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cptools.core.algorithms.base import Backbone

__all__ = ["Dataset", "Delta", "Encoder", "Images", "promote"]

Delta = schema.Delta


class Images(torch.utils.data.Dataset[tuple[Any, int]]):
    """Labeled images for any training loop.

    Items are (image, label): float32 [3, H, W] in [0, 1], and a label in [0, number of classes). A
    `transform` receives the image as uint8 [3, H, W] instead, as expected by
    `torchvision.transforms.v2`, and its result is used.

    Args:
        images: uint8 [N, 3, H, W].
        labels: int64 [N].
        classes: class names, by label.
        transform: of each image.
    """

    def __init__(
        self,
        images: "NDArray[np.uint8]",
        labels: "NDArray[np.int64]",
        classes: tuple[str, ...],
        transform: Callable[[Tensor], Any] | None = None,
    ):
        self.data = torch.from_numpy(images)
        self.targets = torch.from_numpy(labels)
        self.classes = classes
        self.transform = transform

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image, label = self.data[index], int(self.targets[index])
        if self.transform is not None:
            return self.transform(image.clone()), label  # it may work in place
        return image.float() / 255, label


@dataclass(frozen=True, eq=False)
class Dataset(schema.Dataset):
    """Labeled images, their provenance, and the parts as PyTorch datasets; see `schema.Dataset`."""

    @property
    def train(self) -> Images:
        """The training images; a new object each time, whose `transform` can be set."""
        return Images(self.train_images, self.train_labels, self.classes)

    @property
    def test(self) -> Images:
        """The test images; a new object each time."""
        return Images(self.test_images, self.test_labels, self.classes)


@dataclass(frozen=True, eq=False)
class Encoder(schema.Encoder):
    """A pretrained encoder and its curves; see `schema.Encoder`."""

    def network(self, device: "str | torch.device" = "cpu", *, trust: bool = False) -> "Backbone":
        """The backbone as a plain module, in eval mode, with its weights.

        It maps images [B, 3, H, W], normalized by this encoder's `mean` and `std`, to features
        [B, feature_dim].

        Args:
            device: of the module.
            trust: call code outside cptools if the file names it as the architecture.

        Raises:
            ValueError: the architecture is unknown or not to be trusted, or the weights are not
                its own.
        """
        from cptools.workflows.doors import used_device
        from cptools.workflows.encoders import build_backbone

        return build_backbone(self, used_device(device), trust=trust)


def promote(artifact: schema.Artifact) -> schema.Artifact:
    """An artifact that was read, as the class of this module where there is one."""
    kinds: dict[type, Any] = {schema.Dataset: Dataset, schema.Encoder: Encoder}
    kind = kinds.get(type(artifact))
    if kind is None:
        return artifact
    values = {field.name: getattr(artifact, field.name) for field in fields(artifact)}
    promoted: schema.Artifact = kind(**values)
    return promoted
