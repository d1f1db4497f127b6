"""Units, layouts and files of others, against plain arithmetic."""

import io
import zipfile
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cptools.artifacts.errors import ArtifactError
from cptools.artifacts.foreign import (
    channels_first,
    difference,
    from_epsilon,
    guess_unit,
    kind_of,
    largest,
    read_npy,
    to_epsilon,
    write_npy,
)

EIGHT = Fraction(8, 255)
epsilons = st.builds(Fraction, st.integers(1, 255), st.just(255))


def applied(images, delta, epsilon):
    """Poisoned pixels, one at a time, in exact arithmetic on the float32 values."""
    most = int(255 * epsilon)
    out = images.copy()
    for place in np.ndindex(images.shape):
        moved = round(255 * epsilon * Fraction(float(delta[place])))
        out[place] = min(255, max(0, int(images[place]) + min(most, max(-most, moved))))
    return out


@given(epsilons, hnp.arrays(np.uint8, (2, 3, 2, 2)), hnp.arrays(np.int64, (2, 3, 2, 2)))
def test_a_difference_applied_gives_the_images(epsilon, clean, noise):
    most = int(255 * epsilon)
    poisoned = np.clip(clean + noise % (2 * most + 1) - most, 0, 255).astype(np.uint8)
    delta = difference(poisoned, clean, epsilon)
    assert delta.dtype == np.float32
    assert np.abs(delta).max() <= 1
    assert np.array_equal(applied(clean, delta, epsilon), poisoned)


def test_a_difference_keeps_to_the_ball():
    clean = np.full((2, 3, 2, 2), 100, np.uint8)
    poisoned = clean.copy()
    poisoned[1, 2, 0, 1] = 91
    with pytest.raises(
        ArtifactError, match=r"image 1 differs .* by 9 gray levels .* 8/255 allows 8;"
    ):
        difference(poisoned, clean, EIGHT)
    # 7.65 levels are 7.
    poisoned[1, 2, 0, 1] = 92
    with pytest.raises(ArtifactError, match="by 8 gray levels where epsilon 3/100 allows 7;"):
        difference(poisoned, clean, Fraction(3, 100))


@pytest.mark.parametrize("unit", ["epsilon", "pixel", "level"])
@given(epsilons, hnp.arrays(np.float32, (2, 3, 2, 2), elements=st.floats(-1, 1, width=32)))
def test_there_and_back(unit, epsilon, delta):
    values = from_epsilon(delta, unit, epsilon)
    back = to_epsilon(values, unit, epsilon)
    if unit == "epsilon":
        assert np.array_equal(values, delta)
        assert np.array_equal(back, delta)
    elif unit == "pixel":
        assert values.dtype == np.float32
        assert np.allclose(values, float(epsilon) * delta.astype(float), rtol=1e-6, atol=1e-36)
        assert np.allclose(back, delta, rtol=1e-6, atol=1e-33)
    else:
        gray = np.full(delta.shape, 128, np.uint8)
        moved = np.clip(gray + values.astype(int), 0, 255)
        near = np.abs(255 * float(epsilon) * delta % 1 - 0.5) < 1e-5  # float32 may round either way
        assert np.array_equal(moved[~near], applied(gray, delta, epsilon)[~near])
        assert np.array_equal(values, from_epsilon(back, unit, epsilon))
    assert np.abs(back).max() <= 1


def test_levels_are_small_integers():
    delta = np.array([[[[-1.0, 1.0, 0.99, 0.0]]] * 3], np.float32)
    assert from_epsilon(delta, "level", Fraction(1, 2)).dtype == np.int8
    wide = from_epsilon(delta, "level", Fraction(1))
    assert wide.dtype == np.int16
    assert wide[0, 0, 0].tolist() == [-255, 255, 252, 0]


@pytest.mark.parametrize(
    ("most", "dtype", "unit"),
    [
        (1.0, float, "epsilon"), (1.0005, float, "epsilon"), (0.21, "f4", "epsilon"),
        (8 / 255, "f4", "pixel"), (0.01, float, "pixel"), (0.0, float, "pixel"),
        (8.0, "f2", "level"), (1.01, float, "level"), (8, "i1", "level"), (2, "i8", "level"),
    ],
)  # fmt: skip
def test_unit_by_the_largest_value(most, dtype, unit):
    assert guess_unit(np.array([[-most, 0]], dtype), EIGHT) == unit


