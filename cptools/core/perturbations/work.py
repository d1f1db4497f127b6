"""A dataset's images while they are perturbed: some of them, in layers, each a lot for each."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from cptools.core.checks import check_images
from cptools.core.perturbations.record import name
from cptools.core.perturbations.steps import Step, choose, count_blocks, perturb_blocks


class Perturbing:
    """Perturb some images, layer by layer.

    Attributes:
        images: uint8 [N, 3, H, W]; when `run` has ended, perturbed.
        told: for each layer, as of `record.name`, names, and which of them each image gets, counted
            from 1, and 0 for those that stay as they are: int64 [N].
        total: how often `run` yields.
    """

    def __init__(
        self,
        images: Tensor,
        layers: Sequence[Sequence[Step]],
        *,
        seed: int,
        rows: Tensor,
        chosen: Tensor,
        before: int = 0,
    ) -> None:
        """Draw the lots.

        Args:
            images: uint8 [N, 3, H, W]; they are left alone.
            layers: one after the other; of each, `choose` draws a step an image.
            seed: of all random numbers.
            rows: as of `perturb`, int64 [N].
            chosen: which images to perturb, int64 [n].
            before: layers that the images have had; each draws anew.
        """
        check_images(images, empty=True)
        self.images = images.clone()
        self.told, self._numbers = [], []
        self._layers, self._seed, self._rows, self._before = layers, seed, rows, before
        for place, steps in enumerate(layers, before):
            number = torch.zeros_like(rows)
            number[chosen] = 1 + choose(rows[chosen], steps, seed=seed, place=place)
            self._numbers.append(number)
            self.told.append(name(steps, number, rows, seed=seed, place=place))
        self.total = sum(count_blocks(images, number[chosen]) for number in self._numbers)

    def run(self) -> Iterator[None]:
        """Do it, some images of a layer at a time."""
        layers = zip(self._layers, self._numbers, strict=True)
        for place, (steps, number) in enumerate(layers, self._before):
            for block, made in perturb_blocks(
                self.images, steps, number - 1, seed=self._seed, rows=self._rows, place=place
            ):
                self.images[block] = made
                yield
