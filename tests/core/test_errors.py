"""Mistakes and interruptions end a program with one line."""

import pytest

from cxr.core.errors import UserError, run


@pytest.mark.parametrize(
    ("raised", "code", "line"), [(UserError("no"), 1, "error: no\n"), (KeyboardInterrupt(), 130, "stopped\n")]
)
def test_the_end_is_one_line_without_a_traceback(capsys, raised, code, line):
    def main() -> None:
        raise raised

    with pytest.raises(SystemExit) as stop:
        run(main)
    assert stop.value.code == code
    assert capsys.readouterr().err == line


def test_other_exceptions_are_not_hidden():
    def main() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(main)
