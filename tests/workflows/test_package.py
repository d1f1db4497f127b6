"""`import cptools as cp`: what is there, and what is not imported before it is used."""

import inspect
import subprocess
import sys

import pytest

import cptools as cp

FUNCTIONS = (
    "load", "perturb", "generate", "pretrain", "learning_curve", "probe", "audit", "defend",
    "recommend", "select", "protect", "plot", "save",
)  # fmt: skip
CLASSES = ("Dataset", "Delta", "Encoder", "Learned", "Poisoned", "Protected", "Report")


def test_what_is_there():
    assert {*FUNCTIONS, *CLASSES, "__version__"} == set(cp.__all__)
    assert {*cp.__all__} <= {*dir(cp)}
    assert dir(cp) == sorted(dir(cp))
    assert all(inspect.isfunction(getattr(cp, name)) for name in FUNCTIONS)
    assert all(inspect.isclass(getattr(cp, name)) for name in CLASSES)
    assert cp.generate is cp.generate
    with pytest.raises(AttributeError, match="module 'cptools' has no attribute 'generat'"):
        _ = cp.generat
    assert not hasattr(cp, "numpy")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_parameter_is_described(name):
    function = getattr(cp, name)
    text = inspect.getdoc(function)
    for parameter in inspect.signature(function).parameters.values():
        star = {parameter.VAR_KEYWORD: "**", parameter.VAR_POSITIONAL: "*"}.get(parameter.kind, "")
        assert f"\n    {star}{parameter.name}: " in text
    assert "Raises:\n    ValueError: " in text


@pytest.mark.parametrize(
    "code",
    ["pass", "dir(cptools)", "cptools.Report", "cptools.load", "cptools.save", "cptools.generate",
     "cptools.pretrain", "cptools.probe", "cptools.perturb", "cptools.defend", "cptools.select",
     "cptools.plot", "hasattr(cptools, 'x')"],
)  # fmt: skip
def test_an_import_is_light(code):
    heavy = ["torch", "numpy", "scipy", "matplotlib", "PIL", "pandas", "tqdm"]
    told = f"import sys, cptools; {code}; print(*{{*{heavy}}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")
