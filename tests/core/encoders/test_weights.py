"""Weights that a network starts from: names of others, what is missing, what does not fit."""

import logging

import pytest
import torch
from torch import Tensor

from cptools.core import recipes
from cptools.core.algorithms.base import Algorithm
from cptools.core.build import build_algorithm, build_encoder
from cptools.core.encoders.heads import initialize
from cptools.core.encoders.weights import load_weights
from cptools.core.settings import Settings


def state(name: str = "resnet10", seed: int = 5) -> dict[str, Tensor]:
    network = build_encoder(name, 6, size=16, generator=torch.Generator().manual_seed(seed))
    initialize(network, torch.Generator().manual_seed(seed))
    return dict(network.state_dict())


def load(tensors: dict[str, Tensor], name: str = "resnet10") -> dict[str, Tensor]:
    network = build_encoder(name, 6, size=16)
    load_weights(network, tensors, name)
    return dict(network.state_dict())


def assert_equal(got: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert got.keys() == wanted.keys()
    assert all(torch.equal(got[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize("name", ["resnet10", "vit-tiny"])
@pytest.mark.parametrize(
    "prefix", ["", "module.", "backbone.", "encoder.", "state_dict.module.encoder_q."]
)
def test_prefixes_of_others(caplog: pytest.LogCaptureFixture, name: str, prefix: str) -> None:
    """Torchvision's ViT has names with `encoder.` of its own."""
    tensors = state(name)
    assert_equal(load({prefix + key: t for key, t in tensors.items()}, name), tensors)
    assert caplog.text == ""


def test_of_mocos_two_networks_the_query(caplog: pytest.LogCaptureFixture) -> None:
    query, key = state(seed=1), state(seed=2)
    both = {f"state_dict.module.encoder_k.{n}": t for n, t in key.items()}
    both |= {f"state_dict.module.encoder_q.{n}": t for n, t in query.items()}
    assert_equal(load(both), query)
    (record,) = caplog.records
    assert "not in resnet10: state_dict.module.encoder_k.conv1.weight" in record.getMessage()
    assert f"and {len(key) - 6} more" in record.getMessage()


def test_what_is_in_one_alone_is_told_in_a_line(caplog: pytest.LogCaptureFixture) -> None:
    tensors = state()
    given = {key: t for key, t in tensors.items() if "num_batches" not in key}
    del given["conv1.weight"]
    load(given | {"fc.weight": torch.zeros(2, 3)})
    assert [(r.levelno, r.getMessage()) for r in caplog.records] == [
        (
            logging.WARNING,
            f"`init`: {len(given)} tensors loaded; not in resnet10: fc.weight; not in the file, and"
            " drawn from the seed: conv1.weight",
        )
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv1.weight": torch.zeros(64, 3, 7, 7)},
         r"`init`: conv1.weight is \[64, 3, 7, 7\], in resnet10 here \[6, 3, 3, 3\]; give"),
        ({"bn1.bias": torch.full((6,), torch.nan)}, "`init`: bn1.bias is not finite; give other"),
    ],
)  # fmt: skip
def test_what_does_not_fit_changes_nothing(change: dict[str, Tensor], message: str) -> None:
    network = build_encoder("resnet10", 6)
    before = {key: t.clone() for key, t in network.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        load_weights(network, state() | change, "resnet10")
    assert_equal(dict(network.state_dict()), before)


def test_positions_of_another_image_size() -> None:
    with pytest.raises(ValueError, match=r"embedding is \[1, 17, 6\], in vit-tiny here \[1, 65"):
        load_weights(build_encoder("vit-tiny", 6, size=32), state("vit-tiny"), "vit-tiny")


@pytest.mark.parametrize("tensors", [{}, {"a": torch.zeros(1)}])
def test_weights_of_something_else(tensors: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match=r"no tensor of resnet10, but (a|nothing); give"):
        load(tensors)


def algorithm(alg: str, seed: int, weights: dict[str, Tensor]) -> Algorithm:
    values: Settings = recipes.pretrain("quick", alg=alg, dataset="") | {
        "encoder": "resnet10", "width": 6,
    }  # fmt: skip
    return build_algorithm(
        alg, values, num_classes=3, mean=(0.5,) * 3, std=(0.2,) * 3, seed=seed, size=16,
        weights=weights,
    )  # fmt: skip


@pytest.mark.parametrize("alg", ["simclr", "moco", "byol", "supervised"])
def test_algorithms_start_from_them(alg: str) -> None:
    weights = state()
    made = algorithm(alg, 0, weights)
    assert_equal(dict(made.encoder.state_dict()), weights)
    if alg in ("moco", "byol"):
        assert_equal(dict(made.get_submodule("momentum_encoder").state_dict()), weights)


def test_what_is_left_out_comes_from_the_seed() -> None:
    weights = {"conv1.weight": state()["conv1.weight"]}
    drawn = []
    for seed, global_seed in ((0, 0), (0, 1), (1, 0)):
        torch.manual_seed(global_seed)
        drawn.append(algorithm("simclr", seed, weights).state_dict())
    assert_equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0]["encoder.conv1.weight"], drawn[2]["encoder.conv1.weight"])
    key = "encoder.layer1.0.conv1.weight"
    assert not torch.equal(drawn[0][key], drawn[2][key])
