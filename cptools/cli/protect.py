"""`cp-protect`: protect photographs as their owner has them."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cptools.cli import _options as opt
from cptools.cli._app import UsageError, Version, make_app, run, say, tool
from cptools.cli._progress import bar
from cptools.core.poisons import attack_settings  # noqa: TID253 - a registry, without torch
from cptools.workflows.comparing import beyond_epsilon
from cptools.workflows.deltas import read_delta
from cptools.workflows.protect import CLUSTERS, QUALITY, SIZE, check_folders
from cptools.workflows.protect import protect as protect_photos

if TYPE_CHECKING:
    from cptools.artifacts.schema import Delta
    from cptools.workflows.protect import Protected

app = make_app("cp-protect")

_LEARNING = {name: setting for name, setting in attack_settings().items() if name == "survive"}


@tool(app, options=opt.options_of(_LEARNING))
def protect(
    photos: Annotated[Path, typer.Argument(help="Folder of photographs: JPEG, PNG, WebP.")],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="Folder for the protected photographs; what an earlier run wrote stays there.",
        ),
    ],
    delta: Annotated[
        Path | None,
        typer.Option(
            "--delta",
            metavar="FILE",
            help="Class-wise delta to apply. Default: OUTPUT.delta.safetensors, beside the output "
            "folder, which is learned from the photographs if it is not there.",
        ),
    ] = None,
    quality: Annotated[
        int,
        typer.Option(
            "--quality", min=1, max=100, help="Quality of JPEG files; colors are stored 4:4:4."
        ),
    ] = QUALITY,
    size: Annotated[
        int | None,
        typer.Option(
            "--size",
            min=8,
            help=f"Size in pixels at which the delta is learned. Default: {SIZE}.",
        ),
    ] = None,
    clusters: Annotated[
        int | None,
        typer.Option(
            "--clusters",
            metavar="K",
            min=2,
            help="Groups of similar photographs that the delta is learned for. Default: "
            f"{CLUSTERS}.",
        ),
    ] = None,
    epsilon: Annotated[
        str | None,
        opt.radius("L-infinity bound of the noise, for pixels in [0, 1]. Default: 8/255."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Random seed of learning. Default: 0.")
    ] = None,
    jobs: opt.Jobs = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first file that cannot be protected.")
    ] = False,
    skip_broken: Annotated[
        bool,
        typer.Option(
            "--skip-broken",
            help="End with exit code 0 although files were left out; they are named all the same.",
        ),
    ] = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
    version: Version = False,
    **typed: Any,
) -> None:
    """Protect photographs: each keeps its size, name, folder, format and metadata.

    Adds noise that spoils the photographs for training without labels, by at most epsilon a pixel.
    The noise is learned from the photographs themselves, or given as --delta, and spread over each
    at its full size. The originals are only read. Run again, it protects what is new.

    It is a tool of its own, beside the pipeline: files of many sizes do not fit into one dataset.
    """
    if strict and skip_broken:
        raise UsageError("--strict and --skip-broken exclude each other; give one of them")
    _, folder = check_folders(photos, output)
    learned = folder.with_name(f"{folder.name}.delta.safetensors")
    learning: dict[str, Any] = {
        "size": size, "clusters": clusters, "epsilon": epsilon, "seed": seed,
    }  # fmt: skip
    given = delta
    if delta is None and learned.exists():
        given = learned
        say(f"using {learned.name}, which an earlier run learned", quiet=quiet)
    done = protect_photos(
        photos,
        folder,
        None if given is None else read_delta(given),
        quality=quality,
        strict=strict,
        jobs=jobs,
        learned=None if given is not None else _saver(learned, quiet=quiet),
        progress=bar(quiet=quiet),
        **learning,
        **typed,
    )
    _report(done, output, as_json=as_json, quiet=quiet)
    if done.refused and not skip_broken:
        raise typer.Exit(1)


def _saver(path: Path, *, quiet: bool) -> Any:
    """What is done with a delta as soon as it is learned."""
    from cptools.artifacts.atomic import check_writable
    from cptools.workflows.files import save

    check_writable(path)

    def keep(delta: "Delta") -> None:
        save(delta, path)
        say(f"wrote {path}: keep it for later photographs, and to yourself", quiet=quiet)

    return keep


def _report(done: "Protected", output: Path, *, as_json: bool, quiet: bool) -> None:
    """Say what was done, on standard output as JSON."""
    facts: dict[str, Any] = {
        "written": done.written,
        "unchanged": done.kept,
        "refused": [one._asdict() for one in done.refused],
        "passed_over": dict(done.passed),
        "epsilon": done.delta.epsilon,
    }
    if done.beyond:
        facts["jpeg"] = beyond_epsilon(done.beyond)
    if as_json:
        typer.echo(json.dumps(facts))
    say(f"wrote {_num(done.written, 'photograph')} to {output}{_others(done)}", quiet=quiet)
    if jpeg := facts.get("jpeg"):
        say(
            f"JPEG's own loss: {jpeg['share_beyond_epsilon']:.2%} of the values are beyond"
            f" {done.delta.epsilon}, 99.9% of them by {jpeg['levels_beyond_epsilon_99.9%']} levels"
            f" at most, all by {jpeg['levels_beyond_epsilon_max']}",
            quiet=quiet,
        )


def _others(done: "Protected") -> str:
    told = f"; {done.kept} were there" if done.kept else ""
    if done.refused:
        told += f"; left out {len(done.refused)}"
    if done.passed:
        kinds = ", ".join(f"{num} {kind}" for kind, num in done.passed.most_common(5))
        told += f"; passed over {_num(done.passed.total(), 'other file')} ({kinds})"
    return told


def _num(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def main() -> None:
    """Entry point."""
    sys.exit(run(app))


if __name__ == "__main__":
    main()
