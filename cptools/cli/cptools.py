"""`cptools`: list the tools; show the history of an artifact; check that it is whole and valid."""

import json
import sys
from typing import Annotated

import typer

from cptools.cli._app import UsageError, Version, make_app, run, say, tool
from cptools.cli._streams import resolve_input

TOOLS = {
    "cp-dataset": "make a dataset from shapes, CIFAR, a folder or an archive; subsets, export",
    "cp-perturb": "apply natural perturbations, noise or a delta to a dataset",
    "cp-generate": "poison a dataset against contrastive learning",
    "cp-pretrain": "train an encoder on a dataset",
    "cp-probe": "measure an encoder: linear probe, nearest neighbors",
    "cp-defend": "clean a dataset: matrix completion, smoothing, noise and more",
    "cp-select": "select a coreset of a dataset",
    "cp-visualize": "draw artifacts and reports",
}

app = make_app("cptools")

File = Annotated[str | None, typer.Argument(help="Artifact, or - for standard input.")]
Files = Annotated[list[str], typer.Argument(help="Artifacts; one may be - for standard input.")]
Json = Annotated[bool, typer.Option("--json", help="Print the history itself, as JSON.")]


@app.callback(invoke_without_command=True)
def tools(context: typer.Context, version: Version = False) -> None:
    """Tools for data poisoning of contrastive learning, made to be piped.

    Without a command, list the tools. Each has --help and a man page.
    """
    if context.invoked_subcommand is None:
        width = max(map(len, TOOLS))
        for name, line in TOOLS.items():
            typer.echo(f"{name:{width}}  {line}")
        typer.echo(f"{'cptools':{width}}  this list; cptools history FILE, cptools verify FILE...")


@tool(app, "history")
def history(file: File = None, as_json: Json = False) -> None:
    """Print how an artifact was made.

    Prints a pipeline that can be run again, for bash, as side inputs are written as <(...). Nothing
    is printed for an artifact without history.
    """
    path = resolve_input(file, starts_chain=False, sources=())

    from cptools.artifacts.history import shell
    from cptools.artifacts.stream import open_artifact

    with open_artifact(path) as reader:
        reader.skip()
    if as_json:
        typer.echo(json.dumps(reader.header["history"]))
    elif reader.history:
        typer.echo(shell(reader.history, reader.kind))


@tool(app, "verify")
def verify(files: Files) -> None:
    """Check artifacts, contents included.

    Prints kind, digest and sizes of each. The digest is SHA-256 over the tensors, and the one that
    histories name. All files are looked at; the exit code is 2 if any is bad.
    """
    from cptools.artifacts.errors import ArtifactError

    if files.count("-") > 1:
        raise UsageError("- is given twice; there is one standard input")
    is_bad = False
    for file in files:
        try:
            verdict = _verdict(file)
        except (ArtifactError, UsageError, OSError) as error:
            say(f"error: {error}")
            is_bad = True
        else:
            typer.echo(f"{file}: ok {verdict}")
    if is_bad:
        raise typer.Exit(2)


def _verdict(file: str) -> str:
    """Kind, digest and sizes of a valid artifact."""
    from cptools.artifacts.history import digest
    from cptools.artifacts.stream import open_artifact

    artifact = open_artifact(resolve_input(file, starts_chain=False, sources=())).read()
    return f"{artifact.kind} sha256:{digest(artifact.arrays())} ({artifact.summary()})"


def main() -> None:
    """Entry point."""
    sys.exit(run(app))


if __name__ == "__main__":
    main()
