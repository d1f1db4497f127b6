"""Digests depend on the contents alone; histories can be run again."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cptools.artifacts import frame
from cptools.artifacts.history import dataset_digest, digest, shell
from cptools.artifacts.schema import Dataset, Entry, Input

DIGEST = "0123456789abcdef" * 4


def entry(tool, inputs=None, **parameters):
    return Entry(tool, "0.1.0", parameters, inputs or {})


def test_digest_is_sha256_of_names_types_shapes_and_bytes():
    a, b = np.arange(6, dtype=np.uint8).reshape(2, 3), np.float32([1.5])
    expected = hashlib.sha256(
        b'["a", "uint8", [2, 3]]\n\x00\x01\x02\x03\x04\x05["b", "float32", [1]]\n' + b.tobytes()
    )
    assert digest({"b": b, "a": a}) == expected.hexdigest()


def test_digest_tells_contents_apart():
    a = np.arange(6, dtype=np.uint8)
    variants = [
        {"a": a},
        {"b": a},
        {"a": a[::-1]},
        {"a": a.reshape(2, 3)},
        {"a": a.astype(np.int8)},
        {"a": a[:3], "b": a[3:]},
        {},
    ]
    assert len({digest(v) for v in variants}) == len(variants)


def test_digest_does_not_depend_on_memory(monkeypatch):
    a = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    others = [np.asfortranarray(a), a.astype(">f4"), np.repeat(a, 2, axis=1)[:, ::2]]
    monkeypatch.setattr(frame, "BLOCK", 16)
    assert {digest({"a": x}) for x in others} == {digest({"a": a})}


def test_dataset_digest_is_that_of_its_tensors():
    images, labels = np.zeros((1, 3, 2, 2), np.uint8), np.zeros(1, np.int64)
    values = {"classes": ("a",), "mean": (0.5,) * 3, "std": (0.5,) * 3, "source": None}
    one, two = (
        Dataset(images, labels, images, labels, None, name=name, history=history, **values)
        for name, history in (("one", ()), ("two", (entry("cp-dataset"),)))
    )
    assert dataset_digest(one) == dataset_digest(two) == digest(one.arrays())


def test_pipeline():
    history = (
        entry("cp-dataset", input="shapes", limit=100, classes=["cat", "dog"], size=None, seed=0),
        entry(
            "cp-defend", {"input": Input(DIGEST)}, input="a.safetensors", matrix=True, blur=False
        ),
        entry("cp-pretrain", {"input": Input(DIGEST)}, batch_size=64, lr=0.5, epsilon="8/255"),
    )
    assert shell(history, "encoder") == (
        "cp-dataset shapes --limit 100 --classes cat --classes dog --seed 0 |\n"
        "  cp-defend --matrix |\n"
        "  cp-pretrain --batch-size 64 --lr 0.5 --epsilon 8/255"
    )
    assert shell(()) == ""


def test_side_inputs():
    poison = (entry("cp-dataset", input="shapes"), entry("cp-generate", alg="byol"))
    made = Input(DIGEST, poison, "delta")
    history = (entry("cp-perturb", {"delta": made}, input="cifar10", delta="d.safetensors"),)
    assert shell(history, "dataset") == (
        "cp-perturb cifar10 --delta <(cp-dataset shapes | cp-generate --alg byol --delta -)"
    )
    history = (entry("cp-probe", {"test_set": Input(DIGEST, poison[:1], "dataset")}),)
    assert shell(history) == "cp-probe --test-set <(cp-dataset shapes)"
    foreign = {"poison": Input(DIGEST)}
    assert shell((entry("cp-perturb", foreign),)) == f"cp-perturb --poison sha256:{DIGEST}"


def test_delta_is_the_side_output_of_the_last_command():
    history = (entry("cp-dataset", input="shapes"), entry("cp-generate", alg="moco"))
    assert shell(history, "delta").endswith("cp-generate --alg moco --delta -")


@pytest.fixture(scope="module")
def recorder(tmp_path_factory):
    """A folder with tools that write their arguments, and what they read, as JSON."""
    folder = tmp_path_factory.mktemp("bin")
    code = (
        f"#!{sys.executable} -S\n"
        "import json, os, sys\n"
        "args = [open(a).read() if a.startswith('/dev/fd/') else a for a in sys.argv[1:]]\n"
        "piped = '' if 'cp-dataset' in sys.argv[0] else sys.stdin.read()\n"
        "json.dump([args, piped], sys.stdout)\n"
    )
    for name in ("cp-dataset", "cp-perturb"):
        (folder / name).write_text(code)
        (folder / name).chmod(0o755)
    return folder


def run(folder, text):
    env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "PYTHONUTF8": "1"}
    command = ["bash", "-euo", "pipefail", "-c", text]
    done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


awkward = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=12)


@settings(deadline=None, max_examples=10)
@given(st.lists(awkward.filter(lambda s: not s.startswith("/dev/fd/")), max_size=4))
def test_bash_reads_back_what_was_recorded(recorder, texts):
    made = Input(DIGEST, (entry("cp-dataset", name=texts),), "dataset")
    history = (entry("cp-dataset", input="x", name=texts), entry("cp-perturb", {"mix": made}))
    words = [word for text in texts for word in ("--name", text)]
    (flag, side), piped = run(recorder, shell(history))
    assert flag == "--mix"
    assert json.loads(side)[0] == words
    assert json.loads(piped)[0] == ["x", *words]


def test_pipeline_is_safe_to_look_at():
    history = (entry("cp-dataset", input="\x1b]0;title\x07", name="-\ud800-\udcff\n"),)
    assert shell(history).isprintable()


@pytest.mark.parametrize("name", ["-x", "--flag", os.fsdecode(b"\xff.zip")])
def test_awkward_file_names(recorder, name):
    (words, _) = run(recorder, shell((entry("cp-dataset", input=name),)))
    assert os.fsencode(Path(words[0])) == os.fsencode(Path(f"./{name}"))
