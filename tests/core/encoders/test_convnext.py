"""ConvNeXt-T: torchvision's network, names and initial weights; a small stem for small images."""

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.convnext import CNBlockConfig, ConvNeXt

from cptools.core.build import build_encoder
from cptools.core.encoders.convnext import convnext_tiny


def test_names_and_shapes_are_torchvisions() -> None:
    with torch.device("meta"):
        theirs = torchvision.models.convnext_tiny().state_dict()
        large, small = (convnext_tiny(96, size).state_dict() for size in (64, 63))
    wanted = {key: t.shape for key, t in theirs.items() if not key.startswith("classifier.2.")}
    assert {key: t.shape for key, t in large.items()} == wanted
    assert list(large) == list(small)
    changed = [key for key in small if small[key].shape != large[key].shape]
    assert changed == ["features.0.0.weight"]
    assert small[changed[0]].shape == (96, 3, 3, 3)


def test_weights_load_into_torchvisions_and_give_the_same_features() -> None:
    ours = build_encoder("convnext-tiny", 4, size=64).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    for parameter in ours.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    plan = [CNBlockConfig(4, 8, 3), CNBlockConfig(8, 16, 3), CNBlockConfig(16, 32, 9),
            CNBlockConfig(32, None, 3)]  # fmt: skip
    theirs = ConvNeXt(plan).eval()
    theirs.classifier[2] = nn.Identity()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 64, 64, generator=generator)
    features = ours(x)
    with torch.no_grad():
        torch.testing.assert_close(features, theirs(x), atol=1e-5, rtol=1e-5)
    assert float((features[0] - features[1]).abs().max()) > 0.01


def test_initial_weights_are_torchvisions() -> None:
    network = build_encoder("convnext-tiny", 24, size=32)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            assert not bool(layer.bias.any())
            if layer.weight.numel() > 5000:
                assert float(layer.weight.detach().std()) == pytest.approx(0.02, rel=0.06)
    scales = [p.detach() for name, p in network.named_parameters() if "layer_scale" in name]
    assert torch.cat(scales).unique().tolist() == [pytest.approx(1e-6)]


def test_training_draws_nothing() -> None:
    network = build_encoder("convnext-tiny", 3, size=16).train()
    x = torch.rand(2, 3, 16, 16)
    assert torch.equal(network(x), network(x))
