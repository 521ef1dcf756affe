"""The command `cxr`: what a person does beside `dvc`. Each command has a file of its own in cxr/commands/."""

import argparse

from cxr.commands import leaderboard, predict, recipe, search
from cxr.commands.compare import command
from cxr.core.errors import run


def main() -> None:
    parser = argparse.ArgumentParser(prog="cxr", description=__doc__.split(" Each")[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (predict, search, recipe, leaderboard, command):
        module.add(commands)
    arguments = parser.parse_args()
    run(lambda: arguments.call(arguments))


if __name__ == "__main__":
    main()
