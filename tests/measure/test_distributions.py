"""Tails and quantiles are those of scipy.stats, to the last digit."""

import numpy as np
import pytest
from scipy.stats import norm, t

from audit.measure.distributions import normal_quantile, normal_tail, t_quantile, t_tail

SHARES = np.array([1e-12, 0.001, 0.3, 0.5, 0.9, 0.975, 1 - 1e-9])
VALUES = np.array([-40.0, -3.0, 0.0, 0.5, 8.0, np.inf, np.nan])


@pytest.mark.parametrize("share", SHARES)
def test_quantiles_of_the_normal_distribution(share):
    assert normal_quantile(share) == norm.ppf(share)


def test_tails_of_the_normal_distribution():
    np.testing.assert_array_equal(normal_tail(VALUES), norm.sf(VALUES))


@pytest.mark.parametrize("freedom", [0.0, 1.0, 2.5, 30.0, 1e9, np.inf, np.nan])
def test_students_t(freedom):
    np.testing.assert_array_equal(t_quantile(SHARES, freedom), t.ppf(SHARES, freedom))
    np.testing.assert_array_equal(t_tail(VALUES, freedom), t.sf(VALUES, freedom))
