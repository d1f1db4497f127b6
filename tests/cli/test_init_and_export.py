"""Encoders that leave, `cptools export`, and weights that come in, `cp-pretrain --init`."""

import hashlib
import pickle
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision.models import VisionTransformer

import cptools as cp
from cptools.artifacts.stream import open_artifact

TRAINING = ("--epochs", "1", "--batch-size", "32")


@pytest.fixture(scope="module")
def vit(files, make, tmp_path_factory):
    """A small ViT, trained for an epoch."""
    path = tmp_path_factory.mktemp("vit") / "vit.safetensors"
    words = ("--encoder", "vit-tiny", "--width", "6")
    make("cp-pretrain", files / "small.safetensors", *words, *TRAINING, o=path)
    return path


def exported(tool, encoder, path):
    done = tool("cptools", "export", encoder, "-o", path)
    assert (done.code, done.out) == (0, b"")
    told = "normalize images of 16 pixels in [0, 1] by mean 0."
    assert done.err.startswith(f"cptools: {told}")
    assert done.err.count("\n") == 1
    return path


def features(encoder, network, size=16):
    x = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = cp.load(encoder).network()(x)
        torch.testing.assert_close(network(x), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("suffix", ["pth", "pt", "safetensors"])
def test_torchvisions_own_class_takes_it(tool, vit, tmp_path, suffix):
    path = exported(tool, vit, tmp_path / f"a.{suffix}")
    assert exported(tool, vit, tmp_path / f"b.{suffix}").read_bytes() == path.read_bytes()
    read = load_file if suffix == "safetensors" else lambda p: torch.load(p, weights_only=True)
    network = VisionTransformer(16, 4, 12, 3, 6, 24).eval()
    network.heads = torch.nn.Identity()
    network.load_state_dict(read(path), strict=True)
    features(vit, network)


def test_a_network_that_runs_without_its_code(tool, files, tmp_path):
    path, encoder = tmp_path / "a.pt2", files / "encoder.safetensors"
    assert tool("cptools", "export", encoder, "-o", path).code == 0
    assert b"site-packages" not in path.read_bytes(), "a stack trace says where it was made"
    features(encoder, torch.export.load(path).module(), 32)


def test_onnx(tool, vit, tmp_path):
    pytest.importorskip("onnxscript")
    exported(tool, vit, tmp_path / "a.onnx")


def test_without_onnx_one_line_says_how_to_get_it(tool, vit, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    done = tool("cptools", "export", vit, "-o", tmp_path / "a.onnx")
    done.refused("run pip install cptools[onnx]")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "{encoder} -o a.npy",
            "a.npy has no suffix for kind encoder; use .npy, .pt, .pth for",
        ),
        ("{delta} -o a.onnx", "a.onnx has no suffix for kind delta; use"),
        ("{encoder} -o a.pth --unit pixel", "--unit applies to a delta, not to an encoder; leave"),
    ],
)
def test_refused_exports(tool, files, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    names = {path.stem: path for path in files.iterdir()}
    tool("cptools", "export", *arguments.format(**names).split()).refused(message)
    assert list(tmp_path.iterdir()) == []


def backbone(path):
    tensors = open_artifact(path).read().tensors
    return {name: a for name, a in tensors.items() if name.startswith("backbone.")}


STILL = ("--lr", "0", "--width", "8")  # so that the weights are seen afterwards


@pytest.mark.parametrize("kind", ["artifact", "pth", "safetensors"])
def test_training_starts_from_weights(tool, files, make, tmp_path, kind):
    encoder, path = files / "encoder.safetensors", tmp_path / f"weights.{kind}"
    if kind == "artifact":
        path = encoder
    else:
        assert tool("cptools", "export", encoder, "-o", path).code == 0
    words = ("cp-pretrain", files / "clean.safetensors", *TRAINING, *STILL)
    trained = make(*words, "--init", path, o=tmp_path / "a")
    plain = make(*words, o=tmp_path / "b")
    assert np.array_equal(
        trained.tensors["backbone.conv1.weight"],
        open_artifact(encoder).read().tensors["backbone.conv1.weight"],
    )
    key = "backbone.conv1.weight"
    assert not np.array_equal(trained.tensors[key], plain.tensors[key])
    step = trained.history[-1]
    source = step.inputs["init"]
    assert "init" not in step.parameters
    if kind == "artifact":
        assert (source.kind, source.history) == ("encoder", open_artifact(encoder).read().history)
        history = tool("cptools", "history", tmp_path / "a").out.decode()
        assert "--init <(cp-dataset shapes" in history
    else:
        assert source.digest == hashlib.sha256(path.read_bytes()).hexdigest()
        history = tool("cptools", "history", tmp_path / "a").out.decode()
        assert f"--init sha256:{source.digest}" in history


def test_the_library_takes_them_too(files, make, tmp_path):
    encoder = files / "encoder.safetensors"
    words = ("cp-pretrain", files / "clean.safetensors", *TRAINING)
    make(*words, "--init", encoder, o=tmp_path / "a")
    data = cp.load(files / "clean.safetensors")
    for init in (cp.load(encoder), encoder):
        cp.save(cp.pretrain(data, init=init, epochs=1, batch_size=32), tmp_path / "b")
        assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()


def test_names_of_others_and_what_is_left(tool, files, tmp_path):
    tensors = {n.replace("backbone.", "module.encoder_q."): torch.from_numpy(a)
               for n, a in backbone(files / "encoder.safetensors").items()}  # fmt: skip
    del tensors["module.encoder_q.conv1.weight"]
    tensors["module.encoder_q.fc.weight"] = torch.zeros(3)
    torch.save({"epoch": 3, "state_dict": tensors}, tmp_path / "w.pth.tar")
    words = (files / "clean.safetensors", *TRAINING, "--init", tmp_path / "w.pth.tar")
    done = tool("cp-pretrain", *words, "-o", tmp_path / "a")
    assert done.code == 0
    told = [line for line in done.err.splitlines() if "--init" in line]
    assert told == [
        f"cp-pretrain: note: --init: {len(tensors) - 1} tensors loaded; not in resnet10:"
        " state_dict.module.encoder_q.fc.weight; not in the file, and drawn from the seed:"
        " conv1.weight"
    ]


class Evil:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("encoder", "--width 4", "--init is a resnet10 of width 8, not a resnet10 of width 4; give"
         " --encoder resnet10 and --width 8"),
        ("encoder", "--alg cmc", "--init is a resnet10 of width 8, not a lab-resnet10"),
        ("clean", "", "is of kind dataset; give one of kind encoder"),
        ("short.safetensors", "", "short.safetensors cannot be read"),
        ("other.safetensors", "", "--init holds no tensor of resnet10, but a; give weights"),
        ("wide.safetensors", "", "--init: conv1.weight is [9, 3, 7, 7], in resnet10 here"),
        ("evil.pth", "", "holds print, which may execute code and is not loaded"),
        ("text.pth", "", "not an artifact of cptools, but text: 'hello'"),
        ("nowhere", "", "cannot read"),
    ],
)  # fmt: skip
def test_refused_weights(tool, files, tmp_path, name, words, message):
    save_file({"a": torch.zeros(3)}, tmp_path / "other.safetensors")
    data = (tmp_path / "other.safetensors").read_bytes()
    (tmp_path / "short.safetensors").write_bytes(data[:-2])
    save_file({"conv1.weight": torch.zeros(9, 3, 7, 7)}, tmp_path / "wide.safetensors")
    torch.save({"a": Evil()}, tmp_path / "evil.pth", pickle_module=pickle)
    (tmp_path / "text.pth").write_text("hello\n")
    path = files / f"{name}.safetensors"
    path = path if path.exists() else tmp_path / name
    arguments = (files / "clean.safetensors", *TRAINING, *words.split(), "--init", path)
    tool("cp-pretrain", *arguments, "-o", tmp_path / "out").refused(message)
    assert not (tmp_path / "out").exists()


