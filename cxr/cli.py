"""The command `cxr`: what a person does beside `dvc`. Each command has a file of its own in cxr/commands/."""

import argparse

from cxr.commands import compare, leaderboard, predict, recipe, search
from cxr.errors import run


def main() -> None:
    parser = argparse.ArgumentParser(prog="cxr", description=__doc__.split(" Each")[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (predict, search, recipe, leaderboard, compare):
        module.add(commands)
    arguments = parser.parse_args()
    run(lambda: arguments.call(arguments))


if __name__ == "__main__":
    main()
