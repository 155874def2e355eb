"""The task of finding one side of rows by the other: images by words, words by images."""

import dataclasses

import keras
import numpy as np

from mmkeras.data.categories import group
from mmkeras.data.columns import check_frame
from mmkeras.data.frames import column_label
from mmkeras.data.splits import group_rows
from mmkeras.data.targets import Values
from mmkeras.data.telling import shortened
from mmkeras.evaluation.cosines import top
from mmkeras.evaluation.matching import Chance, LinearMap, SharedWords
from mmkeras.evaluation.ranks import FOUND, first_ranks, recalls
from mmkeras.evaluation.sections import hits_section
from mmkeras.graph import submodel
from mmkeras.heads.sides import ITEMS, QUERY, build_sides, check_sides, paired
from mmkeras.layers import Similarity
from mmkeras.losses.pairs import HardestTriplet, InfoNCE, PairwiseSigmoid, Warm
from mmkeras.modalities.base import PRESENT
from mmkeras.tasks.base import Task, finite
from mmkeras.trunk.training import Training

SIDES = (QUERY, ITEMS)
BACK = "back_"  # before the name of a metric of the way from items to queries
# How cosines are scaled at the start, what is added, and whether these are learnt.
SCALES = {"infonce": (1 / 0.07, None, True), "sigmoid": (10.0, -10.0, True), "triplet": (1.0, None, False)}
SHOWN = 60  # characters of what a report shows of a cell
GALLERY, HITS = 6, 5  # queries at each end of a report, and what each of them found


class Pairs(Values):
    """Which rows belong together, and which of them hold the same on a side.

    Attributes:
        values: (R,) numbers of groups. distinct: {side: (R,) numbers of what is on it}.
        shown: {side: (R,) texts or pictures}. pictured: list of sides with pictures. batched: whether groups share batches.
    """

    def __init__(self, groups, distinct, shown, pictured, *, batched=False):
        super().__init__(groups)
        self.distinct, self.shown, self.pictured = distinct, shown, pictured
        self.batched = groups if batched else None

    together = property(lambda self: self.values)


