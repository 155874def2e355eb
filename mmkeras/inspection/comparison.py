"""Scores by fold as a mean with its interval, and those of two settings compared."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Comparison:
    """What one cross-validation scores above another on the same folds. It prints itself.

    Attributes:
        metric: str; less: bool, whether less of it is better.
        differences: (folds,) array, the first one's score less the other's in each fold.
        mean: float, of the differences; low, high: its 95% interval.
        t: float, the statistic of the corrected resampled t-test; p: float, how often chance alone moves the mean as far or farther.
    """

    metric: str
    differences: np.ndarray
    mean: float
    low: float
    high: float
    t: float
    p: float
    less: bool = False

    @classmethod
    def of(cls, metric, differences, folds, less=False):
        """The corrected resampled t-test of differences by fold.

        Args:
            metric, differences, less: see the attributes.
            folds: see `corrected`.

        Example:
            >>> round(Comparison.of("r2", [0.02, 0.01, 0.03, 0.02], [([0] * 3, [0])] * 4).t, 3)
            3.207
        """
        from scipy import stats

        mean, error, (low, high) = corrected(differences, folds)
        t = mean / error if error > 0 else np.copysign(np.inf, mean) if mean else 0.0
        p = float(2 * stats.t.sf(abs(t), len(differences) - 1))
        return cls(metric, np.asarray(differences, "float64"), mean, low, high, float(t), p, less)

    def __str__(self):
        verdict = "is beyond" if self.low > 0 or self.high < 0 else "is NOT beyond"
        return (
            f"{self.metric}{' (less is better)' if self.less else ''} {self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}] in {len(self.differences)} folds (p = {self.p:.3f}), "
            f"which {verdict} what chance in rows and folds explains."
        )

    __repr__ = __str__


def corrected(values, folds):
    """(mean, its standard error, its 95% interval) of values by fold, whose models learnt from rows that they share.

    The variance is (1 / folds + judged / learnt) times that of the values, in place of 1 / folds (Nadeau & Bengio, "Inference for the
    generalization error", 2003); Student's t with folds − 1 degrees of freedom.

    Args:
        values: (folds,) floats.
        folds: list of (rows learnt from, rows judged), whose lengths count.

    Example:
        >>> mean, error, (low, high) = corrected([0.02, 0.01, 0.03, 0.02], [([0] * 3, [0])] * 4)
        >>> round(mean, 4), round(error, 6), round(low, 5), round(high, 5)
        (0.02, 0.006236, 0.00015, 0.03985)
    """
    values, count = np.asarray(values, "float64"), len(values)
    mean = float(values.mean())
    if count < 2:
        return mean, float("nan"), (float("nan"), float("nan"))
    from scipy import stats

    ratio = np.mean([len(test) / len(train) for train, test in folds])
    error = float(np.sqrt((1 / count + ratio) * values.var(ddof=1)))
    reach = float(stats.t.ppf(0.975, count - 1)) * error
    return mean, error, (mean - reach, mean + reach)
