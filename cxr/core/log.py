"""Timestamped logs in the git-ignored folder logs/, to follow an unattended run."""

import logging
from pathlib import Path

FOLDER = Path("logs")


def open_log(stage: str) -> logging.Logger:
    """A logger that appends to logs/<stage>.log, one line with date and time for each message.

    Several processes may append at the same time; in one process, the same logger is returned every time.
    """
    log = logging.getLogger(f"cxr.{stage}")
    if log.handlers:
        return log
    FOLDER.mkdir(exist_ok=True)
    handler = logging.FileHandler(FOLDER / f"{stage}.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    return log
