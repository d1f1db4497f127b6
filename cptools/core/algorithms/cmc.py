"""CMC, contrastive multiview coding (Tian, Krishnan, Isola, ECCV 2020): lightness against color."""

import torch
from torch import Tensor, nn

from cptools.core.algorithms.base import Algorithm, in_groups, unit
from cptools.core.algorithms.objectives import symmetric_infonce
from cptools.core.checks import check_normalization, check_number, check_whole
from cptools.core.encoders import PREFIX
from cptools.core.encoders.heads import initialize, mlp
from cptools.core.encoders.two_stream import TwoStreamEncoder


class CMC(Algorithm):
    """CMC of two views, L and ab of CIE Lab, of one and the same crop; an encoder for each.

    The lightness of an image is to find its color among those of the batch, and the other way
    round. The authors draw 16,384 negatives from a memory bank of all images and project by one
    linear layer; here negatives are the batch, as in SimCLR, and the head is SimCLR's, so that the
    three methods compared differ in their views, not in their heads. What is probed are the
    features of both encoders side by side, as in the paper (section 4.1). Each has half the width,
    so that together they are as wide as another learner's.

    Args:
        encoder: its two networks.
        mean: per-channel mean of the normalization, in [0, 1].
        std: per-channel standard deviation of the normalization.
        hidden: width of the projection heads.
        dim: dimension of the embeddings.
        temperature: tau of InfoNCE.
        bn_groups: slices of the batch that batch norm sees apart (1: the whole batch).
        generator: source of the initial weights.
    """

    num_views = 1
    needs_pixels = True
    encoder_prefix = PREFIX
    encoder: TwoStreamEncoder

    def __init__(
        self,
        encoder: TwoStreamEncoder,
        *,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        hidden: int = 512,
        dim: int = 128,
        temperature: float = 0.07,
        bn_groups: int = 1,
        generator: torch.Generator,
    ):
        super().__init__()
        check_normalization(mean, std)
        check_number("temperature", temperature, above=True)
        check_whole("bn_groups", bn_groups, 1)
        self.encoder = encoder
        encoder.normalized_by(mean, std)
        self.head = nn.ModuleDict(
            {
                "projector": mlp(encoder.lightness.feature_dim, hidden, dim),
                "color_projector": mlp(encoder.color.feature_dim, hidden, dim),
            }
        )
        initialize(self, generator)
        self.temperature = temperature
        self.bn_groups = bn_groups

    def _embeddings(self, view: Tensor) -> Tensor:
        """Unit embeddings of lightness and of color, [B, 2, D]."""
        lightness, color = self.encoder.streams(view)
        z = self.head["projector"](lightness), self.head["color_projector"](color)
        return torch.stack([unit(part) for part in z], dim=1)

    def embed(self, view: Tensor) -> Tensor:
        """Unit embeddings [B, 2 D]: lightness and color side by side."""
        return unit(self._embeddings(view).flatten(1))

    def loss(self, view: Tensor, *, labels: Tensor | None = None, dual: bool = False) -> Tensor:
        """Mean of InfoNCE of lightness against color and of color against lightness.

        Equations 3 and 4 of the paper; there is no momentum branch, so `dual` changes nothing.
        """
        z = in_groups(self._embeddings, view, self.groups)
        return symmetric_infonce(*z.unbind(1), temperature=self.temperature)
