"""Fewer views of each film, for stages that predict so many films that all views would take too long."""

from dataclasses import replace

from cxr.models.classifier import Classifier


def with_views(model: Classifier, tta: str) -> Classifier:
    """The same members with the test-time augmentation `tta` (see `cxr.preprocess.test_views`)."""
    return Classifier(replace(model.spec, tta=tta), [*model.members])
