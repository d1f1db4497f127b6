"""Datasets as PyTorch iterates them, encoders as networks."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import cptools as cp
from cptools.artifacts import schema
from cptools.core.evaluation.probe import features
from cptools.workflows.artifacts import promote


def test_parts_are_datasets_of_pytorch(data):
    for part, images, labels in (
        (data.train, data.train_images, data.train_labels),
        (data.test, data.test_images, data.test_labels),
    ):
        assert isinstance(part, Dataset)
        assert len(part) == len(images)
        image, label = part[3]
        assert (image.dtype, image.shape) == (torch.float32, (3, 32, 32))
        assert type(label) is int
        assert label == labels[3]
        assert (image * 255).round().to(torch.uint8).equal(torch.from_numpy(images[3]))
        assert part[-1][0].equal(part[len(part) - 1][0])
        assert len(list(part)) == len(part)
        with pytest.raises(IndexError):
            part[len(part)]
        assert part.classes == data.classes
        assert part.targets.tolist() == labels.tolist()
    assert data.train is not data.train


def test_a_transform_sees_bytes_and_cannot_change_the_dataset(data):
    before = data.train_images.copy()
    seen = []

    def transform(image):
        seen.append((image.dtype, tuple(image.shape)))
        return image.zero_()

    part = data.train
    part.transform = transform
    image, label = part[0]
    assert seen == [(torch.uint8, (3, 32, 32))]
    assert not image.any()
    assert label == data.train_labels[0]
    assert (data.train_images == before).all()
    assert data.train.transform is None
    part[0][0].fill_(1)
    data.train[0][0].fill_(7)
    assert (data.train_images == before).all()


def test_transforms_of_torchvision(data):
    from torchvision.transforms import v2

    part = data.train
    scale = v2.ToDtype(torch.float32, scale=True)
    part.transform = v2.Compose(
        [v2.RandomHorizontalFlip(), scale, v2.Normalize(data.mean, data.std)]
    )
    images, labels = next(iter(DataLoader(part, batch_size=8)))
    assert (images.shape, images.dtype) == ((8, 3, 32, 32), torch.float32)
    assert labels.dtype == torch.int64


def test_a_plain_loop_trains(data):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, len(data.classes)))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(8):
        total = 0.0
        for x, y in DataLoader(data.train, batch_size=16, shuffle=True):
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        losses.append(total)
    assert losses[-1] < losses[0]


def test_classes_survive_a_change(data, encoder):
    named = replace(data, name="mine")
    assert type(named) is cp.Dataset
    assert len(named.train) == 40
    assert type(named.take(np.arange(3))) is cp.Dataset
    assert type(replace(encoder, width=4)) is cp.Encoder
    assert isinstance(named, schema.Dataset)


def test_promotion_keeps_every_field(data, encoder, poisoned):
    for thing, kind in ((data, schema.Dataset), (encoder, schema.Encoder)):
        values = {field.name: getattr(thing, field.name) for field in fields(thing)}
        promoted = promote(kind(**values))
        assert type(promoted) is type(thing)
        assert all(getattr(promoted, name) is value for name, value in values.items())
    assert promote(poisoned.delta) is poisoned.delta
    assert type(poisoned.delta) is cp.Delta


def test_what_comes_out_is_of_these_classes(data, poisoned, encoder):
    assert type(poisoned) is cp.Poisoned
    dataset, delta = poisoned
    assert (type(dataset), type(delta), type(encoder)) == (cp.Dataset, cp.Delta, cp.Encoder)
    assert type(cp.defend(data, "gray")) is cp.Dataset
    assert type(cp.select(data, "random", 0.5)) is cp.Dataset
    assert int(np.abs(dataset.train_images.astype(int) - data.train_images).max()) <= 8
    assert (dataset.test_images == data.test_images).all()


def test_an_encoder_is_a_network(data, encoder, tmp_path):
    network = encoder.network()
    assert isinstance(network, nn.Module)
    assert not network.training
    assert {p.device.type for p in network.parameters()} == {"cpu"}
    images = torch.from_numpy(data.test_images)
    options = {"mean": encoder.mean, "std": encoder.std, "bf16": False}
    wanted = features(network, images, **options)  # as the probe calls it
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (encoder.mean, encoder.std))
    with torch.no_grad():
        found = network((images.float() / 255 - mean) / std)
    assert found.shape == (20, encoder.feature_dim)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    cp.save(encoder, tmp_path / "encoder")
    again = cp.load(tmp_path / "encoder")
    assert type(again) is cp.Encoder
    assert features(again.network("cpu"), images, **options).equal(wanted)
    assert features(again.network(torch.device("cpu")), images, **options).equal(wanted)


def test_each_network_is_its_own(encoder):
    one, other = encoder.network(), encoder.network()
    before = {name: array.copy() for name, array in encoder.tensors.items()}
    with torch.no_grad():
        for parameter in one.parameters():
            parameter.zero_()
    assert any(bool(p.any()) for p in other.parameters())
    assert all((encoder.tensors[name] == array).all() for name, array in before.items())
