"""The service on a small exported run, and a copy of that run."""

import shutil

import pytest

from tests.service.clients import client


@pytest.fixture(scope="module")
def service(exported_run):
    with client(exported_run) as running:
        yield running


@pytest.fixture
def home(exported_run, tmp_path):
    """A copy of the exported run that a test may change."""
    return shutil.copytree(exported_run, tmp_path, dirs_exist_ok=True)
