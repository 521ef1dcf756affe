"""The writer that params.yaml names."""

import torch

from cxr.params import Report
from cxr.reports import prompts
from cxr.reports.case import Case
from cxr.reports.interface import Text, Writer
from cxr.reports.template import Template


class Nobody:
    """`report.writer: none`: films and measurements stand without a text."""

    prompts = ()

    def write(self, case: Case, prompt: str) -> Text:
        raise ValueError("there is no writer, so there are no prompts")

    def close(self) -> None:
        pass


def open_writer(settings: Report, device: torch.device) -> Writer:
    """Close it when done. Raises `UserError` if a language model is named and its weights or prompts are not
    to be had, if they are not of a model for this, or if it does not fit into memory."""
    if settings.writer == "none":
        return Nobody()
    if settings.writer == "template":
        return Template()
    # Takes seconds to import, and the template does without it.
    from cxr.reports.huggingface import HuggingFace

    return HuggingFace(settings, prompts.load(), device)
