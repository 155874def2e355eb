"""Shapley values: how a result is divided among those who brought it about.

M = players, here modalities.
"""

import itertools
import math

import numpy as np

MOST = 10  # players of whom all 2^M coalitions are looked at
DRAWS = 64  # pairs of orders that are drawn for more


def shapley(names, worth, *, draws=DRAWS, seed=0):
    """The Shapley value of each player: what it adds to those who came before, in the mean over all orders of coming.

    They add up to worth(all) − worth(none). For up to 10 players they are exact, by all 2^M coalitions (Shapley, 1953). For more,
    orders are drawn, each with its reverse (Castro et al., 2009, https://doi.org/10.1016/j.cor.2008.04.004; Mitchell et al., 2022,
    https://arxiv.org/abs/2104.12199): they add up all the same.

    Args:
        names: M names.
        worth: function of a tuple of some names, in their order, to an array; it is asked once for each.
        draws: int, pairs of orders for more than 10 players. seed: int, of the orders.

    Returns:
        ((M, …) values, (M, …) standard errors or None where they are exact).

    Example:
        >>> values, errors = shapley("ab", lambda there: {"": 0.0, "a": 1.0, "b": 2.0, "ab": 5.0}["".join(there)])
        >>> values.tolist(), errors
        ([2.0, 3.0], None)
    """
    known = {}

    def value(there):
        if there not in known:
            known[there] = np.asarray(worth(tuple(name for name in names if name in there)), "float64")
        return known[there]

    if len(names) <= MOST:
        return np.stack([_exact(names, name, value) for name in names]), None
    rng, pairs = np.random.default_rng(seed), []
    for _ in range(draws):
        order = [names[place] for place in rng.permutation(len(names))]
        gains = _gains(order, value), _gains(order[::-1], value)
        pairs.append(np.stack([(gains[0][name] + gains[1][name]) / 2 for name in names]))
    return np.mean(pairs, axis=0), np.std(pairs, axis=0, ddof=1) / math.sqrt(draws)


def _exact(names, name, value):
    """One player's value, by all coalitions of the others."""
    others, total = [other for other in names if other != name], 0.0
    for size in range(len(names)):
        weight = 1 / (len(names) * math.comb(len(others), size))
        for some in itertools.combinations(others, size):
            total = total + weight * (value(frozenset({*some, name})) - value(frozenset(some)))
    return total


def _gains(order, value):
    """{name: what it adds to those before it}."""
    there, gains = frozenset(), {}
    for name in order:
        more = there | {name}
        gains[name] = value(more) - value(there)
        there = more
    return gains
