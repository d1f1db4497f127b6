"""What Python returns has the bytes that the command line writes, histories included."""

import json
from fractions import Fraction

import numpy as np
import pytest

import cptools as cp


def history(artifact):
    return [step.tool for step in artifact.history]


def test_load(tool, saved, data):
    options = {"limit": 40, "limit_test": 20}
    assert saved(data) == tool("cp-dataset", "shapes", **options)
    options |= {"size": 16, "contrast": 0.5, "seed": 3}
    assert saved(cp.load("shapes", **options)) == tool("cp-dataset", "shapes", **options)


def test_load_of_rows_of_a_file(tool, saved, data, tmp_path):
    cp.save(data, tmp_path / "data")
    names = [*data.classes[2:5]]
    few = cp.load(tmp_path / "data", limit=6, classes=names, seed=1)
    words = {"limit": 6, "classes": ",".join(names), "seed": 1}
    assert saved(few) == tool("cp-dataset", tmp_path / "data", **words)
    assert saved(few) == saved(cp.load(str(tmp_path / "data"), **words))
    assert history(few) == ["cp-dataset", "cp-dataset"]
    assert len(few.train) == 6
    assert few.train_index.tolist() == sorted(few.train_index.tolist())


def test_generate(tool, saved, data, poisoned, tiny, tmp_path):
    words = tiny.poison | {"delta": tmp_path / "delta"}
    assert saved(poisoned.dataset) == tool("cp-generate", data, **words)
    assert saved(poisoned.delta) == (tmp_path / "delta").read_bytes()
    assert history(poisoned.dataset) == history(poisoned.delta) == ["cp-dataset", "cp-generate"]
    assert poisoned.dataset.history == poisoned.delta.history


@pytest.mark.parametrize("alg", ["byol", "lsp"])
def test_generate_with_options(tool, saved, data, poisoned, tiny, tmp_path, alg):
    given = {"mode": "sample", "epsilon": "4/255", "seed": 5}
    words = given | {"delta": tmp_path / "delta"}
    if alg == "byol":
        init = poisoned.delta
        cp.save(init, tmp_path / "init")
        made = cp.generate(data, alg, init=init, half=True, **given, **tiny.poison)
        words |= {"init": tmp_path / "init", **tiny.poison}
        told = tool("cp-generate", data, "--half", alg=alg, **words)
        assert made.delta.delta.dtype == np.float16
    else:
        made = cp.generate(data, alg, **given)
        told = tool("cp-generate", data, alg=alg, **words)
    assert saved(made.dataset) == told
    assert saved(made.delta) == (tmp_path / "delta").read_bytes()


def test_one_radius_has_one_form(saved, data):
    wanted = saved(cp.generate(data, "lsp").delta)
    for epsilon in (8 / 255, "8/255", " 8 / 255", Fraction(8, 255), np.float64(8 / 255)):
        assert saved(cp.generate(data, "lsp", epsilon=epsilon).delta) == wanted


def test_numbers_of_numpy_are_as_good(saved, data, encoder, poisoned, tiny):
    given = {name: np.int64(value) for name, value in tiny.poison.items()}
    made = cp.generate(data, seed=np.int64(0), **given)
    assert saved(made.dataset) == saved(poisoned.dataset)
    assert saved(cp.select(data, "random", np.float32(0.5), seed=np.uint8(3))) == saved(
        cp.select(data, "random", 0.5, seed=3)
    )
    noisy = cp.perturb(data, noise=True, fraction=np.float64(0.5), seed=np.int32(1))
    assert saved(noisy) == saved(cp.perturb(data, noise=True, fraction=0.5, seed=1))
    assert saved(cp.defend(data, "noise:8/255", seed=np.int64(1))) == saved(
        cp.defend(data, "noise:8/255", seed=1)
    )


def test_how_rows_lie_in_memory_makes_no_difference(saved, data):
    from dataclasses import replace

    last = np.moveaxis(np.ascontiguousarray(np.moveaxis(data.train_images, 1, -1)), -1, 1)
    assert not last.flags.c_contiguous
    other = replace(data, train_images=last)
    assert saved(other) == saved(data)
    assert saved(cp.defend(other, "jpeg:50")) == saved(cp.defend(data, "jpeg:50"))
    assert saved(cp.perturb(other, noise=True)) == saved(cp.perturb(data, noise=True))


def test_pretrain(tool, saved, poisoned, encoder, tiny):
    assert saved(encoder) == tool("cp-pretrain", poisoned.dataset, **tiny.training)
    assert history(encoder) == ["cp-dataset", "cp-generate", "cp-pretrain"]


def test_pretrain_with_options(tool, saved, data, poisoned, encoder, tiny, tmp_path):
    cp.save(data, tmp_path / "clean")
    cp.save(encoder, tmp_path / "encoder")
    settings = {"defend": "jpeg:50,gray", "defend_at": "view", "seed": 2, **tiny.training}
    made = cp.pretrain(poisoned.dataset, "moco", watch=data, queue_size=16, **settings)
    words = {"watch": tmp_path / "clean", "queue_size": 16, **settings}
    assert saved(made) == tool("cp-pretrain", poisoned.dataset, alg="moco", **words)
    settings = {**tiny.training, "adv_steps": 1}
    made = cp.pretrain(data, "advcl", labels_from=encoder, **settings)
    words = {"labels_from": tmp_path / "encoder", **settings}
    assert saved(made) == tool("cp-pretrain", data, alg="advcl", **words)


