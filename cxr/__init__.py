"""The house: nine rooms, from the ground up core, data, models, figures, training, inference, evaluation,
embeddings and reports, and three doors, stages/, cxr/commands/ and service/.

A room may import the rooms below it that its docstring names, and `cxr.params` for types; nothing imports a
door. `lint-imports` checks the order (pyproject.toml), tests/test_house.py that dvc.yaml follows it. Beside
the rooms are what params.yaml may say (params.py), named sets of it (recipes.py), and the command line
(cli.py): no stage depends on them.
"""
