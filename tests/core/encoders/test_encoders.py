"""Encoders: torchvision's names, shapes of every size, weights from the generator alone."""

from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from cptools.core.algorithms.base import Backbone
from cptools.core.build import build_encoder
from cptools.core.encoders import ENCODERS
from cptools.core.encoders.heads import initialize, mlp, mlp_bn, mlp_bn3
from cptools.core.encoders.resnet import resnet10, resnet18
from cptools.core.lazy import load

THEIRS = {
    "resnet18": torchvision.models.resnet18,
    "resnet50": torchvision.models.resnet50,
    "vgg19": torchvision.models.vgg19_bn,
    "densenet121": torchvision.models.densenet121,
    "mobilenetv2": torchvision.models.mobilenet_v2,
}
STEM = {"resnet18": "conv1", "resnet50": "conv1", "densenet121": "features.conv0"}
CLASSIFIER = ("fc.", "classifier.")
NARROW = {"resnet18": 3, "resnet50": 3, "vgg19": 3, "densenet121": 5, "mobilenetv2": 8,
          "wideresnet28": 3, "convnext-tiny": 3, "vit-tiny": 6, "vit-small": 6,
          "resnet10": 3}  # fmt: skip
DRAWN = [name for name, entry in ENCODERS.items() if not entry.keeps_weights]
KEPT = [name for name, entry in ENCODERS.items() if entry.keeps_weights]


def without_weights(make: Any, *args: Any) -> Any:
    """A network whose parameters have names and shapes only, which costs no time."""
    with torch.device("meta"):
        return make(*args)


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {
        name: tuple(tensor.shape)
        for name, tensor in network.state_dict().items()
        if not name.startswith(CLASSIFIER)
    }


def images(num: int, size: int) -> Tensor:
    return torch.randn(num, 3, size, size, generator=torch.Generator().manual_seed(2))


def drawn(name: str, width: int, size: int = 32) -> Backbone:
    """An encoder in eval mode in which every weight and every statistic matters."""
    model = build_encoder(name, width, size=size).requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    initialize(model, generator)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            layer.bias.normal_(0, 0.1, generator=generator)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.weight.uniform_(0.5, 1.5, generator=generator)
            layer.bias.normal_(0, 0.1, generator=generator)
            layer.momentum = 1.0  # statistics of the batch, which keep maps of any depth in range
    model.train()(images(4, size))
    return model.eval()


@pytest.mark.parametrize("name", THEIRS)
def test_names_and_shapes_are_torchvisions_but_for_the_stem(name: str) -> None:
    ours = shapes(without_weights(build_encoder, name, ENCODERS[name].width))
    theirs = shapes(without_weights(THEIRS[name]))
    assert list(ours) == list(theirs)
    changed = {key: ours[key] for key in ours if ours[key] != theirs[key]}
    assert changed == ({f"{STEM[name]}.weight": (64, 3, 3, 3)} if name in STEM else {})


def put_stem(name: str, theirs: Any, ours: Any) -> None:
    """Change torchvision's network to small images, by hand."""
    if name.startswith("resnet"):
        theirs.conv1, theirs.maxpool = ours.conv1, nn.Identity()
    elif name == "densenet121":
        theirs.features.conv0, theirs.features.pool0 = ours.features.conv0, nn.Identity()
    elif name == "mobilenetv2":
        theirs.features[0][0].stride = (1, 1)
        theirs.features[2].conv[1][0].stride = (1, 1)  # depthwise, of the first 24-channel block
    else:  # the stem is the same, but torchvision repeats the mean to 7x7 pixels
        theirs.avgpool = nn.AdaptiveAvgPool2d(1)


@pytest.mark.parametrize(
    ("name", "size"),
    [("resnet18", 16), ("resnet50", 16), ("vgg19", 32), ("vgg19", 64), ("densenet121", 17),
     ("mobilenetv2", 17)],
)  # fmt: skip
def test_weights_load_into_torchvisions_and_give_the_same_features(name: str, size: int) -> None:
    ours = drawn(name, ENCODERS[name].width).double()
    theirs = without_weights(THEIRS[name])
    agreeing = {k: v for k, v in ours.state_dict().items() if k != f"{STEM.get(name)}.weight"}
    result = theirs.load_state_dict(agreeing, strict=False, assign=True)
    assert result.unexpected_keys == []
    missing = {key for key in result.missing_keys if not key.startswith(CLASSIFIER)}
    assert missing == ({f"{STEM[name]}.weight"} if name in STEM else set())
    put_stem(name, theirs, ours)
    setattr(theirs, "fc" if name.startswith("resnet") else "classifier", nn.Identity())
    x = images(2, size).double()
    features = ours(x)
    with torch.no_grad():
        torch.testing.assert_close(features, theirs.eval()(x), atol=1e-8, rtol=1e-8)
    assert float((features[0] - features[1]).abs().max()) > 0.01