@dataclasses.dataclass(frozen=True)
class Retrieval(Task):
    """Finding the items of a query, and back, by vectors of one space: a dual encoder.

    Modalities stand on two sides, by their names. Each side becomes a unit vector; rows hold pairs that belong together. Where `query` and
    `items` name the same modalities, one model serves both, and things of one group find each other: duplicates.

    Args:
        query, items: list of names of modalities, or one name.
        group: name of a column; rows of one value belong together, and are never set against each other. None groups rows with
            equal cells in all columns of `items`.
        width: int, numbers of a vector.
        loss: "infonce", "sigmoid" or "triplet", see `losses.InfoNCE`, `losses.PairwiseSigmoid`, `losses.HardestTriplet`.
        rows_at_once: int, how many rows of a batch go through trained towers at once, so that large batches need little memory, see
            `trunk.chunks.InChunks`; None for all.
        column: name of the predictions, the cosine of each row's own pair.

    Metrics: of queries to items recall_1, recall_5, recall_10 (the share of queries with one of theirs among the first so many),
        median_rank and map (mean average precision); of items to queries the same as back_recall_1, …; mean_recall of all six recalls.
        What several rows repeat counts once. Intervals draw groups, not rows.

    Raises:
        ValueError: no modality on a side, a width below 1, an unknown loss; when fitting, a modality on neither side, rows of one group alone.

    Example:
        >>> import mmkeras as mm
        >>> mm.Retrieval(query="text", items="image").items
        ('image',)
    """

    query: tuple | str
    items: tuple | str
    group: str | None = None
    width: int = 256
    loss: str = "infonce"
    rows_at_once: int | None = None
    column: str = dataclasses.field(default="similarity", kw_only=True)

    primary = "mean_recall"
    _one_way = (*(f"recall_{k}" for k in FOUND), "median_rank", "map")
    metric_names = (primary, *_one_way, *(BACK + name for name in _one_way))
    smaller_is_better = ("median_rank", BACK + "median_rank")
    rivals = (Chance, LinearMap, SharedWords)
    stops_early = True
    usual_epochs = 30
    usual_batch, least_batch = 512, 2
    answers_apart = True
    pools = compares_rows = False

    def __post_init__(self):
        super().__post_init__()
        for side in SIDES:
            names = getattr(self, side)
            names = (names,) if isinstance(names, str) else tuple(names)
            if not names or not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
                raise ValueError(
                    f"`{side}` of Retrieval must name modalities, each once. Received: {getattr(self, side)!r}. "
                    "Use for example Retrieval(query=['text'], items=['image'])."
                )
            self._set(**{side: names})
        if self.group is not None:
            self._set(group=column_label(self.group))
        for name, value in (("width", self.width), ("rows_at_once", self.rows_at_once or 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"`{name}` of Retrieval must be a positive int. Received: {value!r}.")
        if self.apart and self.group is None:
            raise ValueError(
                "Where `query` and `items` are the same, `group` must name the column that tells what belongs together. Received: "
                f"Retrieval(query={list(self.query)}, items={list(self.items)}). Give for example group='product'."
            )
        if self.loss not in SCALES:
            raise ValueError(f"`loss` of Retrieval must be one of {tuple(SCALES)}. Received: {self.loss!r}.")

    @property
    def sides(self):
        """{"query": names of modalities, "items": names}."""
        return {side: getattr(self, side) for side in SIDES}

    @property
    def apart(self):
        """Whether both sides are one thing, which does not find itself."""
        return self.query == self.items

    # --- rows

    @property
    def columns(self):
        return () if self.group is None else (self.group,)

    def _told(self, what):
        """Name of the column in which `units` tells something of each row."""
        return f"{self.column}: {what}"

    @property
    def together(self):
        return self._told("group")

    def units(self, df, modalities):
        """The rows with what they belong to, and what they hold on each side, in columns of their own."""
        own, told = {m.name: m.columns_read for m in modalities}, {}
        columns = {
            side: {k: v for name in names for k, v in own.get(name, {}).items()} for side, names in self.sides.items()
        }
        codes = {side: group(df[list(some)])[0] for side, some in columns.items()}
        groups = codes[ITEMS] if self.group is None else group_rows(df, [self.group])
        told[self.together] = groups
        for side, some in columns.items():
            # The same thing in two groups is there twice, as it belongs to both.
            told[self._told(side)] = np.unique(codes[side] + groups * (codes[side].max() + 1), return_inverse=True)[1]
            told[self._told(f"{side} shown")], told[self._told(f"{side} pictured")] = _shown(df, some)
        return df.assign(**told)

    def adapt(self, df):
        if df[self.together].nunique() < 2:
            raise ValueError(
                f"Retrieval needs rows of at least two groups, to set them against each other. Received: {len(df)} rows of one. "
                "Give `group` a column whose values differ, or add rows."
            )
        return self.settings.learn()

    def target(self, df):
        check_frame(df, [self.together], "the task, after `units`")
        distinct = {side: df[self._told(side)].to_numpy() for side in SIDES}
        shown = {side: df[self._told(f"{side} shown")].to_numpy(dtype=object) for side in SIDES}
        pictured = [side for side in SIDES if df[self._told(f"{side} pictured")].any()]
        groups = np.unique(df[self.together], return_inverse=True)[1].astype("int32")
        return Pairs(groups, distinct, shown, pictured, batched=self.apart)

    # --- model

    def check_settings(self, names, fusion="concat", **settings):
        check_sides(names, self.sides, fusion, **settings)

    def build_head(self, inputs, target=None, **settings):
        scale, bias, learns = SCALES[self.loss]
        similarity = Similarity(scale, bias, learns, name="similarity")
        return build_sides(inputs, self, similarity, **settings)

    def training(self, head, loss=None):
        given = {side: keras.Input((self.width,), name=side) for side in SIDES}
        logits = head.get_layer("similarity")(*given.values(), every=True)
        kinds = {"infonce": InfoNCE, "sigmoid": PairwiseSigmoid, "triplet": HardestTriplet}
        loss = kinds[self.loss](apart=self.apart) if loss is None else loss
        return Training(
            model=keras.Model(head.input, {side: head.output[side] for side in SIDES}, name="trained"),
            losses={self.column: loss},
            metrics={},
            loss_weights={self.column: 1.0},
            main=self.column,
            callbacks=[Warm(loss)] if isinstance(loss, HardestTriplet) else [],
            after=keras.Model(given, {self.column: logits}, name="set_against"),
            rows_at_once=self.rows_at_once,
        )

    def embedding(self, head, side=None):
        """The vectors of a side; without one, those of both, one behind the other."""
        vectors = [head.output[name] for name in SIDES]
        return keras.ops.concatenate(vectors, axis=-1) if side is None else head.output[side]

    # --- predictions: (R,) of named vectors

    def predict(self, run, head):
        outputs = run(head)
        present = np.concatenate([outputs[f"{side}{PRESENT}"] for side in SIDES], axis=1)
        return paired(*(outputs[side] for side in SIDES), present > 0)

    def check_predictions(self, predictions):
        return next(filter(None, (finite(predictions[side]) for side in SIDES)), "")

    def frame(self, predictions, index):
        """The cosine of each row's own pair."""
        import pandas as pd

        return pd.DataFrame({self.column: cosines(predictions)}, index=index)

    def decide(self, predictions):
        return cosines(predictions).tolist()

    def read(self, target):
        """The number of each row's group."""
        return target.values.tolist()

    # --- explanations

    worth_name = "cosine"

    def worth(self, outputs, outcomes):
        return outputs[self.column][:, 0]

    # --- judgement

    def score(self, target, predictions):
        ways = [(QUERY, ITEMS, ""), (ITEMS, QUERY, BACK)][: 1 if self.apart else 2]
        found = {
            before: (*_ranks(target, predictions, (side, other), self.apart), target.distinct[side])
            for side, other, before in ways
        }

        def scored(weights):
            scores = {}
            for before, (ranks, precision, distinct) in found.items():
                share = 1 / np.bincount(distinct)[distinct]  # what is there several times counts once
                way = recalls(ranks, precision, weights * share)
                scores |= {before + name: values for name, values in way.items()}
            if self.apart:
                scores |= {BACK + name: values for name, values in scores.items()}
            every = [values for name, values in scores.items() if "recall" in name]
            return {self.primary: np.mean(every, axis=0), **scores}

        return scored

    def sections(self, target, predictions, pictures=None):
        """The queries that found theirs first and last, with what they found."""
        ranks, _ = _ranks(target, predictions, (QUERY, ITEMS), self.apart)
        rows, items = (_first(target.distinct[side])[0] for side in SIDES)
        rows = rows[~np.isnan(ranks[rows])]
        rows = rows[np.argsort(ranks[rows], kind="stable")]
        first, last = (_spread(some, target.values)[:GALLERY] for some in (rows, rows[::-1]))
        rows = np.concatenate([first, last[~np.isin(last, first)][::-1]])
        numbers, _ = top(predictions[QUERY][rows], predictions[ITEMS][items], min(HITS + 1, len(items)))
        hits = [
            [hit for hit in items[near] if not self.apart or hit != row][:HITS]
            for row, near in zip(rows, numbers, strict=True)
        ]
        notes = []
        for side, there in zip(SIDES, predictions["present"].T, strict=True):
            if not there.all():
                notes.append(
                    f"{(~there).sum():,} of {len(there):,} rows have nothing on the side {side!r}: one learnt vector stands for it."
                )
        return [hits_section(target, rows, ranks[rows], hits, notes=notes)] if len(rows) else []

    # --- serving

    def serving(self, head):
        """Cosines of pairs as "serve", and vectors of each side as "embed_query" and "embed_items"."""
        served = {"serve": submodel(head.input, {self.column: head.output[self.column]})}
        return {**served, **{f"embed_{side}": submodel(head.input, {side: head.output[side]}) for side in SIDES}}


def _shown(df, columns):
    """((R,) what a report shows of cells of some columns: the picture where there is one, else texts; whether it is a picture).

    Args:
        df: DataFrame.
        columns: {name: `Column`}.
    """
    pictures = [name for name, column in columns.items() if column.picture]
    if pictures:
        column = columns[pictures[0]]
        return [column.shown(cell) for cell in df[pictures[0]]], True
    rows = zip(*(df[name] for name in columns), strict=True)
    return [
        ", ".join(f"{cell:.4g}" if isinstance(cell, float) else shortened(cell, SHOWN, str) for cell in cells)
        for cells in rows
    ], False


def cosines(predictions):
    """(R,) of each row's own pair."""
    return np.einsum("rd,rd->r", predictions[QUERY], predictions[ITEMS])


def _ranks(target, predictions, way, apart):
    """(R,) ranks and average precision of the rows, by what they hold on the first side of `way` among all on its second."""
    (own, back), (others, _) = (_first(target.distinct[name]) for name in way)
    groups, vectors = target.values, [predictions[name] for name in way]
    ranks, precision = first_ranks(vectors[0][own], vectors[1][others], groups[own], groups[others], apart=apart)
    return ranks[back], precision[back]


def _spread(rows, groups):
    """The rows of which none before is of the same group, in their order."""
    return rows[np.sort(np.unique(groups[rows], return_index=True)[1])]


def _first(distinct):
    """(numbers of the first rows that hold each distinct thing, for each row which of them it holds)."""
    _, first, back = np.unique(distinct, return_index=True, return_inverse=True)
    return first, back
