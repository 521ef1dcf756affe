"""A search for good values by Optuna (https://optuna.org), each trial of which is an experiment of the sweep.

Optuna's study is a file beside the outcomes, which the tasks of all nodes write to: so a search goes on after
its driver, or a node, has been killed. What is minimised is the log loss on val; test is never read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr.commands.sweep.in_clone import Watch, run_in_clone
from cxr.commands.sweep.outcomes import Outcome, first_curve, outcome_path, save_outcome
from cxr.commands.sweep.plan import Planned, check_changes
from cxr.commands.sweep.space import Space
from cxr.core.errors import UserError
from cxr.core.processes import Tick

NUMBER = "number"  # of a trial in the sweep: an attribute, since Optuna counts attempts of failed ones too


@dataclass(frozen=True)
class ParameterSearch:
    """name: how names of experiments start. revision: the commit from which they start. Picklable."""

    name: str
    revision: str
    space: Space

    def experiment(self, number: int) -> str:
        return f"{self.name}-{self.space.digest}-{number}"

    def planned(self, numbers: Sequence[int]) -> list[Planned]:
        """The experiments of the trials; without changes if a trial has not been proposed yet."""
        study = self._study()
        trials = [_trial(study, number) for number in numbers]
        return [
            Planned(self.experiment(number), self.space.changes(trial.params) if trial else ())
            for number, trial in zip(numbers, trials, strict=True)
        ]

    def propose(self, number: int) -> Any:
        """Optuna's trial `number`: that of an earlier attempt, or a new one by TPE (Bergstra et al. 2011,
        https://papers.nips.cc/paper/4443), whose seed is its number."""
        import optuna

        study = self._study(number)
        trial: Any = _trial(study, number)
        if trial is None:
            new = study.ask(self.space.ranges)
            new.set_user_attr(NUMBER, number)
            return new
        if trial.state.is_finished():
            again = {name: getattr(trial, name) for name in ("params", "distributions", "user_attrs")}
            study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING, **again))
            trial = _trial(study, number)
        return optuna.trial.Trial(study, trial._trial_id)

    def tell(self, number: int, outcome: Outcome) -> None:
        """Add an outcome to the study; that of a trial that has one already changes nothing."""
        from optuna.trial import TrialState

        study = self._study()
        states = {"done": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}
        if trial := _trial(study, number):
            study.tell(trial.number, outcome.val_nll, states[outcome.state], skip_if_finished=True)

    def _study(self, seed: int = 0) -> Any:
        import optuna
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        path = outcome_path(self.revision, f"{self.name}-{self.space.digest}").with_suffix(".journal")
        path.parent.mkdir(parents=True, exist_ok=True)
        return optuna.create_study(
            storage=optuna.storages.JournalStorage(JournalFileBackend(str(path))),
            study_name=self.name,
            load_if_exists=True,
            sampler=optuna.samplers.TPESampler(seed=seed),
        )


@dataclass(frozen=True)
class TrialTask:
    """Runs each of the trials `numbers` of `search` in a clone, on `cpus` CPUs. Picklable."""

    search: ParameterSearch
    numbers: Sequence[int]
    cpus: int

    def __call__(self, index: int, tick: Tick) -> None:
        number = self.numbers[index]
        trial = self.search.propose(number)
        experiment = Planned(self.search.experiment(number), self.search.space.changes(trial.params))
        try:
            epochs = check_changes(experiment.changes).train.epochs
        except UserError as error:  # of values that are allowed one by one, but not together
            outcome = Outcome("failed", lines=[str(error)])
        else:
            watch = early_stopping(trial, epochs)
            outcome = run_in_clone(experiment, self.search.revision, self.cpus, watch)
        save_outcome(self.search.revision, experiment.name, outcome)
        self.search.tell(number, outcome)
        tick()


def early_stopping(trial: Any, epochs: int) -> Watch:
    """Stops a trial whose first member is, in its best epoch so far, worse than the median of finished trials
    in the present epoch: Optuna's variant of the median rule of Golovin et al. 2017
    (https://doi.org/10.1145/3097983.3098043).

    Not in the first third of its `epochs`, and not before five trials have finished.
    """
    import optuna

    trial.study.pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=epochs // 3 + 1)
    known = set(trial.study.trials[trial.number].intermediate_values)

    def watch(history: Path, finished: bool) -> int | None:
        for epoch, val_nll in first_curve(history, finished).items():
            if epoch not in known:
                known.add(epoch)
                trial.report(val_nll, epoch)
                if not finished and trial.should_prune():
                    return epoch
        return None

    return watch


def _trial(study: Any, number: int) -> Any | None:
    """The last attempt at the trial `number` of the sweep."""
    found = [trial for trial in study.get_trials(deepcopy=False) if trial.user_attrs.get(NUMBER) == number]
    return found[-1] if found else None
