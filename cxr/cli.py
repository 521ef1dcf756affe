"""The command `cxr`. Each of its commands has a file of its own in cxr/commands/."""

import argparse
from pathlib import Path

import shtab

import cxr
from cxr.commands import leaderboard, predict, push, recipe, search
from cxr.commands.compare import command as compare
from cxr.commands.embed import command as embed
from cxr.commands.new import command as new
from cxr.commands.sweep import command as sweep
from cxr.commands.validate import command as validate
from cxr.core.errors import UserError, run

OWN = ("cxr", "service", "stages")


class Version(argparse.Action):
    """Prints the version, which is looked up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"cxr {cxr.__version__}")
        parser.exit()


def main() -> None:
    run(lambda: call_command(build_parser().parse_args()))


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cxr",
        description="Apply the trained classifier to radiographs, validate it on labelled ones, search "
        "similar ones, share it, and configure, run, list and compare experiments of the pipeline.",
    )
    parser.add_argument("--version", action=Version, nargs=0, help="print the version and exit")
    shtab.add_argument_to(parser, "--print-completion", help="print the completion of a shell and exit")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (new, predict, search, embed, validate, push, recipe, sweep, leaderboard, compare):
        module.add(commands)
    for command in commands.choices.values():
        for action in command._actions:
            if action.type is Path:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    return parser


def call_command(arguments: argparse.Namespace) -> None:
    """Raises `UserError` for a package that is not installed, besides what the command raises."""
    try:
        arguments.call(arguments)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in OWN:
            raise
        raise UserError(
            f"this needs the package {package}, which is not installed; install the layer `train`: "
            "`pip install 'cxr[train]'`, in a clone `uv sync`"
        ) from None


if __name__ == "__main__":
    main()
