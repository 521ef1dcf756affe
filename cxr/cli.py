"""The command `cxr`. Each of its commands has a file of its own in cxr/commands/."""

import argparse

from cxr.commands import leaderboard, predict, recipe, search
from cxr.commands.compare import command as compare
from cxr.commands.sweep import command as sweep
from cxr.commands.validate import command as validate
from cxr.core.errors import run


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="cxr",
        description="Apply the trained classifier to radiographs, validate it on labelled ones, search "
        "similar ones, and configure, run, list and compare experiments.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (predict, search, validate, recipe, sweep, leaderboard, compare):
        module.add(commands)
    arguments = parser.parse_args()
    run(lambda: arguments.call(arguments))


if __name__ == "__main__":
    main()
