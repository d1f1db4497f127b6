"""Encoders: torchvision's names, shapes of every size, weights from the generator alone."""

import pytest
import torch
import torchvision
from torch import nn

from cptools.core.build import build_encoder
from cptools.core.encoders import DEFAULT_WIDTH, ENCODERS
from cptools.core.encoders.heads import initialize, mlp, mlp_bn
from cptools.core.encoders.resnet import resnet10, resnet18


def test_resnet18_has_torchvisions_names_and_shapes() -> None:
    ours = resnet18(64).state_dict()
    theirs = torchvision.models.resnet18().state_dict()
    without_fc = [name for name in theirs if not name.startswith("fc.")]
    assert list(ours) == without_fc
    assert {name for name in ours if ours[name].shape != theirs[name].shape} == {"conv1.weight"}
    assert ours["conv1.weight"].shape == (64, 3, 3, 3)


def test_resnet18_weights_load_into_torchvisions() -> None:
    model = resnet18(64)
    initialize(model, torch.Generator().manual_seed(1))
    reference = torchvision.models.resnet18()
    agreeing = {k: v for k, v in model.state_dict().items() if k != "conv1.weight"}
    result = reference.load_state_dict(agreeing, strict=False)
    assert result.unexpected_keys == []
    assert set(result.missing_keys) == {"conv1.weight", "fc.weight", "fc.bias"}
    # With the stem put in its place, the two compute the same features.
    reference.conv1, reference.maxpool, reference.fc = model.conv1, nn.Identity(), nn.Identity()
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(x), reference.eval()(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("size", [8, 28, 32, 33])
def test_features_of_any_size_and_width(name: str, size: int) -> None:
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    for width in (1, 3):
        model = build_encoder(name, width).eval()
        initialize(model, torch.Generator().manual_seed(0))
        with torch.no_grad():
            features = model(x)
        assert features.shape == (2, model.feature_dim) == (2, 8 * width)
        assert features.dtype == torch.float32
        assert float(features.std()) > 0


def test_sizes_of_the_named_encoders() -> None:
    count = {name: sum(p.numel() for p in build_encoder(name, DEFAULT_WIDTH[name]).parameters())
             for name in ENCODERS}  # fmt: skip
    # torchvision's resnet18 without fc (513,000) and with a 3x3 stem (1,728 for 9,408 weights).
    assert count["resnet18"] == 11_689_512 - 513_000 - 9_408 + 1_728
    assert count["resnet10"] == 77_352  # the prototype's "77k parameters"


def test_stem_strides() -> None:
    x = torch.zeros(1, 3, 32, 32)
    assert resnet18(1).conv1(x).shape[-2:] == (32, 32)  # CP: stride 1, no pooling
    assert resnet10(1).conv1(x).shape[-2:] == (16, 16)
    assert isinstance(resnet18(1).maxpool, nn.Identity)


@pytest.mark.parametrize("width", [0, -1])
def test_impossible_width_is_refused(width: int) -> None:
    with pytest.raises(ValueError, match=f"width must be at least 1, got {width}"):
        resnet18(width)


class _Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = resnet10(16)
        self.projector = mlp(128, 64, 32)
        self.predictor = mlp_bn(32, 64, 32)


def _weights(seed: int, global_seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(global_seed)
    model = _Model()
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.fill_(7)  # whatever is not drawn anew shows
    initialize(model, torch.Generator().manual_seed(seed))
    return model.state_dict()


def test_initialization_comes_from_the_generator_alone() -> None:
    first, again, other = _weights(0, 0), _weights(0, 1), _weights(1, 0)
    assert all(torch.equal(first[name], again[name]) for name in first)
    drawn = {name for name in first if not torch.equal(first[name], other[name])}
    layers = dict(_Model().named_modules())
    assert drawn == {
        name for name in first if isinstance(layers[name.rpartition(".")[0]], nn.Conv2d | nn.Linear)
    }
    assert not any(bool((tensor == 7).any()) for tensor in first.values())


def test_initialization_has_the_stated_distributions() -> None:
    model = _Model().requires_grad_(False)
    initialize(model, torch.Generator().manual_seed(3))
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.out_channels * layer.kernel_size[0] * layer.kernel_size[1]
            if layer.weight.numel() > 2000:
                assert float(layer.weight.std()) == pytest.approx((2 / fan_out) ** 0.5, rel=0.08)
        elif isinstance(layer, nn.Linear):
            bound = layer.in_features**-0.5
            for tensor in (layer.weight, layer.bias):
                assert float(tensor.abs().max()) <= bound
            assert float(layer.weight.abs().max()) > 0.98 * bound
            assert abs(float(layer.weight.mean())) < 0.1 * bound
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            values = (layer.weight, layer.bias, layer.running_mean, layer.running_var)
            assert [t.unique().tolist() for t in values] == [[1], [0], [0], [1]]
            assert int(layer.num_batches_tracked) == 0


def test_heads() -> None:
    assert [type(layer) for layer in mlp(3, 4, 5)] == [nn.Linear, nn.ReLU, nn.Linear]
    layers = list(mlp_bn(3, 4, 5))
    assert [type(layer) for layer in layers] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert mlp_bn(3, 4, 5)(torch.randn(6, 3)).shape == (6, 5)
