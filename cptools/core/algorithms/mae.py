"""MAE, masked autoencoder (He et al., CVPR 2022): a ViT fills in patches that it does not see."""

import math

import torch
from torch import Tensor, nn
from torchvision.models.vision_transformer import EncoderBlock

from cptools.core.algorithms.base import Algorithm, Backbone, unit
from cptools.core.checks import check_number, check_whole
from cptools.core.encoders.vit import ViT
from cptools.core.views import DrawsViews, draw_views

HEAD = 32  # dimensions of a head of the decoder's attention: 16 heads of 512 in the paper
EPSILON = 1e-6  # of the variance of a patch, as in the official code


class MAE(Algorithm):
    """MAE, section 3: mean squared error of the hidden patches, each normalized by itself.

    The encoder sees a random part of the patches, drawn anew for every view, and its class token;
    the decoder their outputs, and one learned vector in place of each hidden patch, with positions
    of its own. Its outputs are the pixels of the hidden patches, less the patch's mean, over its
    standard deviation (table 1d). There is one branch, and `dual` changes nothing.

    Where this differs from the official code (facebookresearch/mae): the encoder's positions are
    learned, and its weights start as this package's ViTs do; the decoder's start as there. The
    variance of a patch divides by the number of its values; that code's by one less.

    Args:
        encoder: a ViT of this package.
        decoder_width: dimensions of the decoder's tokens, a multiple of 32.
        decoder_layers: of the decoder.
        mask_ratio: part of the patches that is hidden.
        bn_groups: of no meaning: there is no batch norm.
        generator: source of the decoder's initial weights.

    Raises:
        ValueError: the encoder is no such ViT, or a number is out of range.
    """

    num_views = 3
    encoder: ViT

    def __init__(
        self,
        encoder: Backbone,
        *,
        decoder_width: int = 512,
        decoder_layers: int = 8,
        mask_ratio: float = 0.75,
        bn_groups: int = 1,
        generator: torch.Generator,
    ):
        super().__init__()
        if not isinstance(encoder, ViT):
            raise ValueError(
                "mae hides patches, which this encoder does not have; give `encoder=vit-tiny` or"
                " `encoder=vit-small`"
            )
        check_whole("decoder_width", decoder_width, HEAD)
        if decoder_width % HEAD:
            near = round(decoder_width / HEAD) * HEAD
            raise ValueError(
                f"`decoder_width` {decoder_width} is no multiple of {HEAD}; give"
                f" `decoder_width={near}`"
            )
        check_whole("decoder_layers", decoder_layers, 1)
        check_number("mask_ratio", mask_ratio, 0, 1)
        check_whole("bn_groups", bn_groups, 1)
        num = encoder.seq_length - 1
        self.visible = num - round(mask_ratio * num)
        if not 0 < self.visible < num:
            raise ValueError(
                f"`mask_ratio` {mask_ratio} hides {num - self.visible} of {num} patches; some have"
                " to be hidden and some seen"
            )
        self.encoder = encoder
        decoder = Decoder(
            encoder.feature_dim, decoder_width, decoder_layers, num, 3 * encoder.patch_size**2
        )
        decoder.initialize(generator)
        self.head = nn.ModuleDict({"decoder": decoder})

    def draw(self, x: Tensor, views: DrawsViews, generator: torch.Generator) -> tuple[Tensor, ...]:
        """A view, another that alignment alone is measured by, and the order of its patches.

        The order is by random numbers [B, P], one a patch.
        """
        pair = draw_views(views, x, 2, generator)
        chance = torch.rand(len(x), self.encoder.seq_length - 1, generator=generator)
        return *pair, chance.to(x.device)

    def embed(self, view: Tensor) -> Tensor:
        """Unit features [B, D] of the whole view: of the class token."""
        return unit(self.encoder(view))

    def loss(
        self,
        view: Tensor,
        _: Tensor,
        chance: Tensor,
        *,
        labels: Tensor | None = None,
        dual: bool = False,
    ) -> Tensor:
        """Mean squared error over the pixels of the hidden patches."""
        order = chance.argsort(dim=1)  # [B, P]
        seen, hidden = order[:, : self.visible], order[:, self.visible :]
        outputs = self.encoder.encode(rows(self.encoder.tokens(view), seen))
        predicted = rows(self.head["decoder"](outputs, seen), hidden)
        target = normalized(rows(patches(view, self.encoder.patch_size), hidden))
        return (predicted.float() - target).square().mean()


