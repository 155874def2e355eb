"""Which scale the numbers of a target are learnt on, chosen by what a quick model predicts of rows that it did not see.

R = rows, F = features.
"""

import numpy as np

from mmkeras.evaluation import metrics
from mmkeras.layers.transforms import learn_transform, transform_of

# A choice among fewer rows would be one by chance; more, and more columns, are not needed for it.
FEWEST, MOST, MOST_COLUMNS = 100, 4_000, 100
FOLDS = 4
GAIN = 0.01  # of R², by which another scale must beat the numbers as they are
LONGEST = 2_000  # signs of a text that are read
KINDS = ("chosen", "none", "log1p", "signed_log", "quantile")


def check_transform(transform):
    """Raise a ValueError for what is no name of a transform."""
    if transform not in KINDS:
        raise ValueError(f"`transform` must be one of {KINDS}. Received: {transform!r}.")


def learn_scale(kind, cells, values, others):
    """The config of a transform of a column of the target, see `layers.transforms.transform_of`.

    Args:
        kind: its name, or "chosen".
        cells: `NumberCells` of the column.
        values: (R,) numbers, NaN for gaps.
        others: DataFrame of R rows, what may tell the target.

    Raises:
        ValueError: nothing but gaps, or the same number in all rows; numbers below 0 for "log1p".
    """
    known = ~np.isnan(values)
    numbers = values[known]
    if not len(numbers):
        raise ValueError(
            f"The target {cells.name!r} must be known in some rows. Received: {len(values)} missing values in as many rows. "
            "Leave it out of the task."
        )
    if np.ptp(numbers) == 0 and (len(values) > 1 or kind == "quantile"):
        raise ValueError(
            f"The target {cells.name!r} must vary. Received: {numbers[0]:g} in all {len(numbers)} rows. Check the data."
        )
    below = numbers[numbers < 0]
    if kind == "log1p" and len(below):
        raise ValueError(
            f"transform='log1p' takes numbers of 0 or more. Received: {below[0]:g} in the target {cells.name!r}, one of "
            f"{len(below)} such cells. Use transform='signed_log', or 'chosen'."
        )
    if kind == "chosen":
        kind = "none" if cells.time is not None else choose_transform(numbers, others[known])
    return learn_transform(kind, numbers)


def on_scales(values, scales):
    """(R, K) numbers on the scales of K transforms, of which these are the configs."""
    columns = [np.asarray(transform_of(scale).forward(x)) for scale, x in zip(scales, values.T, strict=True)]
    return np.stack(columns, axis=1)


def choose_transform(values, others):
    """The name of a transform of the target, by R² in its own units over folds of the rows.

    A ridge regression on hashed words and numbers of the other columns learns the target on every scale. What it tells of the
    scales holds for larger models, which take a thousand times as long; where it cannot tell them apart, as in a table of
    pictures alone, the numbers stay as they are.

    Args:
        values: (R,) known numbers of the target.
        others: DataFrame of R rows, what may tell the target.

    Example:
        >>> import numpy as np, pandas as pd
        >>> from mmkeras.tasks.transforms import choose_transform
        >>> x = np.linspace(0, 12, 400)
        >>> choose_transform(np.exp(x), pd.DataFrame({"x": x})), choose_transform(x, pd.DataFrame({"x": x}))
        ('log1p', 'none')
    """
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import KFold

    if len(values) < FEWEST:
        return "none"
    rows = np.sort(np.random.default_rng(0).permutation(len(values))[:MOST])
    values, features = values[rows], _features(others.iloc[rows])
    if features is None:
        return "none"
    kinds, scores = ["none", "log1p" if values.min() >= 0 else "signed_log", "quantile"], []
    for train, test in KFold(FOLDS, shuffle=True, random_state=0).split(values):
        if np.ptp(values[train]) == 0 or np.ptp(values[test]) == 0:
            continue
        scales = [transform_of(learn_transform(kind, values[train])) for kind in kinds]
        learnt = np.stack([np.asarray(scale.forward(values[train])) for scale in scales], axis=1)
        mean, spread = learnt.mean(axis=0), learnt.std(axis=0)
        model = Ridge(1.0, fit_intercept=False, solver="sparse_cg", tol=1e-3, max_iter=50).fit(
            features[train], (learnt - mean) / spread
        )
        said = np.clip(mean + spread * model.predict(features[test]), learnt.min(axis=0), learnt.max(axis=0))
        said = [np.asarray(scale.inverse(said[:, place])) for place, scale in enumerate(scales)]
        ones = np.ones((1, len(test)))
        scores.append([metrics.regression(values[test], numbers, ones)["r2"][0] for numbers in said])
    if not scores:
        return "none"
    scores = np.mean(scores, axis=0)
    best = int(scores.argmax())
    return kinds[best] if scores[best] > max(0.0, scores[0] + GAIN) else "none"


def _features(df):
    """(R, F) sparse: numbers in standard units, with their ranks and gaps; words of everything else. None where there are none."""
    from scipy.sparse import csr_matrix, hstack

    blocks = []
    for place in np.unique(np.linspace(0, len(df.columns) - 1, MOST_COLUMNS).astype(int)) if len(df.columns) else []:
        series = df.iloc[:, place]
        if getattr(series.dtype, "kind", "O") in "iufb":
            blocks.append(csr_matrix(_numbers(series.to_numpy("float64", na_value=np.nan))))
        elif not any(isinstance(cell, bytes | np.ndarray) for cell in series.head(20)):
            blocks.append(_words(series))
    return hstack(blocks).tocsr() if blocks else None


def _numbers(values):
    """(R, 3): standard units, ranks from −1 to 1, gaps."""
    values = np.where(np.isfinite(values), values, np.nan)
    gaps = np.isnan(values)
    known = values[~gaps]
    if not len(known):
        return gaps[:, None].astype("float64")
    values = np.where(gaps, known.mean(), values)
    ranks = np.searchsorted(np.sort(known), values) / len(known)
    return np.stack([(values - known.mean()) / (known.std() or 1.0), 2 * ranks - 1, gaps], axis=1)


def _words(series):
    """(R, 2¹⁴) TF-IDF of hashed words."""
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    texts = ["" if gap else str(cell)[:LONGEST] for cell, gap in zip(series.tolist(), series.isna(), strict=True)]
    hashed = HashingVectorizer(n_features=2**14, alternate_sign=False, norm=None, token_pattern=r"(?u)\w+")
    return TfidfTransformer(sublinear_tf=True).fit_transform(hashed.transform(texts))