@pytest.mark.parametrize("name", ENCODERS)
def test_features_of_any_size(name: str) -> None:
    sizes = (8, 28, 64, 96, 128) if name.startswith("vit") else (8, 13, 28, 32, 33, 64, 96)
    model = drawn(name, NARROW[name])
    for size in sizes:
        if ENCODERS[name].needs_size:
            model = drawn(name, NARROW[name], size)
        features = model(images(2, size))
        assert features.shape == (2, model.feature_dim)
        assert features.dtype == torch.float32
        assert float((features[0] - features[1]).abs().max()) > 1e-4


@pytest.mark.parametrize(
    ("name", "features"),
    [
        ("resnet18", {1: 8, 3: 24, 64: 512}),
        ("resnet10", {1: 8, 3: 24, 8: 64}),
        ("resnet50", {1: 32, 3: 96, 64: 2048}),
        ("vgg19", {1: 8, 3: 24, 64: 512}),
        ("densenet121", {2: 32, 3: 32, 32: 512, 64: 1024}),
        ("mobilenetv2", {1: 1280, 20: 1280, 32: 1280, 64: 2560}),
        ("wideresnet28", {1: 4, 3: 12, 160: 640}),
    ],
)
def test_feature_dim_of_any_width(name: str, features: dict[int, int]) -> None:
    for width, expected in features.items():
        assert without_weights(build_encoder, name, width).feature_dim == expected


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "vgg19", "densenet121"])
def test_width_scales_every_layer(name: str) -> None:
    whole, half = (shapes(without_weights(build_encoder, name, width)) for width in (64, 32))
    assert whole.keys() == half.keys()
    for key, shape in whole.items():
        channels = tuple(n if n == 3 else n // 2 for n in shape[:2])
        assert half[key] == channels + shape[2:]


@pytest.mark.parametrize("width", [1, 20, 48])
def test_width_of_mobilenet_is_torchvisions_multiplier(width: int) -> None:
    ours = without_weights(build_encoder, "mobilenetv2", width)
    theirs = without_weights(lambda: THEIRS["mobilenetv2"](width_mult=width / 32))
    assert shapes(ours) == shapes(theirs)
    assert ours.feature_dim == theirs.last_channel


def test_sizes_of_the_named_encoders() -> None:
    count = {}
    for name in DRAWN:
        model = without_weights(build_encoder, name, ENCODERS[name].width)
        count[name] = sum(p.numel() for p in model.parameters())
    for name in KEPT:  # at the size of the papers
        network = without_weights(load(ENCODERS[name].build), ENCODERS[name].width, 224)
        count[name] = sum(p.numel() for p in network.parameters())
    # torchvision's without the classifiers, and with 3x3 stems of 1,728 weights for 9,408.
    assert count == {
        "resnet18": 11_689_512 - 513_000 - 9_408 + 1_728,
        "resnet50": 25_557_032 - 2_049_000 - 9_408 + 1_728,
        "vgg19": 143_678_248 - (102_764_544 + 16_781_312 + 4_097_000),
        "densenet121": 7_978_856 - 1_025_000 - 9_408 + 1_728,
        "mobilenetv2": 3_504_872 - 1_281_000,
        "wideresnet28": 36_479_194 - 6_410,  # 36.5 million (the paper's table 4), with `fc`
        "convnext-tiny": 28_589_128 - 769_000,
        "vit-tiny": 5_717_416 - 193_000,  # timm's vit_tiny_patch16_224 without its classifier
        "vit-small": 22_050_664 - 385_000,
        "resnet10": 77_352,  # the prototype's "77k parameters"
    }


def test_stem_strides() -> None:
    x = torch.zeros(1, 3, 32, 32)
    assert resnet18(1).conv1(x).shape[-2:] == (32, 32)  # CP: stride 1, no pooling
    assert resnet10(1).conv1(x).shape[-2:] == (16, 16)
    assert isinstance(resnet18(1).maxpool, nn.Identity)


@pytest.mark.parametrize(
    ("name", "side"),
    [("resnet18", 4), ("resnet50", 4), ("vgg19", 2), ("densenet121", 4), ("mobilenetv2", 4),
     ("resnet10", 2), ("convnext-tiny", 4), ("vit-tiny", 8)],
)  # fmt: skip
def test_last_map_of_32_pixels(name: str, side: int) -> None:
    sizes: list[tuple[int, int]] = []
    model = build_encoder(name, NARROW[name], size=32).eval()
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda _, x, y: sizes.append(tuple(y.shape[-2:])))
    model(images(1, 32))
    assert sizes[-1] == (side, side)


