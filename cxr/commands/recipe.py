"""`cxr recipe`: published systems, and the default, as sets of parameters."""

import argparse
import shlex
from typing import Any

from cxr import params
from cxr.core.errors import UserError
from cxr.recipes import about_recipe, experiment_flags, recipe_names, switch_to


def add(commands: Any) -> None:
    command = commands.add_parser(
        "recipe",
        help="a published system as parameters",
        description="Prints the flags of `dvc exp run` that turn params.yaml into a recipe: "
        "cxr recipe small_cnn | xargs dvc exp run --temp",
    )
    command.add_argument("name", nargs="?", metavar="NAME", help="one of `cxr recipe --list`")
    command.add_argument(
        "--apply", action="store_true", help="write the recipe into params.yaml, keeping its comments"
    )
    command.add_argument(
        "--list", action="store_true", help="all recipes, with weights, hardware and minutes"
    )
    command.set_defaults(call=call)


def call(arguments: argparse.Namespace) -> None:
    """Raises `UserError` if no recipe is named, or one that does not exist."""
    if arguments.list:
        list_recipes()
    elif not arguments.name:
        raise UserError(f"name a recipe: {', '.join(recipe_names())}; `cxr recipe --list` describes them")
    elif arguments.apply:
        switch_to(arguments.name)
        print(f"{params.PATH} is now the recipe {arguments.name}; run it with `dvc repro`")
    else:
        print(shlex.join(experiment_flags(arguments.name)))


def list_recipes() -> None:
    for name in recipe_names():
        about = about_recipe(name)
        print(f"{name:24} {about.summary}")
        print(f"{'':24} weights: {about.weights}; {about.hardware}, about {about.minutes:g} minutes")
