"""`cp-defend`: apply defenses against poison to a dataset."""

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from cptools.cli import _options as opt
from cptools.cli._app import UsageError, Version, end_dry_run, make_app, run, tool
from cptools.cli._progress import bar
from cptools.cli._streams import (
    check_one_stdin,
    check_text_output,
    deliver,
    deliver_report,
    plan_output,
    resolve_input,
)
from cptools.core.algorithms import ALGORITHMS  # noqa: TID253 - a registry, without torch
from cptools.core.defenses import DEFENSES, Defense  # noqa: TID253 - a registry, without torch
from cptools.core.settings import Setting  # noqa: TID253 - without torch
from cptools.workflows import defend as work
from cptools.workflows.datasets import FileReader, open_dataset
from cptools.workflows.pretrain import pretrain_settings

if TYPE_CHECKING:
    from cptools.core.defenses.steps import Step

app = make_app("cp-defend")


def _options() -> dict[str, Any]:
    """`--NAME` or `--NAME VALUE` of every defense, each followed by its `--NAME-SETTING`s."""
    options: dict[str, Any] = {}
    for name, defense in DEFENSES.items():
        options[name] = _flag(name, defense)
        for setting, knob in defense.settings.items():
            if setting != defense.main:
                options[f"{name}_{setting}"] = opt.option_of(
                    f"{name}_{setting}", _with_default(knob, defense.defaults.get(setting))
                )
    return options


def _flag(name: str, defense: Defense) -> Any:
    if defense.main is None:
        annotated = cast("Any", Annotated)
        return annotated[bool | None, typer.Option(f"--{name}", help=defense.text)]
    knob = defense.settings[defense.main]
    return opt.option_of(name, knob._replace(text=defense.text), metavar=defense.main.upper())


def _with_default(knob: Setting, default: Any) -> Setting:
    return knob if default is None else knob._replace(text=f"{knob.text[:-1]} [{default}].")


@tool(app, options=_options())
def defend(
    input: opt.DatasetInput = None,
    output: opt.Output = None,
    trusted: Annotated[
        str | None,
        typer.Option(
            "--trusted",
            metavar="FILE",
            help="Clean images that the denoiser of --purify is trained on (default: the input), "
            "or that tell --recommend what a defense costs.",
        ),
    ] = None,
    recommend: Annotated[
        bool,
        typer.Option(
            "--recommend",
            help="Write no dataset, but a report of which defense to take: small trainings with "
            "each, scored without clean images.",
        ),
    ] = False,
    victim: Annotated[
        str | None,
        opt.one_of("--victim", ALGORITHMS, "Algorithm of those trainings. Default: simclr."),
    ] = None,
    proxy_epochs: Annotated[
        int | None,
        typer.Option(
            "--proxy-epochs",
            metavar="N",
            min=1,
            help="Epochs of those trainings. Default: as many as recipe quick of cp-pretrain.",
        ),
    ] = None,
    as_json: opt.Json = False,
    seed: opt.Seed = 0,
    device: opt.Device = "auto",
    dry_run: opt.DryRun = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
    version: Version = False,
    **typed: Any,
) -> None:
    """Defend a dataset against poison before training.

    Reads a dataset and writes it with the defenses applied to its training images; the test images
    are unchanged. Several defenses are applied in the order given. --mc is matrix completion
    (Contrastive Poisoning, section 6), the best defense of table 8 in that paper. --recommend tries
    several defenses on a dataset that may be poisoned and says which to take.
    """
    if recommend:
        _recommend(
            input,
            output,
            typed,
            trusted,
            victim,
            proxy_epochs,
            seed,
            device,
            dry_run=dry_run,
            as_json=as_json,
            quiet=quiet,
        )
        return
    for name, value in (("victim", victim), ("proxy-epochs", proxy_epochs), ("json", as_json)):
        if value:
            raise UsageError(f"--{name} needs --recommend; give that as well")
    steps = read_steps(typed)
    settings = {"defend": ",".join(map(str, steps)), "seed": seed}
    if dry_run:
        end_dry_run(settings)
    path = resolve_input(input, starts_chain=False, sources=(), quiet=quiet)
    check_one_stdin(input=path, trusted=trusted)
    reader = FileReader(path)
    clean = None if trusted is None else open_dataset(trusted)
    names = "-".join([reader.file_name, *(step.name for step in steps)])
    target = plan_output(output, default_name=f"{names}.dataset.safetensors")

    from cptools.core.device import choose_device

    torch_device = choose_device(device)
    defended = work.defend(
        reader.read(),
        steps,
        trusted=None if clean is None else clean.read(),
        seed=seed,
        device=torch_device,
        progress=bar(quiet=quiet),
    )
    deliver(defended, target, o=output, quiet=quiet)


def _recommend(
    input: str | None,
    output: str | None,
    typed: Mapping[str, Any],
    trusted: str | None,
    victim: str | None,
    proxy_epochs: int | None,
    seed: int,
    device: str,
    *,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write the report of `cp.recommend`: JSON lines, or a table on a terminal."""
    from cptools.workflows.recommend import recommend

    given = [name for name, value in typed.items() if value is not None and value is not False]
    if given:
        raise UsageError(f"--recommend tries its own; leave --{given[0].replace('_', '-')} out")
    alg = victim or "simclr"
    if ALGORITHMS[alg].is_clustered:
        raise UsageError(f"--victim {alg} needs pseudo-labels of another encoder; give another one")
    settings = pretrain_settings(alg, seed=seed, epochs=proxy_epochs)
    if dry_run:
        end_dry_run({"victim": alg, "epochs": settings["epochs"], "seed": seed})
    path = resolve_input(input, starts_chain=False, sources=(), quiet=quiet)
    check_one_stdin(input=path, trusted=trusted)
    check_text_output(output)
    reader = FileReader(path)
    clean = None if trusted is None else open_dataset(trusted)
    report = recommend(
        reader.read(),
        alg,
        trusted=None if clean is None else clean.read(),
        epochs=proxy_epochs,
        seed=seed,
        device=device,
        progress=bar(quiet=quiet),
    )
    deliver_report(report, output, as_json=as_json)


def read_steps(typed: Mapping[str, Any]) -> "Sequence[Step]":
    """The defense steps given by options, in order.

    Args:
        typed: options, e.g. {"mc": True, "mc_rank": 8, "jpeg": 10}; None if not given.

    Raises:
        UsageError: no defense is given, or a setting of a defense that is not.
        ValueError: the settings of a step contradict each other.
    """
    from cptools.core.defenses.steps import make_step

    given = {name: v for name, v in typed.items() if v is not None and v is not False}
    steps = []
    for name in [name for name in given if name in DEFENSES]:
        main = DEFENSES[name].main
        own = {} if main is None else {main: given[name]}
        own |= {k: given[f"{name}_{k}"] for k in DEFENSES[name].settings if f"{name}_{k}" in given}
        steps.append(make_step(name, own))
    for name in given:
        defense = name.partition("_")[0]
        if defense not in given:
            raise UsageError(f"--{name.replace('_', '-')} needs --{defense}; give that as well")
    if not steps:
        raise UsageError(f"no defense is chosen; give --{', --'.join(DEFENSES)}")
    return steps


def main() -> None:
    """Entry point."""
    sys.exit(run(app))


if __name__ == "__main__":
    main()
