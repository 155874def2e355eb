"""index_items, retrieve: items of a fitted model in an index, and what queries find among them."""

import hashlib

import numpy as np

from mmkeras.data.frames import as_frame, column_label, like
from mmkeras.data.telling import shortened
from mmkeras.heads.sides import ITEMS, QUERY
from mmkeras.inference.index import Index
from mmkeras.inference.index_checks import check_k
from mmkeras.trunk.fingerprint import fingerprint


def index_items(pipe, df, ids=None, exact=True):
    """An index of the vectors that a Pipeline for `Retrieval` gives items. It remembers the model, see `Index.model`.

    Args:
        pipe: a fitted `Pipeline` for `Retrieval`.
        df: DataFrame with the columns of the side "items"; no rows give an empty index.
        ids: name of a column of ints or strings, each once; None takes the index of `df`.
        exact: bool, see `Index`.

    Returns:
        `Index` of len(df) vectors.

    Raises:
        ValueError: a Pipeline for another task, ids that repeat.
        KeyError, TypeError: columns that cannot work, ids that are neither ints nor strings.
        ImportError: exact=False without faiss.

    Example:
        >>> import numpy as np, pandas as pd
        >>> import mmkeras as mm
        >>> df = pd.DataFrame({"a": np.arange(8.0), "b": -np.arange(8.0), "name": list("abcdefgh")})
        >>> sides = [mm.Tabular(numeric="a", name="left"), mm.Tabular(numeric="b", name="right")]
        >>> pipe = mm.Pipeline(sides, mm.Retrieval(query="left", items="right", width=4))
        >>> history = pipe.fit(df, validation_data=False, epochs=1, verbose=0)
        >>> index = mm.index_items(pipe, df, ids="name")
        >>> len(index), index.width
        (8, 4)
    """
    fitted, df = _for_retrieval(pipe, "index_items"), as_frame(df)
    cells = df.index
    if ids is not None:
        ids = column_label(ids)
        if ids not in df.columns:
            raise KeyError(
                f"`ids` must name a column. Received: {ids!r}; the columns are {shortened(list(df.columns), 300)}."
            )
        cells = df[ids]
    index = Index(_vectors(fitted, df, ITEMS), cells, exact=exact)
    index.model = model_of(fitted)
    return index


def retrieve(pipe, queries, items, k=10, *, query_side=QUERY):
    """The items that queries find, by a Pipeline for `Retrieval`.

    Args:
        pipe: a fitted `Pipeline` for `Retrieval`.
        queries: DataFrame with the columns of the side "query".
        items: DataFrame with the columns of the side "items", or an `Index`; a DataFrame's index gives the ids.
        k: int, items for each query; at most as many as there are.
        query_side: "items" where the queries are rows like the items: images that find images.

    Returns:
        DataFrame of (len(queries) · k) rows: query (label in the index of `queries`), rank (1 … k), item (id), score (cosine).

    Raises:
        ValueError: a Pipeline for another task, an index of another model, k below 1 or above the number of items.
        KeyError, TypeError: columns that cannot work, labels of items that are neither ints nor strings.

    Example:
        >>> import numpy as np, pandas as pd
        >>> import mmkeras as mm
        >>> df = pd.DataFrame({"a": np.arange(8.0), "b": -np.arange(8.0)})
        >>> sides = [mm.Tabular(numeric="a", name="left"), mm.Tabular(numeric="b", name="right")]
        >>> pipe = mm.Pipeline(sides, mm.Retrieval(query="left", items="right", width=4))
        >>> history = pipe.fit(df, validation_data=False, epochs=1, verbose=0)
        >>> found = mm.retrieve(pipe, df[["a"]].head(2), df[["b"]], k=3)
        >>> list(found.columns), found["rank"].tolist()
        (['query', 'rank', 'item', 'score'], [1, 2, 3, 1, 2, 3])
    """
    import pandas as pd

    fitted, df = _for_retrieval(pipe, "retrieve"), as_frame(queries)
    if query_side not in fitted.task.sides:
        raise ValueError(f"`query_side` must be 'query' or 'items'. Received: {shortened(query_side)}.")
    if isinstance(items, Index):
        check_model(items, pipe)
        check_k(k, len(items))
    else:
        items = as_frame(items)
        check_k(k, len(items))
        items = index_items(pipe, items)
    ids, scores = items.search(_vectors(fitted, df, query_side), k)
    found = pd.DataFrame(
        {
            "query": df.index.repeat(k),
            "rank": np.tile(np.arange(1, k + 1), len(df)),
            "item": ids.ravel(),
            "score": scores.ravel(),
        }
    )
    return like(found, queries)


def model_of(fitted):
    """What stands for a fitted model's stages: the same once it was saved and loaded, another once it was fitted anew."""
    stages = fitted.trunk.fingerprint + fingerprint(fitted.head, loaded=True)
    return hashlib.blake2b(stages, digest_size=16).hexdigest()


def _for_retrieval(pipe, name):
    """`Fitted` of a Pipeline whose task has sides."""
    fitted = pipe.check_fitted()
    if not fitted.task.sides:
        raise ValueError(
            f"`{name}` takes a Pipeline for Retrieval, which gives queries and items vectors of one space. Received: a Pipeline for "
            f"{type(fitted.task).__name__}. Use mm.Pipeline(modalities, mm.Retrieval(query=…, items=…))."
        )
    return fitted


def _vectors(fitted, df, side):
    """(R, D) float32 vectors of a side; of no rows too, whose columns are looked at as well."""
    rows = df if len(df) else df.set_axis(range(0)).reindex([0])  # of nothing but gaps
    return np.asarray(fitted.embed(rows, side=side), "float32")[: len(df)]


def check_model(index, pipe):
    """Raise a ValueError unless a Pipeline for `Retrieval` made an index; vectors of one's own are taken if they have its width."""
    fitted = _for_retrieval(pipe, "retrieve")
    own, width = model_of(fitted), fitted.head.output[QUERY].shape[-1]
    if index.width != width:
        raise ValueError(
            f"An index must hold vectors of {width} numbers, as the model makes them. Received: an index of vectors of {index.width}. "
            "Make it by that model: mm.index_items(pipe, df)."
        )
    if index.model not in (None, own):
        raise ValueError(
            f"An index must hold vectors of the model that reads the queries, {own}. Received: one that model {index.model} made. "
            "Load that model, or make the index again: mm.index_items(pipe, df)."
        )
