"""The code in nine rooms (core, data, models, figures, training, inference, evaluation, embeddings, reports)
and three doors (stages/, cxr/commands/, service/), as drawn in docs/architecture.md.

A room may import the rooms that are listed for it there, and `cxr.params` for types; nothing imports a door.
`lint-imports` checks that order (contracts in pyproject.toml), tests/test_dvc_deps.py the deps in dvc.yaml.
Outside the rooms are the schema of params.yaml (params.py), named sets of parameters (recipes.py) and the
command line (cli.py): no stage depends on these files.
"""
