"""What checks are made of."""

import numpy as np


def must(condition, rule, received=""):
    """Raise an AssertionError with the rule, and what was received instead, unless the condition holds."""
    if not condition:
        raise AssertionError(f"{rule}{f' Received: {received}.' if str(received) else ''}")


def must_equal(first, second, rule, tolerance=1e-5):
    """Two arrays of numbers must be equal within a tolerance; others exactly."""
    first, second = np.asarray(first), np.asarray(second)
    must(first.shape == second.shape, rule, f"shapes {first.shape} and {second.shape}")
    if first.dtype.names:
        for name in first.dtype.names:
            must_equal(first[name], second[name], rule, tolerance)
    elif np.issubdtype(first.dtype, np.number):
        apart = np.abs(first.astype("float64") - second.astype("float64"))
        must(np.array_equal(np.isnan(first), np.isnan(second)), rule, "NaN in one of them")
        must(
            not apart.size or np.nanmax(apart, initial=0) <= tolerance,
            rule,
            f"a difference of {np.nanmax(apart, initial=0)}",
        )
    else:
        must(np.array_equal(first, second), rule, f"{first[:3]} and {second[:3]}")


def must_raise(kinds, call, rule):
    """A call must raise an error of one of these kinds, with a sentence."""
    try:
        call()
    except kinds as error:
        must(str(error), f"{rule} The error must say what is wrong.", repr(error))
        return
    must(False, rule, "no error")
