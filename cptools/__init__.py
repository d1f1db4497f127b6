"""cptools: data poisoning of contrastive learning, as Unix-style tools and as a library.

    import cptools as cp

    data = cp.load("shapes", limit=200)
    poisoned, delta = cp.generate(data, alg="simclr", mode="class")
    encoder = cp.pretrain(poisoned)
    print(cp.probe(encoder))

Each tool is one call: `load`, `perturb`, `generate`, `pretrain`, `learning_curve`, `probe`,
`audit`, `defend`, `recommend`, `select`, `protect`, `plot` and `save`. They take and return
artifacts, whose histories say how they were made, as the tools' files do. Below them,
`cptools.core` holds the methods as functions on tensors, `cptools.artifacts` the file format.
Importing this package imports neither torch nor numpy.
"""

TYPE_CHECKING = False  # as in `typing`, whose import takes longer than all else here
if TYPE_CHECKING:
    from typing import Any

    from cptools.reports.report import Report as Report
    from cptools.workflows.artifacts import Dataset as Dataset
    from cptools.workflows.artifacts import Delta as Delta
    from cptools.workflows.artifacts import Encoder as Encoder
    from cptools.workflows.defend import defend as defend
    from cptools.workflows.files import load as load
    from cptools.workflows.files import save as save
    from cptools.workflows.generate import Poisoned as Poisoned
    from cptools.workflows.generate import generate as generate
    from cptools.workflows.learning_curve import Learned as Learned
    from cptools.workflows.learning_curve import learning_curve as learning_curve
    from cptools.workflows.perturb import perturb as perturb
    from cptools.workflows.plot import plot as plot
    from cptools.workflows.pretrain import pretrain as pretrain
    from cptools.workflows.probe import audit as audit
    from cptools.workflows.probe import probe as probe
    from cptools.workflows.protect import Protected as Protected
    from cptools.workflows.protect import protect as protect
    from cptools.workflows.recommend import recommend as recommend
    from cptools.workflows.select import select as select

__version__ = "0.1.0"

_WHERE = {
    "Dataset": "workflows.artifacts",
    "Delta": "workflows.artifacts",
    "Encoder": "workflows.artifacts",
    "Learned": "workflows.learning_curve",
    "Poisoned": "workflows.generate",
    "Protected": "workflows.protect",
    "Report": "reports.report",
    "audit": "workflows.probe",
    "defend": "workflows.defend",
    "generate": "workflows.generate",
    "learning_curve": "workflows.learning_curve",
    "load": "workflows.files",
    "perturb": "workflows.perturb",
    "plot": "workflows.plot",
    "pretrain": "workflows.pretrain",
    "probe": "workflows.probe",
    "protect": "workflows.protect",
    "recommend": "workflows.recommend",
    "save": "workflows.files",
    "select": "workflows.select",
}

__all__ = [*_WHERE, "__version__"]


def __getattr__(name: str) -> "Any":
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"cptools.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