@pytest.mark.parametrize("name", ENCODERS)
def test_maps_are_channels_last(name: str) -> None:
    model = build_encoder(name, NARROW[name], size=32).eval().to(memory_format=torch.channels_last)
    seen: list[bool] = []
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.BatchNorm2d):
            layer.register_forward_pre_hook(
                lambda _, x: seen.append(x[0].is_contiguous(memory_format=torch.channels_last))
            )
    model(images(2, 32))
    assert all(seen)


@pytest.mark.parametrize("name", ENCODERS)
def test_training_lowers_the_loss_and_reaches_every_weight(name: str) -> None:
    model = build_encoder(name, 12 if name in KEPT else 8, size=16).train()
    initialize(model, torch.Generator().manual_seed(0))
    classifier = nn.Linear(model.feature_dim, 8).requires_grad_(False)
    initialize(classifier, torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    x, classes = images(8, 16), torch.arange(8)
    before_norm = {  # batch norm takes away what these biases add, and so their gradient
        f"{key}.bias"
        for key, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d) and layer.bias is not None
    }
    losses = []
    for step in range(16 if name in KEPT else 6):
        loss = F.cross_entropy(classifier(model(x)), classes)
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            reached = {key for key, p in model.named_parameters() if bool(p.grad.any())}
            assert reached | before_norm == dict(model.named_parameters()).keys()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("width", [0, -1])
def test_impossible_width_is_refused(name: str, width: int) -> None:
    with pytest.raises(ValueError, match=f"width .*must be at least [12], got {width}"):
        build_encoder(name, width, size=32)


def test_densenet_needs_something_to_grow_by() -> None:
    with pytest.raises(ValueError, match="width of a densenet must be at least 2, got 1"):
        build_encoder("densenet121", 1)


class _Model(nn.Module):
    def __init__(self, name: str, width: int) -> None:
        super().__init__()
        self.backbone = build_encoder(name, width)
        self.projector = mlp(self.backbone.feature_dim, 64, 32)
        self.predictor = mlp_bn(32, 64, 32)


def _weights(name: str, seed: int, global_seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(global_seed)
    model = _Model(name, NARROW[name])
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.fill_(7)  # whatever is not drawn anew shows
    initialize(model, torch.Generator().manual_seed(seed))
    return model.state_dict()


@pytest.mark.parametrize("name", DRAWN)
def test_initialization_comes_from_the_generator_alone(name: str) -> None:
    first, again, other = (_weights(name, *seeds) for seeds in ((0, 0), (0, 1), (1, 0)))
    assert all(torch.equal(first[key], again[key]) for key in first)
    random = {key for key in first if not torch.equal(first[key], other[key])}
    assert random == {
        f"{key}.{tensor}"
        for key, layer in _Model(name, NARROW[name]).named_modules()
        for tensor in ("weight", "bias")
        if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and tensor == "weight")
    }
    assert not any(bool((tensor == 7).any()) for tensor in first.values())


@pytest.mark.parametrize("name", KEPT)
def test_weights_that_are_kept_come_from_the_generator_alone(name: str) -> None:
    states = []
    for seed, global_seed in ((0, 0), (0, 1), (1, 0)):
        torch.manual_seed(global_seed)
        generator = torch.Generator().manual_seed(seed)
        model = build_encoder(name, NARROW[name], size=32, generator=generator)
        states.append({key: tensor.clone() for key, tensor in model.state_dict().items()})
        initialize(model, torch.Generator().manual_seed(7))
        assert all(torch.equal(states[-1][key], t) for key, t in model.state_dict().items())
    first, again, other = states
    assert all(torch.equal(first[key], again[key]) for key in first)
    constant = {key for key in first if torch.equal(first[key], other[key])}
    assert all(first[key].unique().numel() == 1 for key in constant)  # norms and biases


@pytest.mark.parametrize("name", ["resnet10", "vgg19"])
def test_initialization_has_the_stated_distributions(name: str) -> None:
    model = _Model(name, 16).requires_grad_(False)
    initialize(model, torch.Generator().manual_seed(3))
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.out_channels * layer.kernel_size[0] * layer.kernel_size[1]
            if layer.weight.numel() > 2000:
                assert float(layer.weight.std()) == pytest.approx((2 / fan_out) ** 0.5, rel=0.08)
            if layer.bias is not None:
                assert not bool(layer.bias.any())
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


def test_head_of_simsiam_ends_in_plain_normalization() -> None:
    head = mlp_bn3(3, 4, 5)
    initialize(head, torch.Generator().manual_seed(0))
    assert [tuple(p.shape) for p in head.parameters()] == [
        (4, 3), (4,), (4,), (4, 4), (4,), (4,), (5, 4),
    ]  # fmt: skip
    z = head(torch.randn(64, 3, generator=torch.Generator().manual_seed(1)))
    torch.testing.assert_close(z.mean(0), torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.var(0, correction=0), torch.ones(5), atol=1e-2, rtol=0)