def test_poison_by_a_transformer(make, files, tmp_path):
    """Gradients reach the images through patches; the transformer has no batch norm."""
    words = ("--encoder", "vit-tiny", "--width", "6", "--rounds", "1", "--model-steps", "1",
             "--noise-steps", "1", "--pgd-steps", "1", "--batch-size", "20")  # fmt: skip
    delta = tmp_path / "delta"
    make("cp-generate", files / "small.safetensors", *words, "--delta", delta, o=tmp_path / "a")
    assert float(np.abs(open_artifact(delta).read().delta).max()) > 0.01


def test_patches_that_do_not_divide_the_images(tool, tmp_path, make):
    make("cp-dataset", "shapes", "--limit", 20, "--size", 18, o=tmp_path / "a")
    words = (tmp_path / "a", *TRAINING, "--encoder", "vit-tiny", "--width", "6")
    tool("cp-pretrain", *words, "-o", tmp_path / "b").refused(
        "the ViT's patches of 4 pixels do not divide images of 18 pixels; load them with --size 16"
    )


# Proxies of an attack


def test_an_attack_starts_from_an_encoder_or_the_weights_of_others(tool, make, files, tmp_path):
    """With no steps of the encoder the noise is made for the encoder that was given."""
    path = tmp_path / "encoder.pth"
    tool("cptools", "export", files / "encoder.safetensors", "-o", path)
    words = ("--rounds", 1, "--model-steps", 0, "--noise-steps", 1, "--batch-size", 32)
    clean = files / "clean.safetensors"
    deltas = {}
    for name, start in (("seed", ()), ("ours", ("--encoder-init", files / "encoder.safetensors")),
                        ("theirs", ("--encoder-init", path))):  # fmt: skip
        delta = tmp_path / f"{name}.delta"
        made = make("cp-generate", clean, *words, *start, "--delta", delta, o=tmp_path / name)
        deltas[name] = open_artifact(delta).read().delta
        assert ("encoder_init" in made.history[-1].inputs) == (name != "seed")
    assert np.array_equal(deltas["ours"], deltas["theirs"])
    assert not np.array_equal(deltas["ours"], deltas["seed"])


