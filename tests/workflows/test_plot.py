"""`cp.plot`: a figure for each kind of input, and what `cp.save` makes of it."""

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

import cptools as cp

mpl.use("Agg")


def names(folder):
    return [path.name for path in folder.iterdir()]


def report(accuracy):
    return cp.Report(
        (
            {
                "accuracy_percent": accuracy, "low_percent": accuracy - 5,
                "high_percent": accuracy + 5, "settings": {"method": "lbfgs"}, "dataset": "shapes",
            },
        )
    )  # fmt: skip


def words(figure):
    return " | ".join(text.get_text() for text in figure.findobj(mpl.text.Text))


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("clean", "Images of shapes"),
        ("poisoned", "Poison on shapes"),
        ("poisoned, images", "Images of shapes"),
        ("poisoned and clean", "Poison on shapes"),
        ("delta", "Class-wise simclr"),
        ("delta and clean", "Class-wise simclr"),
        ("several", "Images of shapes"),
        ("separability", "Noise by class"),
        ("separability of a delta", "Noise by class"),
        ("encoder", "Training curves"),
        ("encoders", "other"),
        ("encoder and datasets", "Distance of two views"),
        ("reports", "clean"),
        ("grid", "moco"),
        ("named", "mine"),
        ("audits", "Detection of poison"),
        ("title", "My words"),
    ],
)
def test_a_figure(data, poisoned, encoder, what, told):
    dataset, delta = poisoned
    audits = [cp.audit(data), cp.audit(dataset)]
    calls = {
        "clean": lambda: cp.plot(data),
        "poisoned": lambda: cp.plot(dataset),
        "poisoned, images": lambda: cp.plot(dataset, subject="images"),
        "poisoned and clean": lambda: cp.plot(dataset, dataset=data),
        "delta": lambda: cp.plot(delta),
        "delta and clean": lambda: cp.plot(delta, dataset=data),
        "several": lambda: cp.plot(data, dataset, cp.defend(dataset, "gray")),
        "separability": lambda: cp.plot(dataset, subject="separability"),
        "separability of a delta": lambda: cp.plot(delta, subject="separability", dataset=data),
        "encoder": lambda: cp.plot(encoder),
        "encoders": lambda: cp.plot(encoder, encoder, names=["one", "other"]),
        "encoder and datasets": lambda: cp.plot(encoder, data, dataset, device="cpu"),
        "reports": lambda: cp.plot(
            reports={"clean": [report(80), report(82)], "poisoned": report(40)},
            paper={"clean": 91.8},
        ),
        "grid": lambda: cp.plot(
            reports={f"{row}.{column}": report(50) for row in "ab" for column in ("moco", "byol")},
            grid=True,
        ),
        "named": lambda: cp.plot(report(80), report(40), names=["mine", "yours"]),
        "audits": lambda: cp.plot(reports={"clean": audits[0], "poisoned": audits[1]}),
        "title": lambda: cp.plot(report(80), title="My words"),
    }  # fmt: skip
    figure = calls[what]()
    assert isinstance(figure, Figure)
    assert told in words(figure)


def test_a_figure_is_that_of_the_tool(tool, data, poisoned, tmp_path):
    from cptools.cli import visualize
    from cptools.cli._app import run

    cp.save(poisoned.dataset, tmp_path / "poisoned.safetensors")
    out = tmp_path / "tool.svg"
    assert run(visualize.app, [str(tmp_path / "poisoned.safetensors"), "-o", str(out)]) == 0
    cp.save(cp.plot(poisoned.dataset), tmp_path / "python.svg")
    assert (tmp_path / "python.svg").read_bytes() == out.read_bytes()


def test_a_path_does_for_the_clean_dataset(data, poisoned, tmp_path):
    cp.save(data, tmp_path / "clean")
    for where in (tmp_path / "clean", str(tmp_path / "clean")):
        assert isinstance(cp.plot(poisoned.delta, dataset=where), Figure)
    with pytest.raises(ValueError, match="`dataset`: cannot read nowhere"):
        cp.plot(poisoned.delta, dataset="nowhere")


@pytest.mark.parametrize(
    ("name", "start"), [("a.png", b"\x89PNG"), ("a.SVG", b"<?xml"), ("a.svg", b"<?xml")]
)
def test_files_of_figures(tmp_path, name, start):
    figure = cp.plot(report(80))
    cp.save(figure, tmp_path / name)
    first = (tmp_path / name).read_bytes()
    assert first.startswith(start)
    cp.save(figure, tmp_path / name)
    assert (tmp_path / name).read_bytes() == first
    assert names(tmp_path) == [name]


@pytest.mark.parametrize("name", ["a.pdf", "a", ".png", "a.png.gz"])
def test_other_formats_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"`path`: cannot draw .* file; name it .png or .svg"):
        cp.save(Figure(), tmp_path / name)
    assert names(tmp_path) == []


def test_a_full_disk(tmp_path):
    (tmp_path / "a.png").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        cp.save(Figure(), tmp_path / "a.png")