def test_perturb(tool, saved, data, poisoned, tmp_path):
    noisy = cp.perturb(data, noise=True, epsilon="4/255", fraction=0.5, seed=2)
    words = {"epsilon": "4/255", "fraction": 0.5, "seed": 2}
    assert saved(noisy) == tool("cp-perturb", data, "--noise", **words)
    cp.save(poisoned.delta, tmp_path / "delta")
    applied = cp.perturb(data, delta=poisoned.delta)
    assert saved(applied) == tool("cp-perturb", data, delta=tmp_path / "delta")
    assert (applied.train_images == poisoned.dataset.train_images).all()
    foggy = cp.perturb(data, kind="fog,contrast", severity=2, mix=True, split="both")
    words = {"kind": "fog,contrast", "severity": 2, "split": "both"}
    assert saved(foggy) == tool("cp-perturb", data, "--mix", **words)
    again = cp.perturb(foggy, kind="brightness", severity="any", fraction=0.5)
    words = {"kind": "brightness", "severity": "any", "fraction": 0.5}
    assert saved(again) == tool("cp-perturb", foggy, **words)
    assert history(again) == ["cp-dataset", "cp-perturb", "cp-perturb"]
    assert type(again) is cp.Dataset


def test_defend(tool, saved, poisoned):
    from cptools.core.defenses.steps import parse_steps

    made = cp.defend(poisoned.dataset, "noise:8/255,jpeg:20", seed=3)
    words = {"noise": "8/255", "jpeg": 20, "seed": 3}
    assert saved(made) == tool("cp-defend", poisoned.dataset, **words)
    steps = parse_steps("noise:8/255,jpeg:20")
    assert saved(made) == saved(cp.defend(poisoned.dataset, [*steps], seed=3))
    assert history(made) == ["cp-dataset", "cp-generate", "cp-defend", "cp-defend"]


def test_select(tool, saved, data, encoder, tmp_path):
    half = cp.select(data, "balanced", 0.5, seed=4)
    words = {"method": "balanced", "fraction": 0.5, "seed": 4}
    assert saved(half) == tool("cp-select", data, **words)
    cp.save(encoder, tmp_path / "encoder")
    core = cp.select(data, fraction=0.5, encoder=encoder, classes=3, num_views=2)
    words = {"encoder": tmp_path / "encoder", "fraction": 0.5, "classes": 3, "num_views": 2}
    assert saved(core) == tool("cp-select", data, **words)
    core = cp.select(data, fraction=0.5, encoder=encoder, labels=True, num_views=2)
    words = {"encoder": tmp_path / "encoder", "fraction": 0.5, "num_views": 2}
    assert saved(core) == tool("cp-select", data, "--labels", **words)


PROBES = [
    {}, {"method": "knn", "k": 5}, {"method": "sgd", "epochs": 1, "batch_size": 16},
    {"method": "distances"}, {"recipe": "paper", "epochs": 1, "seed": 3},
]  # fmt: skip


@pytest.mark.parametrize("given", PROBES, ids=["default", "knn", "sgd", "distances", "paper"])
def test_probe_of_an_encoder(tool, saved, encoder, given):
    report = cp.probe(encoder, **given)
    assert saved(report) == tool("cp-probe", encoder, **given)
    assert json.loads(saved(report))["settings"]["seed"] == given.get("seed", 0)


def test_probe_of_several_datasets(tool, saved, encoder, data, tmp_path):
    other = cp.load("shapes", limit=30, limit_test=10, seed=1)
    cp.save(data, tmp_path / "data")
    cp.save(other, tmp_path / "other")
    report = cp.probe(encoder, [data, tmp_path / "other"])
    words = ("--dataset", tmp_path / "data", "--dataset", tmp_path / "other")
    assert saved(report) == tool("cp-probe", encoder, *words)
    assert len(report.records) == 2
    assert saved(cp.probe(encoder, str(tmp_path / "data"))) == saved(cp.probe(encoder, data))


@pytest.mark.parametrize("method", ["separability", "changed", "audit"])
def test_probe_of_a_dataset(tool, saved, poisoned, data, method, tmp_path):
    report = cp.probe(poisoned.dataset, method=method)
    assert saved(report) == tool("cp-probe", poisoned.dataset, method=method)
    if method == "audit":
        assert saved(report) == saved(cp.audit(poisoned.dataset))
    else:
        assert saved(report) == saved(cp.probe(poisoned.dataset, data, method=method))


@pytest.mark.parametrize("what", ["generate", "pretrain"])
def test_a_checkpoint_carries_on_to_the_same_bytes(
    saved, data, encoder, poisoned, tiny, tmp_path, what
):
    class Stopped(Exception):
        pass

    def stop(items, *, total, describe, label):
        for number, item in enumerate(items):
            yield item
            if number == 1:
                raise Stopped

    settings = dict(tiny.poison, rounds=3) if what == "generate" else dict(tiny.training, epochs=3)
    call = getattr(cp, what)
    path = tmp_path / "saved"

    def made(**given):
        result = call(data, **settings, **given)
        return result.dataset if what == "generate" else result

    with pytest.raises(Stopped):
        made(checkpoint=path, progress=stop)
    counts = []

    def count(items, *, total, describe, label):
        counts.append(total)
        return iter(items)

    resumed = made(checkpoint=path, progress=count)
    assert counts[0] < 3
    assert saved(resumed) == saved(made())
    with pytest.raises(ValueError, match=r"`checkpoint`: .* of another command"):
        made(checkpoint=path, seed=1)
    (tmp_path / "data").write_bytes(saved(data))
    with pytest.raises(ValueError, match=r"`checkpoint`: .*is of kind dataset"):
        made(checkpoint=tmp_path / "data")
    assert (tmp_path / "data").read_bytes() == saved(data)
