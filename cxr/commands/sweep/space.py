"""The values among which a search chooses: changes in Hydra's syntax, as distributions of Optuna."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cxr.commands.sweep.plan import check_changes
from cxr.core.errors import UserError


@dataclass(frozen=True)
class Space:
    """fixed: changes that every trial has. ranges: Optuna's distributions by dotted key; a choice is one of
    texts. digest: eight hexadecimal digits, the same for the same changes in any order."""

    fixed: tuple[str, ...]
    ranges: dict[str, Any]
    digest: str

    def changes(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """Arguments of `-S`. values: one of each range; of a float four significant digits are kept."""
        texts = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in values.items()}
        return (*self.fixed, *(f"{key}={text}" for key, text in texts.items()))


def search_space(changes: Sequence[str]) -> Space:
    """changes: in the syntax of Hydra's Optuna sweeper (https://hydra.cc/docs/plugins/optuna_sweeper/):
    tag(log,interval(1e-5,1e-2)), int(interval(2,8)), range(0,1,0.25), choice(0,0.01) or single values.

    A range without its end, as in `range` of Python. Raises `UserError` if there is nothing to choose, or if
    params.yaml does not allow an end or a choice of a range.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    fixed, ranges = [], {}
    for change in changes:
        try:
            override = parser.parse_override(change)
            if override.is_sweep_override():
                ranges[override.key_or_group] = _distribution(override)
            else:
                fixed.append(change)
        except (HydraException, ValueError) as error:
            reason = str(error).strip().splitlines()
            raise UserError(f"-S {change}: not a range to search ({reason[0] if reason else ''})") from None
    if not ranges:
        raise UserError("--trials: name a range to search: -S 'train.lr=tag(log,interval(1e-4,1e-2))'")
    digest = hashlib.sha256("\n".join(sorted(changes)).encode()).hexdigest()
    space = Space(tuple(fixed), ranges, digest[:8])
    _check(space)
    return space


def _distribution(override: Any) -> Any:
    """Raises `ValueError` for a range that Optuna refuses."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    sweep: Any = override.value()
    if override.is_interval_sweep():
        whole = isinstance(sweep.start, int) and isinstance(sweep.end, int)
        distribution = IntDistribution if whole else FloatDistribution
        return distribution(sweep.start, sweep.end, log="log" in sweep.tags)
    if override.is_range_sweep():
        values = sorted(sweep.range())
        if not values:
            raise ValueError("it is empty")
        distribution = IntDistribution if isinstance(values[0], int) else FloatDistribution
        return distribution(values[0], values[-1], step=abs(sweep.step))
    return CategoricalDistribution(list(override.sweep_string_iterator()))


def _check(space: Space) -> None:
    """Raises `UserError` for an end or a choice that params.yaml does not allow."""
    ends = {
        key: getattr(range_, "choices", None) or (range_.low, range_.high)
        for key, range_ in space.ranges.items()
    }
    for number in range(max(map(len, ends.values()))):
        check_changes(space.changes({key: values[number % len(values)] for key, values in ends.items()}))
