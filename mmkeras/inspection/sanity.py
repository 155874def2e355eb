"""Does an explanation depend on what a model has learnt? It must be another where the model's weights are mixed up."""

import contextlib

import numpy as np

from mmkeras.data.frames import as_frame
from mmkeras.evaluation import metrics
from mmkeras.inspection.gradients import Gradients


def sanity(pipe, df, explanation, *, seed=0):
    """How alike the pieces of an explanation are to those of the same model with mixed-up weights (Adebayo et al., 2018, https://arxiv.org/abs/1810.03292).

    The numbers within each weight of towers and head change places. Pieces that stay as they were, a rank correlation near 1, tell of the picture or
    the text alone, as an edge detector would, and not of the model.

    Args:
        pipe: a fitted `Pipeline`; its weights are put back at the end. df: the rows of the explanation.
        explanation: `Explanation` of these rows, with pieces.
        seed: int, of the places.

    Returns:
        DataFrame with a row for each modality that has pieces: "correlation", Spearman's, of the sizes of pieces, in the mean of the rows with at
        least three of them, with "low" and "high" (95% bootstrap intervals over rows), and "rows".

    Raises:
        ValueError: an explanation without pieces, or of other rows.

    Example:
        >>> import mmkeras as mm
        >>> from mmkeras.inspection.sanity import sanity
        >>> df = mm.samples.movies(60, seed=0)
        >>> pipe = mm.Pipeline([mm.Text("overview", encoder="scratch", pooling="mean", sequence_length=32)], mm.MultiLabel("genres"))
        >>> history = pipe.fit(df, epochs=1, verbose=0)
        >>> list(sanity(pipe, df.head(4), mm.explain(pipe, df.head(4))))
        ['correlation', 'low', 'high', 'rows']
    """
    import pandas as pd

    fitted, df = pipe.check_fitted(), as_frame(df)
    if not explanation.pieces or not df.index.equals(explanation.index):
        raise ValueError(
            f"A sanity check needs an explanation with pieces, of the rows that are given. Received: {explanation!r} with "
            f"{len(explanation.pieces)} modalities of pieces, and {len(df):,} rows. Use mm.explain(pipe, df)."
        )
    with _mixed_up([fitted.trunk.encode, fitted.head], np.random.default_rng(seed)):
        other = Gradients(fitted).inside(df, explanation.chosen).pieces
    lines = {}
    for name, rows in explanation.pieces.items():
        pairs = zip(map(_sizes, rows), map(_sizes, other[name]), strict=True)
        each = np.array([_correlation(*pair) for pair in pairs if len(pair[0]) == len(pair[1]) > 2])
        if len(each):
            point, drawn = metrics.bootstrap(lambda w, each=each: {"": w @ each / w.sum(axis=1)}, len(each), seed=seed)
            lines[name] = (point[""], *metrics.interval(drawn[""]), len(each))
    return pd.DataFrame.from_dict(lines, orient="index", columns=["correlation", "low", "high", "rows"])


@contextlib.contextmanager
def _mixed_up(models, rng):
    """The numbers within each weight have other places, until the end."""
    weights = list({id(weight): weight for model in models for weight in model.weights}.values())
    kept = [weight.numpy() for weight in weights]
    try:
        for weight, values in zip(weights, kept, strict=True):
            if np.issubdtype(values.dtype, np.floating) or values.dtype.name == "bfloat16":
                weight.assign(rng.permutation(values.ravel()).reshape(values.shape))
        yield
    finally:
        for weight, values in zip(weights, kept, strict=True):
            weight.assign(values)


def _sizes(pieces):
    """(N,) sizes of the pieces of a row."""
    values = pieces if isinstance(pieces, np.ndarray) else np.array([value for _, value in pieces])
    return np.abs(values).ravel()


def _correlation(one, other):
    """Spearman's; 0 where all are the same, which tells nothing."""
    from scipy.stats import rankdata

    ranks = [rankdata(values) for values in (one, other)]
    ranks = [values - values.mean() for values in ranks]
    scale = np.sqrt((ranks[0] @ ranks[0]) * (ranks[1] @ ranks[1]))
    return float(ranks[0] @ ranks[1] / scale) if scale else 0.0
