"""What the tests of several commands share."""

import pytest

from cxr.data import radiograph


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """The names of all files decoded so far, one entry for each time."""
    names, decode = [], radiograph._read

    def counted(file, name, max_pixels):
        names.append(name)
        return decode(file, name, max_pixels)

    monkeypatch.setattr(radiograph, "_read", counted)
    return names
