"""permutation_importance: what a score loses when a modality, or a column, tells of other rows.

R = rows, S = resamples.
"""

import keras
import numpy as np

from mmkeras.data.columns import check_frame, columns_of
from mmkeras.data.frames import as_frame
from mmkeras.evaluation import metrics
from mmkeras.evaluation.report import scores
from mmkeras.graph import compiled
from mmkeras.trunk.attached import keep_all

AT_ONCE = 512  # rows that go through a head together
SAMPLES = 300  # resamples of the bootstrap


def permutation_importance(pipe, df, repeats=5, seed=0):
    """How far the primary metric falls when the values of a modality, or of a column, are dealt out anew among the rows.

    Breiman (2001, https://doi.org/10.1023/A:1010933404324); scikit-learn's function of this name does it for one table. What frozen towers
    gave is permuted, not run again; a column is permuted within one modality, of which only the rest is prepared again. The trained model
    stays as it is: of two columns that say the same, each may seem to matter little, and rows may come about that there are not.

    Args:
        pipe: a fitted `Pipeline`.
        df: DataFrame of rows that it did not learn from, with the target. Features of all of them are held in memory.
        repeats: int, permutations, the same for all modalities and columns.
        seed: int. Permutation k is `numpy.random.default_rng([seed, k]).permutation(R)`.

    Returns:
        DataFrame on (modality, column), where a column of "" is the modality as a whole; columns are told of modalities without a frozen tower
        that read several. "metric" names the primary metric, "fall" is by how much it gets worse, in the mean of the repeats, "low" and "high"
        are its 95% interval by the bootstrap over rows. Most important first, columns behind their modality.

    Raises:
        ValueError: no row that can be judged, fewer than 1 repeat.
        KeyError, TypeError: as `Pipeline.evaluate`.

    Example:
        >>> import mmkeras as mm
        >>> train, test = mm.split_frame(mm.samples.movies(80, seed=0), 0.3, seed=0)
        >>> pipe = mm.Pipeline([mm.Tabular(numeric=["budget", "runtime"])], mm.MultiLabel("genres"))
        >>> history = pipe.fit(train, epochs=1, verbose=0)
        >>> list(mm.permutation_importance(pipe, test, repeats=2).columns)
        ['metric', 'fall', 'low', 'high']
    """
    import pandas as pd

    if isinstance(repeats, bool) or not isinstance(repeats, int | np.integer) or repeats < 1:
        raise ValueError(f"`repeats` must be an int of at least 1. Received: {repeats!r}. Use for example 5.")
    fitted, df = pipe.check_fitted(), as_frame(df)
    judge = _Judge(fitted, df)
    orders = [np.random.default_rng([seed, number]).permutation(len(judge.df)) for number in range(repeats)]
    lines = {}
    for modality in fitted.trunk.modalities:
        own = [key for key in judge.features if key.partition(".")[0] == modality.name]
        lines[modality.name, ""] = judge.fall([{key: judge.features[key][order] for key in own} for order in orders])
        columns = () if modality.name in fitted.trunk.frozen or len(modality.all_columns) < 2 else modality.all_columns
        for column in columns:
            lines[modality.name, column] = judge.fall([judge.prepared(own, column, order) for order in orders])
    names = pd.MultiIndex.from_tuples(lines, names=["modality", "column"])
    table = pd.DataFrame(list(lines.values()), index=names, columns=["fall", "low", "high"])
    table.insert(0, "metric", fitted.task.primary)
    most = {modality: lines[modality, ""][0] for modality, _ in lines}
    order = sorted(lines, key=lambda line: (-most[line[0]], line[0], line[1] != "", -lines[line][0]))
    return table.loc[order]


class _Judge:
    """Scores of a model on the same rows and resamples, from features that may be changed.

    Attributes:
        df: the rows that are judged. features: {key: (R, …)} of all that the head reads.
    """

    def __init__(self, fitted, df):
        task, trunk = fitted.task, fitted.trunk
        check_frame(df, [*columns_of(trunk.modalities), *task.columns])
        df, told = task.judged(task.units(df, trunk.modalities))
        if not len(df):
            raise ValueError(
                f"An importance needs a row that can be judged. Received: none. {' '.join(told)} Check the target."
            )
        self.df, self._fitted, self._target, self._graphs = df, fitted, task.target(df), {}
        self._readers = {}
        self.features = self._read(df, fitted.head.input)
        self._sign = -1 if task.primary in task.smaller_is_better else 1
        self._whole = self._score({})

    def fall(self, changes):
        """(fall of the primary metric, ends of its interval) in the mean over several changes of the features."""
        worse = self._sign * (self._whole - np.mean([self._score(change) for change in changes], axis=0))
        return float(worse[0]), *metrics.interval(worse[1:])

    def prepared(self, keys, column, order):
        """Features of these keys when a column holds the cells of other rows."""
        cells = self.df[column].iloc[order].set_axis(self.df.index)
        return self._read(self.df.assign(**{column: cells}), keys)

    def _read(self, df, keys):
        keys = tuple(keys)
        if keys not in self._readers:  # kept, so that its graph is traced once
            inputs = {key: self._fitted.head.input[key] for key in keys}
            copies = {key: keras.layers.Identity(dtype=tensor.dtype)(tensor) for key, tensor in inputs.items()}
            self._readers[keys] = keras.Model(inputs, copies)
        return self._fitted.trunk.outputs(self._readers[keys], df)

    def _score(self, change):
        """(1 + S,) the primary metric on all rows, and on resamples, with some features changed."""
        features, task = {**self.features, **change}, self._fitted.task

        def run(model, each=keep_all):
            kept = []
            for start in range(0, len(self.df), AT_ONCE):
                rows = np.arange(start, min(start + AT_ONCE, len(self.df)))
                kept.append(each(self._graph(model)({key: features[key][rows] for key in model.input}), rows))
            return {key: np.concatenate([np.asarray(batch[key]) for batch in kept]) for key in kept[0]}

        point, drawn = scores(task, self._target, task.predict(run, self._fitted.head), samples=SAMPLES)
        return np.append(point[task.primary], drawn[task.primary])

    def _graph(self, model):
        if id(model) not in self._graphs:
            self._graphs[id(model)] = model, compiled(model)  # the model, so that its id stays its own
        return self._graphs[id(model)][1]