class Decoder(nn.Module):
    """Transformer from the outputs of the patches seen to the pixels of all patches.

    Args:
        dim_in: dimensions of the encoder's outputs.
        width: dimensions of the tokens.
        layers: how many there are.
        num: patches of an image, a square number.
        dim_out: values of a patch.
    """

    positions: Tensor

    def __init__(self, dim_in: int, width: int, layers: int, num: int, dim_out: int):
        super().__init__()
        self.embed = nn.Linear(dim_in, width)
        self.hidden_token = nn.Parameter(torch.zeros(1, 1, width))
        self.register_buffer("positions", waves(math.isqrt(num), width), persistent=False)
        self.layers = nn.Sequential(
            *(EncoderBlock(width // HEAD, width, 4 * width, 0.0, 0.0) for _ in range(layers))
        )
        self.norm = nn.LayerNorm(width)
        self.predict = nn.Linear(width, dim_out)

    def initialize(self, generator: torch.Generator) -> None:
        """Draw weights: linear layers by Glorot and Bengio's uniform, biases zero."""
        for layer in self.modules():
            if isinstance(layer, nn.MultiheadAttention):
                nn.init.xavier_uniform_(layer.in_proj_weight, generator=generator)
                nn.init.zeros_(layer.in_proj_bias)
            elif isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight, generator=generator)
                nn.init.zeros_(layer.bias)
        nn.init.normal_(self.hidden_token, std=0.02, generator=generator)

    def forward(self, outputs: Tensor, seen: Tensor) -> Tensor:
        """Pixels [B, P, dim_out] of all patches.

        Args:
            outputs: of the encoder, [B, 1 + V, dim_in], the class token's first.
            seen: numbers of the V patches, int64 [B, V].
        """
        embedded = self.embed(outputs)
        width = embedded.shape[2]
        tokens = self.hidden_token.to(embedded.dtype).expand(len(seen), len(self.positions), width)
        tokens = tokens.scatter(1, seen[:, :, None].expand(-1, -1, width), embedded[:, 1:])
        sequence = torch.cat([embedded[:, :1], tokens + self.positions], dim=1)
        pixels: Tensor = self.predict(self.norm(self.layers(sequence)))[:, 1:]
        return pixels


def rows(tokens: Tensor, index: Tensor) -> Tensor:
    """Of tokens [B, P, D] those of the numbers [B, V], in their order: [B, V, D]."""
    return tokens.gather(1, index[:, :, None].expand(-1, -1, tokens.shape[2]))


def patches(view: Tensor, side: int) -> Tensor:
    """Pixels [B, P, 3 * side * side] of the patches of a view [B, 3, S, S], row by row."""
    parts = view.unfold(2, side, side).unfold(3, side, side)  # [B, 3, rows, columns, side, side]
    return parts.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)


def normalized(parts: Tensor) -> Tensor:
    """Patches [B, P, D], each less its mean, over its standard deviation; float32."""
    parts = parts.float()
    variance, mean = torch.var_mean(parts, dim=2, keepdim=True, correction=0)
    return (parts - mean) / (variance + EPSILON).sqrt()


def waves(side: int, width: int) -> Tensor:
    """Positions [side * side, width] of a grid: sines and cosines of its columns and rows.

    Vaswani et al. 2017, section 3.5, for each axis in half of the dimensions.
    """
    quarter = width // 4
    frequency = 10000 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    angle = torch.arange(side, dtype=torch.float64)[:, None] * frequency  # [side, quarter]
    wave = torch.cat([angle.sin(), angle.cos()], dim=1)  # [side, width / 2]
    columns = wave[None].expand(side, side, -1)
    return torch.cat([columns, columns.transpose(0, 1)], dim=2).flatten(0, 1).float()
