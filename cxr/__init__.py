"""The code in nine rooms (core, data, models, figures, training, inference, evaluation, embeddings, reports)
and three doors (stages/, cxr/commands/, service/), as drawn in docs/architecture.md.

A room may import the rooms that are listed for it there, and `cxr.params` for types; nothing imports a door.
`lint-imports` checks that order (contracts in pyproject.toml), tests/test_dvc_deps.py the deps in dvc.yaml.
Outside the rooms are the schema of params.yaml (params.py), named sets of parameters (recipes.py), the
released classifier without PyTorch (model.py, `cxr.load`) and the command line (cli.py): no stage depends on
these files.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cxr.model import load as load

    __version__: str


def __getattr__(name: str) -> Any:
    """`cxr.load` and `cxr.__version__`, imported when they are asked for (PEP 562), since every stage imports
    this package and most need neither."""
    if name == "load":
        from cxr.model import load

        return load
    if name == "__version__":
        from importlib.metadata import version

        return version("cxr")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
