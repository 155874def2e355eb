"""The task whose answer is a number, or several."""

import copy
import dataclasses

import keras
import numpy as np

from mmkeras import layers
from mmkeras.data.column import Claim
from mmkeras.data.columns import check_frame
from mmkeras.data.frames import column_labels
from mmkeras.data.numbers import NumberColumn
from mmkeras.evaluation import metrics
from mmkeras.evaluation.calibration import learn_lines
from mmkeras.evaluation.linear import fit_ridge
from mmkeras.evaluation.number_sections import number_section, quantile_section
from mmkeras.evaluation.trees import Trees
from mmkeras.losses.around import ExactLoss
from mmkeras.tasks.base import check_target
from mmkeras.tasks.decisions import Decisions
from mmkeras.tasks.number_cells import NumberCells
from mmkeras.tasks.number_losses import KnownAbsoluteError, PinballLoss, UnitsLoss, check_quantiles
from mmkeras.tasks.transforms import check_transform, learn_scale, on_scales

WIDE = {"wide": True}  # how cells are read before anything is learnt


@dataclasses.dataclass(frozen=True)
class Regression(Decisions):
    """A number per row, or K numbers; squared error in units of the training rows' variance.

    Cells are read as numbers are, see `NumberColumn`: also "1,234.50", "$5" and "12 %". Durations are seconds, moments are seconds
    since 1970 in UTC; decisions about them come back as durations and moments. About anything else they are floats, also where
    the column holds ints, for what is expected of a count is no count. All of it is float64: seconds, ids and cents with a
    large offset are predicted to their own precision.

    Of several columns, a cell may be missing: it counts in no loss and no score. Metrics are means over the columns, and a report
    has them by column; the output is called "numbers". `fit` knows two losses of their own: "huber", by which outliers weigh less,
    and "absolute"; both are meant in standard units.

    Args:
        column: the target column; or a list of K.
        mean, scale: float, of the training rows on the transform's scale; `fit` learns them. K of them for K columns.
        transform: the scale on which numbers of heavy tails are learnt: "none"; "log1p", a logarithm, or "signed_log", the same
            of negative numbers, too; "quantile", by ranks; "chosen" takes what predicts best by R² in a quick trial on the
            training rows, see `transforms.choose_transform`. Predictions and scores are in the units of the column in any case.
        quantiles: rising numbers in (0, 1), such as (0.1, 0.5, 0.9), to be predicted in place of the mean, by the pinball loss;
            they never cross. Decisions and scores are those of the median.
        targets: the columns, where the first argument named them.

    Predictions: (B, K) float64, in the units of the columns; with Q quantiles (B, K · Q).

    Raises:
        ValueError: no column name, an unknown transform, quantiles that do not rise within (0, 1); when adapting, cells that are
            no finite numbers, a column with the same in all rows or nothing in any, numbers below 0 for "log1p".

    Example:
        >>> import mmkeras as mm
        >>> mm.Regression("price").column
        'price'
        >>> mm.Regression(["width", "height"], quantiles=(0.1, 0.5, 0.9)).columns
        ('width', 'height')
    """

    mean: float | None = None
    scale: float | None = None
    transform: str = "chosen"
    quantiles: tuple | None = None
    targets: tuple | None = None

    primary = "r2"
    metric_names = ("r2", "mae", "rmse")
    smaller_is_better = ("mae", "rmse")
    prior_name = "mean"
    rivals = (*Decisions.rivals, Trees)
    adds = True
    estimator_type = "regressor"
    usual_epochs = 30
    usual_head = {"dropout": 0.1, "depth": 2, "projection": 128}  # noqa: RUF012
    option = "number"
    option_help = "target column of numbers"

    def __post_init__(self):
        if isinstance(self.column, list | tuple) and len(self.column) > 1:
            self._set(targets=column_labels(self.column), column="numbers")
        super().__post_init__()
        check_transform(self.transform)
        for name in ("mean", "scale", "quantiles", "targets"):
            value = getattr(self, name)
            self._set(**{name: tuple(value) if isinstance(value, list) else value})
        if self.targets is not None and (not all(self.targets) or len(set(self.targets)) < len(self.targets)):
            raise ValueError(f"The columns of numbers must have different names. Received: {list(self.targets)}.")
        if self.quantiles is not None:
            check_quantiles(self.quantiles)

    @property
    def columns(self):
        return (self.column,) if self.targets is None else self.targets

    @property
    def loss_weight(self):
        """What squared errors are multiplied by."""
        return 1.0 / self.scale**2

    @classmethod
    def claim(cls, samples, modalities=()):
        if len(samples) > 1:
            claims = [cls.claim([sample], modalities) for sample in samples]
            strength = min(claim.strength if claim else 0.0 for claim in claims)
            return Claim(strength, f"{len(samples)} columns of numbers", "number") if strength else None
        sample = samples[0]
        if len(sample.distinct) < 2:
            return None
        if sample.dtype_letter == "M":
            return Claim(0.95, "moments", "number")
        numbers = NumberColumn().claim(sample)
        if numbers is None:
            return None
        empty = sample.series.notna().to_numpy(dtype=bool) & np.isnan(numbers.values)
        unread = list(sample.series[empty].unique())
        few = (sample.codes >= 0).sum() * 0.05 > np.isnan(numbers.values[sample.codes >= 0]).sum()
        return dataclasses.replace(numbers, strength=numbers.strength * (1 if few else 0.6), unread=unread)

    # --- rows

    def adapt(self, df):
        check_frame(df, self.columns, "the task")
        cells = [NumberCells.learn(df[name]) for name in self.columns]
        values = self._values(df, cells)
        others = df.drop(columns=list(self.columns))
        scales = [learn_scale(self.transform, cell, x, others) for cell, x in zip(cells, values.T, strict=True)]
        numbers = on_scales(values, scales)
        mean, scale = np.nanmean(numbers, axis=0).tolist(), [float(x) or 1.0 for x in np.nanstd(numbers, axis=0)]
        return self.settings.learn(
            mean=mean[0] if self.targets is None else mean,
            scale=scale[0] if self.targets is None else scale,
            cells=[cell.told() for cell in cells],
            transforms=None if all(config["kind"] == "none" for config in scales) else scales,
        )

    def encode(self, df):
        """(rows, K) float64, NaN for a missing cell."""
        check_frame(df, self.columns, "the task")
        return self._values(df, self._cells())

    def _cells(self):
        """How each column is read: a `NumberCells` each."""
        state = self.state or {}
        known = state.get("cells") or [{"column": state.get("column", WIDE), "time": state.get("time")}] * len(
            self.columns
        )
        return [NumberCells(name, **told) for name, told in zip(self.columns, known, strict=True)]

    def _values(self, df, cells):
        """(rows, K) float64 of the cells, of which each row must have one, and each column."""
        if self.targets is None:
            check_target(df[self.column])
            return cells[0].values(df[self.column])[:, None]
        values = np.stack([cell.values(df[cell.name], gaps=True) for cell in cells], axis=1)
        empty = np.isnan(values).all(axis=1).sum()
        if empty:
            raise ValueError(
                f"Each row must have one of the targets {list(self.targets)}. Received: {empty} rows without any. "
                f"Use df.dropna(subset={list(self.targets)}, how='all')."
            )
        return values

    # --- scales

    @property
    def scales(self):
        """Configs of the transforms that were learnt, one for each column; None where the numbers are learnt as they are."""
        return (self.state or {}).get("transforms")

    def _units(self, name=None):
        """The layer from standard units to those of the columns."""
        return layers.Units(self.scale, self.mean, self.scales, name=name)

    # --- model

    def logits(self, hidden, target=None, name="logits"):
        """(B, D) → (B, K · Q), in standard units of the training target."""
        return keras.layers.Dense(len(self.names()), dtype="float32", name=name)(hidden)

    @property
    def mean_is_told(self):
        return self.quantiles is None

    def least_squares(self, target):
        numbers = target if self.scales is None else on_scales(target, self.scales)
        return np.nan_to_num((numbers - np.array(self.mean)) / np.array(self.scale))  # the mean for a missing cell

    def activate(self, logits, name="units"):
        """Standard units → the units of the columns."""
        if self.quantiles is not None:
            logits = layers.RisingQuantiles(self.quantiles, name=f"{name}_rising")(logits)
        return self._units(name)(logits)

    def loss(self):
        return "mean_squared_error" if self.quantiles is None else PinballLoss(self.quantiles)

    def named_losses(self):
        return {
            "huber": lambda target: UnitsLoss(keras.losses.Huber(), self._units()),
            "absolute": lambda target: UnitsLoss("mean_absolute_error", self._units()),
        }

    def choose_loss(self, loss, target=None):
        if loss is not None and self.quantiles is not None:
            raise ValueError(
                f"Quantiles are learnt by the pinball loss. Received: loss={loss!r}. Leave it out, or leave `quantiles` out."
            )
        loss = super().choose_loss(loss, target)
        if loss is None or target is None:
            return loss
        # 1 for who predicts the mean, as squared errors have it: training does not depend on units.
        loss = copy.copy(self.weighed(loss))
        said = np.broadcast_to(self.prior(target.values), target.values.shape)
        start = float(keras.ops.mean(loss.call(*map(keras.ops.convert_to_tensor, (target.values, said))))) / loss.factor
        loss.factor = 1.0 / start if 0 < start < np.inf else loss.factor
        return loss

    def weighed(self, loss):
        if isinstance(loss, ExactLoss):
            return loss
        if self.targets is None and self.quantiles is None and self.scales is None:
            return ExactLoss(loss, self.loss_weight)
        return UnitsLoss(loss, self._units())

    def metrics(self):
        if self.targets is None and self.quantiles is None:
            return [keras.metrics.MeanAbsoluteError(name="mae", dtype="float64")]
        return [KnownAbsoluteError(0 if self.quantiles is None else round(self._middle_place()))]

    # --- predictions

    def _middle_place(self):
        """Where among the quantiles the median stands, as a float."""
        return float(np.interp(0.5, self.quantiles, np.arange(len(self.quantiles))))

    def middle(self, predictions):
        """(rows, K) of predictions: the numbers themselves, or the medians."""
        predictions = np.asarray(predictions, "float64")
        if self.quantiles is None:
            return predictions
        each, place = predictions.reshape(len(predictions), len(self.columns), -1), self._middle_place()
        low, share = int(place), place - int(place)
        return (1 - share) * each[..., low] + share * each[..., min(low + 1, each.shape[-1] - 1)]

    def names(self):
        """Names of the (K · Q) predictions, such as "price" or "price_0.9"."""
        ends = [""] if self.quantiles is None else [f"_{quantile:g}" for quantile in self.quantiles]
        return [f"{column}{end}" for column in self.columns for end in ends]

    def frame(self, predictions, index):
        """Predictions (rows, K · Q) as a DataFrame with the columns of `names`; durations and moments in seconds."""
        import pandas as pd

        return pd.DataFrame(predictions, index=index, columns=self.names())

    def read(self, target):
        """The number of each row, or its duration or moment; of several columns, a list of them, None for a missing one."""
        if self.targets is None:
            return self._decisions(target.values).tolist()
        return [[None if cell != cell else cell for cell in row] for row in self._decisions(target.values)]

    def decide(self, predictions):
        """The predicted number of each row, or its duration or moment; of several columns, a list of them."""
        return self.series(predictions).tolist()

    def series(self, predictions, index=None):
        """What was predicted of each row as a pandas Series: float64, or durations or moments in the target's dtype."""
        return self._decisions(self.middle(predictions), index)

    def _decisions(self, numbers, index=None):
        """(rows, K) as a pandas Series of cells, or of lists of cells."""
        import pandas as pd

        columns = [cell.series(numbers[:, place], index) for place, cell in enumerate(self._cells())]
        if self.targets is None:
            return columns[0]
        rows = [list(row) for row in zip(*(column.tolist() for column in columns), strict=True)]
        return pd.Series(rows, index=index, name=self.column, dtype=object)

    def told(self):
        several = {} if self.names() == [self.column] else {"columns": self.names()}
        return {**super().told(), **several}

    # --- what a number means

    @property
    def _line(self):
        """What `learn_lines` gave, or None."""
        return (self.state or {}).get("calibration")

    @property
    def tuned(self):
        return [] if self._line is None else ["calibration to the means of numbers learnt on another scale"]

    def calibrates(self, aim=None):
        return aim in (None, "r2", "rmse")  # others may aim at the median, which is the same on every scale

    def calibrate(self, target, predictions):
        if self.scales is None or self.quantiles is not None:
            return self
        other = [place for place, scale in enumerate(self.scales) if scale["kind"] != "none"]
        return self.learn(calibration=learn_lines(target.values, predictions, other))

    def calibration(self, name):
        line = self._line
        return (
            None if line is None else keras.layers.Rescaling(line["slope"], line["shift"], name=name, dtype="float64")
        )

    # --- judgement

    def score(self, target, predictions):
        truth, numbers = target.values.astype("float64"), self.middle(predictions)
        return lambda weights: metrics.regressions(truth, numbers, weights)

    def sections(self, target, predictions, pictures=None):
        kinds = [scale["kind"] for scale in self.scales or [{"kind": "none"}] * len(self.columns)]
        sections = [number_section(self.columns, target.values, self.middle(predictions), kinds, line=self._line)]
        if self.quantiles is not None:
            each = np.asarray(predictions).reshape(len(predictions), len(self.columns), -1)
            sections.append(quantile_section(self.columns, self.quantiles, target.values, each))
        return sections

    # --- intervals

    set_unit = "the width of an interval"

    def misfits(self, target, predictions):
        """How far each column's known numbers lie outside what was predicted: the number, or its quantiles (Romano et al., 2019)."""
        low, high = self._ends(np.asarray(predictions, "float64"))
        truth = np.asarray(target.values, "float64")
        outside = np.maximum(low - truth, truth - high)
        return [column[~np.isnan(column)] for column in outside.T]

    def within(self, predictions, bounds):
        """{"_low", "_high": (B, K)} ends of intervals, in the units of the columns."""
        low, high = self._ends(predictions)
        middle, bounds = (low + high) / 2, np.array(bounds)  # where ends meet that come nearer
        return {
            "_low": keras.ops.minimum(low - bounds, middle),
            "_high": keras.ops.maximum(high + bounds, middle),
        }

    def _ends(self, predictions):
        """(B, K) lowest and highest of what is predicted of each column."""
        step = len(self.quantiles or [None])
        return predictions[:, ::step], predictions[:, step - 1 :: step]

    def frame_sets(self, within, index):
        """A DataFrame with two columns for each of the target, "_low" and "_high"; numbers, durations or moments."""
        import pandas as pd

        columns = {}
        for place, cell in enumerate(self._cells()):
            for end, values in within.items():
                columns[f"{cell.name}{end}"] = cell.series(values[:, place], index)
        return pd.DataFrame(columns, index=index)

    def covered(self, target, within):
        truth = np.asarray(target.values, "float64")
        held = (truth >= within["_low"]) & (truth <= within["_high"])
        return np.where(np.isnan(truth), np.nan, held), within["_high"] - within["_low"]

    # --- explanations

    outcomes = property(lambda self: tuple(self.names()))

    def usual_outcomes(self, predictions):
        middle = 0 if self.quantiles is None else round(self._middle_place())
        return np.full(len(predictions), middle)

    # --- simple rivals

    def prior(self, target):
        """(K · Q,) means, or quantiles, of the training rows."""
        if self.quantiles is None:
            return np.nanmean(target, axis=0)
        return np.nanquantile(target, self.quantiles, axis=0).T.ravel()

    def fit_linear(self, terms, target):
        """Ridge regressions, in standard units where there is a transform."""
        if self.scales is not None:
            target = (on_scales(target, self.scales) - np.array(self.mean)) / np.array(self.scale)
        return fit_ridge(terms, target, self.quantiles)

    def link(self, values):
        return values if self.scales is None else np.asarray(self._units()(values))
