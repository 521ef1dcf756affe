"""Read a weights file, and load it into a backbone."""

import pickle
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from cxr.core.errors import UserError
from cxr.core.fetch import Setting, one_line
from cxr.models.architecture import Fresh


def load_into(fresh: Fresh, name: str, path: Path, setting: Setting) -> None:
    """Load all tensors of the base of a backbone `name` from the file at `path`.

    A classification layer in the file is left out; it may have any number of outputs, but must have the
    base's features as inputs. Raises `UserError` if the file cannot be read or belongs to another backbone.
    """

    def unfit(text: str) -> UserError:
        return setting.error(f"{path} does not fit {name}: {text}; choose weights made for {name}")

    expected: Any = fresh.base.state_dict()
    with reading(setting, path):
        read = read_state(path)
    layers = tuple({key.rpartition(".")[0] + "." for key in fresh.left_out})
    state: Any = OrderedDict((key, tensor) for key, tensor in read.items() if not key.startswith(layers))
    # The layout's version, which safetensors does not store and MNASNet needs in order to load.
    state._metadata = getattr(read, "_metadata", expected._metadata)
    for key, tensor in state.items():
        if key not in expected:
            raise unfit(f"it has {key}, which {name} does not")
        if tensor.shape != expected[key].shape:
            raise unfit(f"its {key} is {_text(tensor.shape)}, not {_text(expected[key].shape)}")
    for key, shape in fresh.left_out.items():
        if key in read and read[key].shape[1:] != shape[1:]:
            raise unfit(f"its {key} takes {_text(read[key].shape[1:])} features, not {_text(shape[1:])}")
    with reading(setting, path):
        missing = fresh.base.load_state_dict(state, strict=False).missing_keys
    if missing:
        raise unfit(f"it lacks {missing[0]}")


def _text(shape: torch.Size) -> str:
    return " x ".join(str(side) for side in shape) or "one number"


@contextmanager
def reading(setting: Setting, path: Path) -> Iterator[None]:
    """Whatever a library raises in the block, because `path` cannot be read or does not fit, becomes a
    `UserError` that names `setting`."""
    try:
        yield
    except (
        *(OSError, ValueError, RuntimeError, EOFError, KeyError, TypeError),
        *(pickle.UnpicklingError, SafetensorError),
    ) as error:
        raise setting.error(
            f"{path} cannot be used as its weights ({one_line(error)}); replace it by the published file",
        ) from None


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of a file that `torch.save` wrote; never runs pickled code.

    Raises exceptions that `reading` turns into a `UserError`.
    """
    if path.suffix == ".safetensors":
        state = load_file(path)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
    if not (isinstance(state, dict) and state and all(isinstance(value, Tensor) for value in state.values())):
        raise ValueError("it holds no plain dictionary of tensors")
    return state
