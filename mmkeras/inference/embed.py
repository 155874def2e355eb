"""embed: the fused features of rows."""

from mmkeras.data.frames import as_frame


def embed(pipe, df, verbose=0, *, side=None):
    """The fused features of rows: what the head of a fitted Pipeline joined the modalities to, before it decides.

    Of a Pipeline for `Retrieval` they are unit vectors of a side, whose columns alone `df` needs.

    Args:
        pipe: a fitted `Pipeline`.
        df: pandas DataFrame with the modalities' columns.
        verbose: 1 shows progress of encoding.
        side: "query" or "items" of a Pipeline for Retrieval; without it, both, one behind the other.

    Returns:
        (rows, D) float array, in the order of `df`.

    Raises:
        KeyError, TypeError, ValueError: as `Pipeline.predict`.

    Example:
        >>> import mmkeras as mm
        >>> df = mm.samples.movies(60, seed=0)
        >>> pipe = mm.Pipeline([mm.Tabular(numeric=["budget", "runtime"])], mm.MultiLabel("genres"))
        >>> history = pipe.fit(df, epochs=1, verbose=0)
        >>> mm.embed(pipe, df).shape
        (60, 64)
    """
    return pipe.check_fitted().embed(as_frame(df), verbose, side)