def test_the_history_of_an_attack_has_its_proxy(tool, make, files, tmp_path):
    words = ("--rounds", 1, "--model-steps", 1, "--noise-steps", 1, "--batch-size", 32)
    made = make("cp-generate", files / "few.safetensors", *words, "--encoder-init",
                files / "encoder.safetensors", o=tmp_path / "a")  # fmt: skip
    assert made.history[-1].inputs["encoder_init"].kind == "encoder"
    assert "--encoder-init <(" in tool("cptools", "history", tmp_path / "a").out.decode()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--alg lsp", "--encoder-init does not apply to --alg lsp; leave it out"),
        ("--encoder vgg19", "--encoder-init is a resnet10 of width 8, not a vgg19 of width"),
        ("--alg cmc", "--encoder-init is a resnet10 of width 8, not a lab-resnet10"),
        ("--encoder-init {delta}", "is of kind delta; give one of kind encoder"),
        ("--encoder-init {bad}", "--encoder-init holds no tensor of"),
        ("--encoder-init {wide}", "--encoder-init: "),
        ("--encoder-init /nowhere", "/nowhere"),
    ],
)
def test_proxies_that_are_refused(tool, files, tmp_path, arguments, message):
    bad, wide = tmp_path / "bad.pth", tmp_path / "wide.safetensors"
    torch.save({"other": torch.ones(3)}, bad)
    arrays = open_artifact(files / "encoder.safetensors").read().arrays()
    first = next(name for name in arrays if name.startswith("backbone.") and arrays[name].ndim == 4)
    save_file({first.removeprefix("backbone."): torch.ones(3, 3, 5, 5)}, wide)
    if "init" not in arguments:
        arguments += f" --encoder-init {files}/encoder.safetensors"
    names = {"delta": files / "delta.safetensors", "bad": bad, "wide": wide}
    clean = files / "clean.safetensors"
    tool("cp-generate", clean, *arguments.format(**names).split()).refused(message)
