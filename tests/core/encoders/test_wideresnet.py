"""WideResNet-28: the paper's network, written out by hand, and its sizes."""

import torch
from torch import Tensor
from torch.nn import functional as F

from cptools.core.build import build_encoder
from cptools.core.encoders.heads import initialize


def by_hand(x: Tensor, state: dict[str, Tensor]) -> Tensor:
    """The features by the paper's figure 1 and table 1, from weights by name."""

    def norm(x: Tensor, name: str) -> Tensor:
        weight, bias, mean, var = (
            state[f"{name}.{key}"] for key in ("weight", "bias", "running_mean", "running_var")
        )
        return F.relu(F.batch_norm(x, mean, var, weight, bias))

    x = F.conv2d(x, state["conv1.weight"], padding=1)
    for group in (1, 2, 3):
        for number in range(4):
            block = f"block{group}.layer.{number}"
            stride = 2 if group > 1 and number == 0 else 1
            active = norm(x, f"{block}.bn1")
            if number == 0:
                x = F.conv2d(active, state[f"{block}.convShortcut.weight"], stride=stride)
            y = F.conv2d(active, state[f"{block}.conv1.weight"], stride=stride, padding=1)
            x = x + F.conv2d(norm(y, f"{block}.bn2"), state[f"{block}.conv2.weight"], padding=1)
    return norm(x, "bn1").mean((2, 3))


def test_it_is_the_papers_network() -> None:
    network = build_encoder("wideresnet28", 6).double().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    initialize(network, generator)
    for name, parameter in network.named_parameters():
        if "bn" in name:
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    x = torch.randn(4, 3, 15, 15, generator=generator).double()
    network.train()(x)  # statistics that are not 0 and 1
    features = network.eval()(x)
    torch.testing.assert_close(features, by_hand(x, network.state_dict()), atol=1e-9, rtol=1e-9)
    assert float((features[0] - features[1]).abs().max()) > 0.01


def test_depth_and_width() -> None:
    with torch.device("meta"):
        state = build_encoder("wideresnet28", 160).state_dict()
    layers = [t for name, t in state.items() if t.ndim == 4 and "Shortcut" not in name]
    assert len(layers) == 28 - 3  # the authors count the three shortcuts and leave out `fc`
    assert [t.shape[0] for t in layers] == [16] + 8 * [160] + 8 * [320] + 8 * [640]


def test_a_width_equal_to_the_stems_has_no_first_shortcut() -> None:
    keys = build_encoder("wideresnet28", 16).state_dict().keys()
    shortcuts = sorted(key for key in keys if "Shortcut" in key)
    assert shortcuts == [f"block{g}.layer.0.convShortcut.weight" for g in (2, 3)]
