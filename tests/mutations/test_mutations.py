"""The list of deliberate errors fits the code, and docs/mutations/ has the outcome of each."""

import pytest

from scripts import mutations
from scripts.mutations import NOTICED, Mutation, load_mutations, load_outcomes
from tests.builders import ROOT

ROOMS = [path.stem for path in sorted((ROOT / mutations.LISTS).glob("*.yaml"))]
FEWEST, SHARE = 250, 0.95  # errors in all; at least so many of them are noticed


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


def listed() -> list[tuple[str, Mutation]]:
    return [(room, mutation) for room in ROOMS for mutation in load_mutations(room)]


@pytest.mark.parametrize("room", ROOMS)
def test_an_error_fits_the_code(room):
    """Its text stands once in its file, and what replaces it leaves Python."""
    for mutation in load_mutations(room):
        text = (ROOT / mutation.file).read_text()
        wrong = mutation.applied(text)
        assert wrong != text
        if mutation.file.endswith(".py"):
            compile(wrong, mutation.file, "exec")
        for tests in mutation.tests.split():
            assert (ROOT / tests.partition("::")[0]).is_file(), tests


def test_no_error_is_listed_twice():
    ids = [mutation.id for _, mutation in listed()]
    assert len(ids) == len(set(ids))
    texts = [(mutation.file, mutation.falsifies) for _, mutation in listed()]
    assert len(texts) == len(set(texts))


@pytest.mark.parametrize("room", ROOMS)
def test_each_error_has_its_outcome(room):
    """`python -m scripts.mutate --missing` writes the rows of new and changed errors."""
    assert list(load_outcomes(room)) == [mutation.id for mutation in load_mutations(room)]


def test_nearly_all_are_noticed_and_the_others_explained():
    outcomes = [(mutation, load_outcomes(room)[mutation.id].outcome) for room, mutation in listed()]
    assert len(outcomes) >= FEWEST
    unnoticed = [mutation for mutation, outcome in outcomes if outcome not in NOTICED]
    assert len(unnoticed) <= (1 - SHARE) * len(outcomes)
    assert all(len(mutation.survives) > 20 for mutation in unnoticed)
    assert [mutation for mutation, outcome in outcomes if mutation.survives and outcome in NOTICED] == []


def test_page_is_that_of_the_tables():
    assert (ROOT / mutations.PAGE).read_text() == mutations.page()
