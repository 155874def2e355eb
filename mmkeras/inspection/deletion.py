"""Does an explanation tell the truth? What becomes of a prediction when what is said to matter most is taken away first."""

import numpy as np

from mmkeras.data.frames import as_frame
from mmkeras.evaluation import metrics
from mmkeras.modalities.encoders.transformer import MARK

SHARES = np.linspace(0, 1, 11)  # of the words that are taken away


def deletion(pipe, df, explanation, modality, *, draws=5, seed=0):
    """Words of a text taken away, those first that are said to have spoken most for the outcome, against random orders.

    After Petsiuk et al., 2018 (RISE, https://arxiv.org/abs/1806.07421). How far what is explained falls is measured after each tenth of the
    words; the mean of these is the area. An explanation that tells the truth lets it fall early: a large area.

    Args:
        pipe: a fitted `Pipeline`. df: the rows of the explanation, with the same columns.
        explanation: `Explanation` of these rows, with pieces.
        modality: name of a modality of one column of text, whose pieces are words in their order; other modalities that read the column
            lose the same words.
        draws: int, random orders for each row. seed: int, of the orders and of the resamples.

    Returns:
        DataFrame with the rows "said", "random" and "difference", and the columns area, low, high (95% bootstrap intervals over rows, paired).

    Raises:
        ValueError: a modality without words in their order; other rows than those of the explanation.

    Example:
        >>> import mmkeras as mm
        >>> from mmkeras.inspection.deletion import deletion
        >>> df = mm.samples.movies(60, seed=0)
        >>> pipe = mm.Pipeline([mm.Text("overview", encoder="scratch", pooling="mean", sequence_length=32)], mm.MultiLabel("genres"))
        >>> history = pipe.fit(df, epochs=1, verbose=0)
        >>> list(deletion(pipe, df.head(4), mm.explain(pipe, df.head(4)), "text").index)
        ['said', 'random', 'difference']
    """
    import pandas as pd

    fitted, df = pipe.check_fitted(), as_frame(df)
    columns = {one.name: one.all_columns for one in fitted.trunk.modalities if one.name in explanation.texts}
    if len(columns.get(modality, ())) != 1:
        known = [name for name, read in columns.items() if len(read) == 1]
        raise ValueError(
            f"`modality` must be one of {known}, whose pieces are the words of one column in their order. Received: {modality!r}."
        )
    if len(df) != len(explanation):
        raise ValueError(
            f"`df` must hold the {len(explanation):,} rows of the explanation. Received: {len(df):,} rows."
        )
    (column,) = columns[modality]
    words = [[piece for piece in row if not MARK.fullmatch(piece[0])] for row in explanation.pieces[modality]]
    rng = np.random.default_rng(seed)
    said = [np.argsort([-value for _, value in row], kind="stable") for row in words]
    orders = [said, *([rng.permutation(len(row)) for row in words] for _ in range(draws))]
    outcomes = np.array([fitted.task.outcomes.index(name) for name in explanation.outcomes or ()] or [0] * len(df))

    def worth(texts):
        outputs = fitted.trunk.outputs(fitted.head, df.assign(**{column: texts}), keep=False)
        return np.asarray(fitted.task.worth(outputs, outcomes), "float64")

    areas = np.stack([_area(worth, words, order) for order in orders])  # (1 + draws, R)
    each = {"said": areas[0], "random": areas[1:].mean(axis=0), "difference": areas[0] - areas[1:].mean(axis=0)}

    def means(weights):
        return {name: weights @ values / weights.sum(axis=1) for name, values in each.items()}

    point, drawn = metrics.bootstrap(means, len(df), seed=seed)
    rows = {name: (value, *metrics.interval(drawn[name])) for name, value in point.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["area", "low", "high"])


def _area(worth, words, order):
    """(R,) by how much the worth falls, in the mean of all shares of words that are gone."""
    worths = []
    for share in SHARES:
        texts = []
        for row, places in zip(words, order, strict=True):
            gone = set(places[: round(share * len(row))])
            texts.append(" ".join(word for place, (word, _) in enumerate(row) if place not in gone))
        worths.append(worth(texts))
    return worths[0] - np.mean(worths, axis=0)
