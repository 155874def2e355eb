"""zero_shot: classes of rows that nobody trained on, by words that describe them."""

import keras
import numpy as np

from mmkeras.data.columns import columns_of
from mmkeras.data.frames import as_frame
from mmkeras.heads.sides import ITEMS, QUERY


def zero_shot(pipe, df, labels, *, side=ITEMS, verbose=0):
    """Probabilities of classes that are told by prompts, by a Pipeline that was fitted for `Retrieval`.

    Each class is the mean direction of its prompts on the other side, brought to length 1; a row's probabilities are the softmax of its
    cosines with the classes, scaled as the model learnt. It is the procedure of Radford et al., 2021 (https://arxiv.org/abs/2103.00020).

    Args:
        pipe: a fitted `Pipeline` for `Retrieval` whose other side reads one column of words.
        df: pandas DataFrame with the columns of `side`.
        labels: {class: list of prompts, or one}, such as {"dog": ["a photo of a dog", "a dog outdoors"]}.
        side: "items" or "query", what the rows are.
        verbose: 1 shows progress of encoding.

    Returns:
        DataFrame on the index of `df` with a column of probabilities for each class, (R, C), as predictions of `MultiClass` are.

    Raises:
        ValueError: a Pipeline for another task, or whose other side reads something else than a column of words; fewer than two
            classes, or one without a prompt.
        KeyError, TypeError: as `Pipeline.predict`.

    Example:
        >>> import mmkeras as mm
        >>> df = mm.samples.movies(60, seed=0)
        >>> modalities = [mm.Text("overview", encoder="lexical"), mm.Tabular(numeric=["budget", "runtime"], name="numbers")]
        >>> pipe = mm.Pipeline(modalities, mm.Retrieval(query="text", items="numbers", width=8))
        >>> history = pipe.fit(df, epochs=1, verbose=0)
        >>> list(mm.zero_shot(pipe, df.head(2), {"war": ["soldiers at war", "a battle"], "love": "a couple in love"}))
        ['war', 'love']
    """
    import pandas as pd

    fitted, df = pipe.check_fitted(), as_frame(df)
    sides = {QUERY: ITEMS, ITEMS: QUERY}
    if side not in sides or not fitted.task.sides:
        raise ValueError(
            "`zero_shot` takes a Pipeline for Retrieval, and one of its sides, 'items' or 'query'. "
            f"Received: a Pipeline for {type(fitted.task).__name__} and side={side!r}."
        )
    column = _column_of_words(fitted, sides[side])
    prompts = _prompts(labels)
    texts = [text for some in prompts.values() for text in some]
    vectors = fitted.embed(pd.DataFrame({column: pd.Series(texts, dtype=object)}), side=sides[side])
    ends = np.cumsum([len(some) for some in prompts.values()])
    classes = np.stack([some.mean(axis=0) for some in np.split(vectors, ends[:-1])])
    classes /= np.maximum(np.linalg.norm(classes, axis=1, keepdims=True), 1e-12)
    logits = fitted.head.get_layer("similarity")(fitted.embed(df, verbose, side), classes, every=True)
    return pd.DataFrame(keras.ops.convert_to_numpy(keras.ops.softmax(logits)), index=df.index, columns=list(prompts))


def _column_of_words(fitted, side):
    """Name of the only column that a side reads."""
    modalities = [modality for modality in fitted.trunk.modalities if modality.name in fitted.task.sides[side]]
    columns = columns_of(modalities)
    if len(columns) != 1 or not next(iter(columns.values())).words:
        raise ValueError(
            f"Prompts are words: the side {side!r} must read one column of words. Received a Pipeline in which it reads "
            f"{list(columns)}. Use `side={side!r}` for rows of that side, or embed prompts of your own by mm.embed."
        )
    return next(iter(columns))


def _prompts(labels):
    """{class: list of prompts} of what a user gave."""
    labels = dict(labels)
    prompts = {str(name): [some] if isinstance(some, str) else list(some) for name, some in labels.items()}
    bad = [
        name for name, some in prompts.items() if not some or not all(isinstance(p, str) and p.strip() for p in some)
    ]
    if bad or len(prompts) < 2:
        raise ValueError(
            "`labels` must hold at least two classes, each with a prompt in words. Received: "
            f"{f'nothing usable for {bad}' if bad else list(prompts)}. Use for example "
            "{'dog': ['a photo of a dog'], 'cat': ['a photo of a cat']}."
        )
    return prompts
