"""The paired estimate agrees with the published output of R's MRMCaov on Van Dyke's data.

Van Dyke et al. (1993): 5 readers rated 69 healthy and 45 diseased cases from 1 to 5 with 2 kinds of magnetic
resonance imaging. The ratings are those of RJafroc's dataset02; the expected numbers are printed in the
article about MRMCaov (covariances by DeLong's method) and in RJafroc's own reference output.
"""

import numpy as np
import pytest

from cxr.commands.compare.estimate import Estimate, estimate, member_case_interaction
from cxr.evaluation.delong import Contributions, auc_contributions, case_variance

# By kind of imaging and reader: the 69 healthy, then the 45 diseased cases.
RATINGS = (
    (
        "122151111111411111111131311214111113121211233131133111111221111332111"
        "555545554555434245555555154454553555115554451",
        "232222222322522232222222422223222222222222222222222222222432232222222"
        "535555542555442225555555243354552425225555352",
        "222235112242422232221232411322112224121412112222223211211221151421212"
        "545555555555542355555555252255552555225555552",
        "111111311111111111112111211112111111111111111111331111111111111311111"
        "555555555555555155555555554544553555125555555",
        "351211112221211122113221111211211231221113332111211111111341231212113"
        "525255551545452235555554144322151515115553552",
    ),
    (
        "333222223213122222211111421312214323123122233111333113412421241442111"
        "535555554555544335555555355355554455535555551",
        "322222223222222122221222322222212212222231223222222222322322222222122"
        "535555552555344245455545252355532425525555552",
        "242222322211132222121121411512112122212221132111233113221232341242121"
        "525555555555354145555555253355543555534555551",
        "221111312111122111211111321212111122112111112121212211111212111323211"
        "545555554555455555555555455445555555535555555",
        "223122221222111222122212322321212222112121132122332122221222231233111"
        "525455555455343335555555251332532545533555553",
    ),
)
LABELS = np.repeat([0, 1], [69, 45])
SCORES = np.array([[[int(digit) for digit in reader] for reader in kind] for kind in RATINGS], float)
KINDS = [auc_contributions(LABELS[:, None] == 1, kind[:, :, None]) for kind in SCORES]


def test_areas_of_the_readers() -> None:
    assert KINDS[0].values == pytest.approx(
        [0.91964573, 0.85877617, 0.90386473, 0.97310789, 0.82979066], abs=1e-8
    )
    assert KINDS[1].values == pytest.approx(
        [0.94782609, 0.90531401, 0.92173913, 0.99935588, 0.92995169], abs=1e-8
    )


def test_random_readers_and_random_cases() -> None:
    result = estimate(KINDS[1], KINDS[0], LABELS, "paired")
    assert result.difference == pytest.approx(-0.04380032, abs=1e-8)
    assert result.standard_error == pytest.approx(0.0206825, abs=5e-7)
    assert result.degrees_of_freedom == pytest.approx(15.06611, abs=5e-5)
    assert result.interval == pytest.approx((-0.0878671960, 0.0002665519), abs=5e-8)
    assert result.p == pytest.approx(0.05123303, abs=5e-8)


def test_components() -> None:
    """MS(T:R), and twice Cov2 - Cov3, of MRMCaov."""
    result = estimate(KINDS[1], KINDS[0], LABELS, "paired")
    assert result.between_seed[0] / 2 == pytest.approx(0.0005510306, abs=5e-11)
    assert result.between_case / 2 == pytest.approx(0.0003395265 - 0.0002358497, abs=5e-10)


def test_random_readers_and_fixed_cases() -> None:
    """Without a case term: F = 8.704 = t^2 with 4 degrees of freedom, p = 0.0420."""
    constant = [Contributions(kind.values, np.zeros_like(kind.images)) for kind in KINDS]
    result = estimate(constant[1], constant[0], LABELS, "paired")
    assert (result.difference / result.standard_error) ** 2 == pytest.approx(8.704, abs=5e-4)
    assert result.degrees_of_freedom == pytest.approx(4)
    assert result.p == pytest.approx(0.04195875, abs=5e-8)


def test_each_part_of_the_unpaired_form() -> None:
    """A kind's own analysis, of which the unpaired form is the sum: its standard error and degrees of freedom
    are those printed for each kind of imaging alone."""
    expected = ((0.03307642, 12.59597), (0.02150464, 12.56530))
    for kind, (error, degrees) in zip(KINDS, expected, strict=True):
        interaction = member_case_interaction(kind, LABELS)
        shared = float(case_variance(kind.images.mean(axis=0), LABELS)) - interaction / 5
        s2 = float(kind.values.var(ddof=1))
        alone = Estimate("unpaired", float(kind.values.mean()), shared, (s2,), (interaction,), (5,))
        assert alone.standard_error == pytest.approx(error, abs=5e-8)
        assert alone.degrees_of_freedom == pytest.approx(degrees, abs=5e-5)
