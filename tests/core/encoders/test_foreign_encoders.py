"""Encoders from outside: what is trusted, how they are made, and that the seed makes them."""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cptools.core import recipes
from cptools.core.build import build_algorithm, build_encoder
from cptools.core.encoders import default_width, is_foreign
from cptools.core.encoders.two_stream import TwoStreamEncoder
from cptools.core.settings import Settings

MEAN, STD = (0.5, 0.45, 0.4), (0.2, 0.25, 0.3)
NAME = "stranger.nets:net"


class Net(nn.Module):
    """Has weights that `initialize` does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 4)
        self.scale = nn.Parameter(torch.randn(4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (self.conv(x) * self.scale).mean((2, 3))


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def install(**functions: object) -> None:
        made = ModuleType("stranger.nets")
        vars(made).update(functions)
        monkeypatch.setitem(sys.modules, "stranger", ModuleType("stranger"))
        monkeypatch.setitem(sys.modules, "stranger.nets", made)

    monkeypatch.delenv("CPTOOLS_TRUST", raising=False)
    return install


def algorithm_of(alg: str, name: str, seed: int = 0, size: int | None = 16) -> Any:
    values: Settings = recipes.pretrain("quick", alg=alg, dataset="") | {
        "encoder": name, "width": 1,
    }  # fmt: skip
    return build_algorithm(
        alg, values, num_classes=3, mean=MEAN, std=STD, seed=seed, size=size
    )  # fmt: skip


def test_names() -> None:
    assert is_foreign(NAME)
    assert is_foreign("timm:vit_tiny_patch16_224.augreg_in21k")
    for name in ("resnet18", "timm:", "timm:hf-hub:a/b", "a/b:c", "a:b:c", ":b", "a:", "..:x", ""):
        assert not is_foreign(name)
    assert default_width(NAME) == 1
    with pytest.raises(ValueError, match="'resnet81' is no encoder; did you mean resnet18"):
        default_width("resnet81")


def test_code_that_only_a_file_names_is_never_imported(
    module: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []
    module(net=lambda: called.append(1))
    with pytest.raises(ValueError, match=f"if you trust it, set .* CPTOOLS_TRUST={NAME}"):
        build_encoder(NAME, 1, size=16)
    with pytest.raises(ValueError, match="could do anything"):
        build_encoder(f"lab-{NAME}", 1, size=16)
    monkeypatch.delitem(sys.modules, "stranger")
    monkeypatch.delitem(sys.modules, "stranger.nets")
    monkeypatch.setenv("CPTOOLS_TRUST", f"{NAME}_of_another, other:one")
    with pytest.raises(ValueError, match="CPTOOLS_TRUST"):  # and not ImportError
        build_encoder(NAME, 1, size=16)
    assert called == []


def test_who_vouches(module: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    module(net=Net)
    assert build_encoder(NAME, 1, size=16, trust=True).feature_dim == 4
    monkeypatch.setenv("CPTOOLS_TRUST", f" other:one, {NAME} ")
    assert build_encoder(NAME, 1, size=16).feature_dim == 4


@pytest.mark.parametrize("alg", ["simclr", "byol", "cmc"])
def test_its_own_weights_come_from_the_seed_alone(module: Callable[..., None], alg: str) -> None:
    module(net=Net)
    states = []
    for global_seed, seed in ((0, 0), (1, 0), (0, 1)):
        torch.manual_seed(global_seed)
        states.append(algorithm_of(alg, NAME, seed).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    scale = next(key for key in states[0] if key.endswith("scale"))
    assert not torch.equal(states[0][scale], states[2][scale])


def test_its_initialization_is_kept(module: Callable[..., None]) -> None:
    def net() -> Net:
        made = Net()
        nn.init.constant_(made.conv.weight, 7)
        return made

    module(net=net)
    algorithm = algorithm_of("moco", NAME)
    assert bool((algorithm.encoder.conv.weight == 7).all())
    assert bool(algorithm.head["projector"][0].weight.abs().max() < 1)


def test_two_streams(module: Callable[..., None]) -> None:
    module(net=Net)
    encoder = build_encoder(f"lab-{NAME}", 1, size=16, trust=True)
    assert isinstance(encoder, TwoStreamEncoder)
    assert encoder.feature_dim == 8
    assert encoder(torch.rand(2, 3, 16, 16)).shape == (2, 8)
    module(net=lambda: nn.Sequential(nn.Flatten(), nn.Linear(768, 5)))
    with pytest.raises(ValueError, match="the encoder has no convolution"):
        build_encoder(f"lab-{NAME}", 1, size=16, trust=True)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (lambda width: Net(), "cannot be made: TypeError: .*width"),
        (lambda: 3, r"is no torch\.nn\.Module but int"),
        (lambda: nn.Flatten(), None),
        (lambda: nn.Identity(), r"maps 2 images to \[2, 3, 16, 16\], not to features"),
        (lambda: nn.Linear(5, 5), "does not take images of 16 pixels: RuntimeError"),
    ],
)
def test_what_is_no_encoder(
    module: Callable[..., None], net: Callable[..., Any], message: str | None
) -> None:
    module(net=net)
    if message is None:
        assert build_encoder(NAME, 1, size=16, trust=True).feature_dim == 768
        return
    with pytest.raises(ValueError, match=message):
        build_encoder(NAME, 1, size=16, trust=True)


def test_what_is_not_there() -> None:
    with pytest.raises(ValueError, match="cannot be made: ModuleNotFoundError"):
        build_encoder("no_such_module:net", 1, size=16, trust=True)
    with pytest.raises(ValueError, match="cannot be made: AttributeError"):
        build_encoder("math:net", 1, size=16, trust=True)
    with pytest.raises(ValueError, match="may depend on the images' size; give it"):
        build_encoder("math:net", 1, trust=True)


def test_without_timm_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"needs timm .*; run pip install cptools\[timm\]"):
        build_encoder("timm:vit_tiny_patch16_224", 1, size=32)


@pytest.mark.parametrize(
    ("name", "dim"), [("vit_tiny_patch16_224", 192), ("resnet18", 512), ("convnext_atto", 320)]
)
def test_timm(name: str, dim: int) -> None:
    timm = pytest.importorskip("timm")
    encoder = build_encoder(f"timm:{name}", 1, size=32)
    assert encoder.feature_dim == dim
    assert encoder(torch.rand(2, 3, 32, 32)).shape == (2, dim)
    theirs = timm.create_model(name, num_classes=0, pretrained=False)
    assert encoder.state_dict().keys() == theirs.state_dict().keys(), "loads in timm as it is"


def test_timm_has_no_such_model() -> None:
    pytest.importorskip("timm")
    with pytest.raises(ValueError, match=r"timm has no model vit_tinny_patch16_224; did you mean"):
        build_encoder("timm:vit_tinny_patch16_224", 1, size=32)
    with pytest.raises(ValueError, match=r"timm:vit_tiny_patch16_224 cannot be made|does not take"):
        build_encoder("timm:vit_tiny_patch16_224", 1, size=8)
