"""Vision transformers: torchvision's network and names, DeiT's sizes and initial weights."""

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer

from cptools.core.build import build_encoder
from cptools.core.encoders.vit import patch_size


@pytest.mark.parametrize(("name", "heads", "size"), [("vit-tiny", 3, 32), ("vit-small", 6, 64)])
def test_weights_load_into_torchvisions_and_give_the_same_features(
    name: str, heads: int, size: int
) -> None:
    ours = build_encoder(name, 24, size=size).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    for parameter in ours.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    patch = 4 if size == 32 else 8
    theirs = VisionTransformer(size, patch, 12, heads, 24, 96).eval()
    theirs.heads = nn.Identity()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, size, size, generator=generator)
    features = ours(x)
    with torch.no_grad():
        torch.testing.assert_close(features, theirs(x), atol=1e-5, rtol=1e-5)
    assert float((features[0] - features[1]).abs().max()) > 0.01


def test_patches() -> None:
    assert [patch_size(size) for size in (32, 63, 64, 96, 127, 128, 224)] == [4, 4, 8, 8, 8, 16, 16]
    for size, num in ((32, 64), (96, 144), (224, 196)):
        network = build_encoder("vit-tiny", 3, size=size)
        assert network.encoder.pos_embedding.shape == (1, num + 1, 3)


def test_features_are_the_class_token() -> None:
    network = build_encoder("vit-tiny", 12, size=16).eval()
    tokens: list[torch.Tensor] = []
    network.encoder.ln.register_forward_hook(lambda _, x, y: tokens.append(y))
    features = network(torch.rand(2, 3, 16, 16))
    assert torch.equal(features, tokens[0][:, 0])


def test_smaller_views_see_the_positions_interpolated() -> None:
    ours = build_encoder("vit-tiny", 24, size=32).eval().requires_grad_(False)
    weights = ours.state_dict()
    positions = weights["encoder.pos_embedding"]
    grid = positions[:, 1:].reshape(1, 8, 8, 24).permute(0, 3, 1, 2)
    smaller = nn.functional.interpolate(grid, scale_factor=0.5, mode="bicubic")
    patches = smaller.permute(0, 2, 3, 1).reshape(1, 16, 24)
    theirs = VisionTransformer(16, 4, 12, 3, 24, 96).eval()
    theirs.heads = nn.Identity()
    theirs.load_state_dict(
        weights | {"encoder.pos_embedding": torch.cat([positions[:, :1], patches], dim=1)}
    )
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match=r"4 pixels do not divide views of 18 .* `local_size=16`"):
        ours(torch.zeros(1, 3, 18, 18))


def test_initial_weights_are_deits() -> None:
    network = build_encoder("vit-tiny", 96, size=32)
    layer = network.encoder.layers[0]
    drawn = (layer.self_attention.in_proj_weight, layer.self_attention.out_proj.weight,
             layer.mlp[0].weight, layer.mlp[3].weight, network.encoder.pos_embedding)  # fmt: skip
    for weight in drawn:
        assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.06)
    assert bool(network.class_token.any())
    biases = [p for name, p in network.named_parameters() if name.endswith("bias")]
    assert not any(bool(bias.any()) for bias in biases)


def test_training_draws_nothing() -> None:
    network = build_encoder("vit-tiny", 12, size=16).train()
    x = torch.rand(2, 3, 16, 16)
    assert torch.equal(network(x), network(x))


@pytest.mark.parametrize(
    ("name", "width", "size", "message"),
    [
        ("vit-tiny", 64, 32, "`width` 64 of this ViT is no multiple of its 3 heads; .*`width=63`"),
        ("vit-small", 2, 32, "`width` 2 of this ViT is no multiple of its 6 heads; .*`width=6`"),
        ("vit-tiny", 12, 30, "patches of 4 pixels do not divide images of 30 .* `size=32`"),
        ("vit-tiny", 12, 2, "patches of 4 pixels do not divide images of 2 .* `size=4`"),
        ("vit-tiny", 12, 100, "patches of 8 pixels do not divide images of 100 .* `size=96`"),
        ("vit-tiny", 12, 1 << 20, "up to 4096 pixels, not 1048576; load smaller"),
        ("vit-tiny", 12, None, "may depend on the images' size; give it as `size`"),
    ],
)
def test_what_does_not_fit(name: str, width: int, size: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_encoder(name, width, size=size)
