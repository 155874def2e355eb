"""Does an explanation tell the truth? What becomes of a prediction when what is said to matter most is taken away first."""

import itertools

import numpy as np

from mmkeras.data.frames import as_frame
from mmkeras.evaluation import metrics
from mmkeras.evaluation.pages import read_pixels
from mmkeras.modalities.encoders.transformer import MARK

SHARES = np.linspace(0, 1, 11)  # of the parts that are taken away
SQUARES = 8  # a side of a picture, each of which is taken away as one


def deletion(pipe, df, explanation, modality, *, draws=5, seed=0, probability=False):
    """Words, squares of a picture or columns taken away, those first that are said to have spoken most for the outcome, against random orders.

    After Petsiuk et al., 2018 (RISE, https://arxiv.org/abs/1806.07421). How far what is explained falls is measured after each tenth of the
    parts; the mean of these is the area. An explanation that tells the truth lets it fall early: a large area. Words are left out, squares get
    the picture's mean colour, cells of columns become missing.

    Args:
        pipe: a fitted `Pipeline`. df: the rows of the explanation, with the same columns.
        explanation: `Explanation` of these rows, with pieces.
        modality: name of a modality of one column of text whose pieces are words in their order, of one picture, or of columns of a table; other
            modalities that read the column lose the same.
        draws: int, random orders for each row. seed: int, of the orders and of the resamples.
        probability: bool, whether areas are differences of probabilities, where log-odds are explained.

    Returns:
        DataFrame with the rows "said", "random" and "difference", and the columns area, low, high (95% bootstrap intervals over rows, paired).

    Raises:
        ValueError: a modality of none of these; other rows than those of the explanation; no draws; a probability of what is none.

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
    if not df.index.equals(explanation.index):
        raise ValueError(
            f"`df` must hold the {len(explanation):,} rows of the explanation. Received: {len(df):,} rows, whose index is another. "
            "Give those that were explained, once for each choice."
        )
    if draws < 1:
        raise ValueError(f"`draws` must be 1 or more. Received: {draws!r}. Use for example 5.")
    if probability and explanation.worth_name != "log-odds":
        raise ValueError(f"`probability` goes with log-odds. Received: an explanation of the {explanation.worth_name}.")
    values, without = _parts(fitted, df, explanation, modality)
    rng = np.random.default_rng(seed)
    said = [np.argsort(-np.asarray(row, float), kind="stable") for row in values]
    orders = [said, *([rng.permutation(len(row)) for row in values] for _ in range(draws))]
    model, worth_of = fitted.task.explained(fitted.head)

    def worth(gone):
        outputs = fitted.trunk.outputs(model, without(gone), keep=False)
        worths = np.asarray(worth_of(outputs, explanation.chosen), "float64")
        return 1 / (1 + np.exp(-worths)) if probability else worths

    areas = np.stack([_area(worth, order) for order in orders])  # (1 + draws, R)
    each = {"said": areas[0], "random": areas[1:].mean(axis=0), "difference": areas[0] - areas[1:].mean(axis=0)}

    def means(weights):
        return {name: weights @ values / weights.sum(axis=1) for name, values in each.items()}

    point, drawn = metrics.bootstrap(means, len(df), seed=seed)
    rows = {name: (value, *metrics.interval(drawn[name])) for name, value in point.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["area", "low", "high"])


def _area(worth, order):
    """(R,) by how much the worth falls, in the mean of all shares of the parts that are gone."""
    worths = [worth([set(places[: round(share * len(places))].tolist()) for places in order]) for share in SHARES]
    return worths[0] - np.mean(worths, axis=0)


def _parts(fitted, df, explanation, modality):
    """(numbers of the parts of each row, function of the places that are gone from each row to the DataFrame without them)."""
    read = {one.name: list(one.all_columns) for one in fitted.trunk.modalities if one.name in explanation.pieces}
    columns, pieces = read.get(modality, []), explanation.pieces.get(modality, [])
    if len(columns) == 1 and modality in explanation.texts:
        return _words(df, columns[0], pieces)
    if len(columns) == 1 and modality in explanation.pictures:
        return _squares(df, columns[0], pieces, [cell for (cell,) in explanation.pictures[modality]])
    if pieces and not isinstance(pieces[0], np.ndarray) and {name for row in pieces for name, _ in row} <= set(columns):
        return _columns(df, pieces)
    raise ValueError(
        "`modality` must be one whose pieces are the words or the pixels of one column, or columns of a table. Received: "
        f"{modality!r}; there are {list(explanation.pieces)}."
    )


def _words(df, column, pieces):
    words = [[piece for piece in row if not MARK.fullmatch(piece[0])] for row in pieces]

    def without(gone):
        texts = [
            " ".join(word for place, (word, _) in enumerate(row) if place not in away)
            for row, away in zip(words, gone, strict=True)
        ]
        return df.assign(**{column: texts})

    return [[value for _, value in row] for row in words], without


def _columns(df, pieces):
    names = list(dict.fromkeys(name for row in pieces for name, _ in row))
    places = [[name for name, _ in row] for row in pieces]

    def without(gone):
        away = [{row[place] for place in some} for row, some in zip(places, gone, strict=True)]
        cells = {name: df[name].astype(object).mask(np.array([name in some for some in away]), None) for name in names}
        return df.assign(**cells)

    return [[value for _, value in row] for row in pieces], without


def _squares(df, column, heats, cells):
    import tensorflow as tf

    pixels = [read_pixels(cell) for cell in cells]
    values = [
        [] if picture is None else [heat[square].sum() for square in _grid(heat.shape)]
        for heat, picture in zip(heats, pixels, strict=True)
    ]

    def without(gone):
        pictures = []
        for cell, picture, away in zip(df[column], pixels, gone, strict=True):
            if away:
                squares, changed = _grid(picture.shape), picture.copy()
                for place in away:
                    changed[squares[place]] = picture.reshape(-1, picture.shape[-1]).mean(axis=0)
                cell = tf.io.encode_png(changed).numpy()
            pictures.append(cell)
        return df.assign(**{column: pictures})

    return values, without


def _grid(shape):
    """[(rows, columns) as slices] of the squares of a picture."""
    ends = [np.linspace(0, side, SQUARES + 1).round().astype(int) for side in shape[:2]]
    parts = [[slice(*pair) for pair in itertools.pairwise(some)] for some in ends]
    return [(rows, columns) for rows in parts[0] for columns in parts[1]]