@pytest.mark.parametrize(
    ("most", "dtype", "epsilon"),
    [(0.1, float, EIGHT), (0.2, float, EIGHT), (0.25, float, Fraction(1, 2)), (1, "i1", EIGHT)],
)
def test_values_that_tell_no_unit(most, dtype, epsilon):
    with pytest.raises(ArtifactError, match=r"is ambiguous; give --unit epsilon"):
        guess_unit(np.array([[most, 0]], dtype), epsilon)


def test_rounding_is_cut_and_more_is_refused():
    values = np.zeros((1, 3, 1, 2))
    values[0, 0, 0] = 1.0009, -1.0009
    assert to_epsilon(values, "epsilon", EIGHT)[0, 0, 0].tolist() == [1, -1]
    values[0, 1, 0, 0] = -1.0011
    with pytest.raises(ArtifactError, match=r"largest value is 1\.0011 .* allows 1 in unit eps"):
        to_epsilon(values, "epsilon", EIGHT)
    with pytest.raises(ArtifactError, match=r"allows 0\.0313725 in unit pixel; .*--epsilon"):
        to_epsilon(values, "pixel", EIGHT)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(bad):
    values = np.zeros((2, 3, 2, 2), np.float16)
    values[1, 2, 1, 0] = bad
    for read in (largest, lambda v: to_epsilon(v, "level", EIGHT), lambda v: guess_unit(v, EIGHT)):
        with pytest.raises(ArtifactError, match="NaN or infinity"):
            read(values)


def test_most_negative_integer_is_its_magnitude():
    assert largest(np.array([-128, 3], np.int8)) == 128


def test_channels_first():
    assert channels_first(np.zeros((5, 8, 9, 3))).shape == (5, 3, 8, 9)
    assert channels_first(np.zeros((5, 3, 8, 3))).shape == (5, 3, 8, 3)


def test_kinds(tmp_path):
    def kind(data):
        (tmp_path / "x").write_bytes(data)
        return kind_of(tmp_path / "x")

    def zipped(name, method=zipfile.ZIP_STORED):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", method) as file:
            file.writestr(name, bytes(9999))
        return stream.getvalue()

    assert kind_of(tmp_path) == "images"
    assert kind(zipped("train/a/0.png")) == "images"
    assert kind(zipped("archive/data.pkl")) == "torch"
    assert kind(b"\x80\x02...") == "torch"
    assert kind(b"\x93NUMPY...") == "numpy"
    for data, message in (
        (zipped("archive/data.pkl", zipfile.ZIP_DEFLATED), "is compressed, which torch.save does"),
        (zipped("archive/data.pkl")[:-30], "truncated or damaged"),
        (b"\x80\3\0\0\0\0\0\0{}", "is a safetensors file; give a .pth"),
        (b"hello", "is text: 'hello'; give a .pth"),
        (b"", "is 0 unknown bytes; give"),
    ):
        with pytest.raises(ArtifactError, match=message):
            kind(data)
    with pytest.raises(ArtifactError, match=r"cannot read .*absent"):
        kind_of(tmp_path / "absent")


def npy(shape, data=b"", descr="<f4"):
    stream = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + data


@pytest.mark.parametrize(
    "data",
    [
        b"\x93NUMPY",
        npy((2, 3), bytes(23)),
        npy((10**12, 3, 32, 32)),
        npy((2**62, 4, 4)),
        npy((-1, 3)),
        npy((1,), b"\x80\x04N.", "|O"),
        npy((1,)).replace(b"(1,)", b"(((("),
    ],
    ids=["magic", "short", "huge", "overflow", "negative", "objects", "header"],
)
def test_bad_npy_files(tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(ArtifactError, match="is not a valid array of numbers") as caught:
        read_npy(tmp_path / "x")
    assert "\n" not in str(caught.value)


def test_npy_is_numpys(tmp_path):
    array = np.arange(24, dtype=np.int8).reshape(2, 3, 2, 2)
    with (tmp_path / "x.npy").open("wb") as stream:
        write_npy(array.transpose(0, 1, 3, 2), stream)
    assert np.array_equal(np.load(tmp_path / "x.npy"), array.transpose(0, 1, 3, 2))
    assert np.array_equal(read_npy(tmp_path / "x.npy"), array.transpose(0, 1, 3, 2))
