"""Sections of a report about numbers: scores by column, truth against prediction, and quantiles.

n = rows, K = columns, Q = quantiles.
"""

import numpy as np

from mmkeras.evaluation import metrics
from mmkeras.evaluation.sections import Section


def number_section(columns, truth, predictions, kinds, *, line=None):
    """A row per column: known rows, R², MAE, RMSE, the mean error, and the slope of truth on prediction.

    A slope above 1 says that predictions lie too near to each other, one below 1 that they lie too far apart.

    Args:
        columns: K names. truth: (n, K), NaN for missing cells. predictions: (n, K).
        kinds: K names of the transforms on whose scales they were learnt.
        line: what `calibration.learn_lines` gave, or None.
    """
    import pandas as pd

    rows, notes = {}, []
    for place, name in enumerate(columns):
        known = ~np.isnan(truth[:, place])
        numbers, said = truth[known, place], predictions[known, place]
        scores = metrics.regression(numbers, said, np.ones((1, len(numbers))))
        scores = {metric: float(value[0]) for metric, value in scores.items()}
        rows[name] = {
            "rows": len(numbers),
            **scores,
            "bias": float(np.mean(said - numbers)),
            "slope": _slope(said, numbers),
        }
        if kinds[place] != "none":
            notes.append(f"{name!r} was learnt on the scale {kinds[place]!r}; figures are in its own units.")
        if line is not None and line["bias"][place]:
            notes.append(
                f"{name!r} was {line['bias'][place]:+.3g} off in the mean of {line['rows']:,} validation rows, as what is learnt on another scale often is. "
                f"They taught the line that is predicted by now: {line['slope'][place]:.3g} times as much, and {line['shift'][place]:+.3g}."
            )
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index.name = "target"

    def figure():
        from mmkeras.evaluation.figures import draw_numbers

        return draw_numbers(columns, truth, predictions, kinds)

    return Section("numbers", "By target", table, figure, "Truth against prediction, and residuals", notes)


def _slope(said, truth):
    """Of the straight line from predictions to the truth; NaN where all predictions are the same."""
    apart = said - said.mean()
    spread = float(apart @ apart)
    return float(apart @ (truth - truth.mean())) / spread if spread > 0 else float("nan")


def quantile_section(columns, quantiles, truth, predictions):
    """A row per column and quantile: the share of the truth at or below it, which should be the quantile, and the pinball loss.

    Args:
        columns: K names. quantiles: Q floats. truth: (n, K), NaN for missing cells. predictions: (n, K, Q).
    """
    import pandas as pd

    rows, notes = [], []
    for place, name in enumerate(columns):
        known = ~np.isnan(truth[:, place])
        numbers, said = truth[known, place, None], predictions[known, place]
        error = numbers - said
        pinball = np.maximum(np.array(quantiles) * error, (np.array(quantiles) - 1) * error).mean(axis=0)
        for number, quantile in enumerate(quantiles):
            share = float((error[:, number] <= 0).mean())
            rows.append({"target": name, "quantile": quantile, "below": share, "pinball": float(pinball[number])})
        if len(quantiles) > 1:
            within = float(((error[:, 0] >= 0) & (error[:, -1] <= 0)).mean())
            wanted = quantiles[-1] - quantiles[0]
            notes.append(
                f"{within:.1%} of the rows of {name!r} lie between their quantiles {quantiles[0]:g} and {quantiles[-1]:g}, "
                f"where {wanted:.1%} should."
            )
    table = pd.DataFrame(rows).set_index("target")
    return Section("quantiles", "Quantiles: how many rows lie at or below them", table, notes=notes)
