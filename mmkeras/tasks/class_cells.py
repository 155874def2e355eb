"""Names of classes: their order, what is doubtful about them, and the cells of the target that they stand for.

K = classes, R = rows.
"""

import dataclasses
import datetime
import decimal
import re
import warnings

import numpy as np

from mmkeras.data.categories import factorize, inferred

# Names that tables use for "nothing is known".
LIKE_GAPS = {"nan", "none", "na", "n/a", "<na>", "null", "nat"}
SHOWN = 5  # examples in a warning


def natural_order(names):
    """Names sorted as people do: numbers by value and first, then "item 2" before "item 10".

    Example:
        >>> natural_order(["10", "b", "2", "item 10", "item 2"])
        ['2', '10', 'b', 'item 2', 'item 10']
    """

    def key(name):
        if re.fullmatch(r"[+-]?(\d++\.?\d*|\.\d+)(e[+-]?\d{1,3})?", name, re.IGNORECASE | re.ASCII):
            return 0, decimal.Decimal(name), (), name
        pieces = re.split(r"([0-9]+)", name)
        return 1, 0, tuple(_value(piece) if place % 2 else piece for place, piece in enumerate(pieces)), name

    return sorted(names, key=key)


def _value(digits):
    """What orders whole numbers of any length by their value."""
    digits = digits.lstrip("0")
    return len(digits), digits


def warn_of_names(column, counts):
    """Warn of names that differ by case or inner spaces alone, and of those that look like gaps; they stay as they are.

    Args:
        column: str, the target.
        counts: {name: rows}.
    """
    alike = {}
    for name in counts:
        alike.setdefault(" ".join(name.split()).casefold(), []).append(name)
    alike = [name for names in alike.values() if len(names) > 1 for name in names]
    gaps = [name for name in counts if name.lower() in LIKE_GAPS]
    for names, what, fix in (
        (alike, "that differ by case or spaces alone and are learnt as different ones", "Spell them alike"),
        (gaps, "that look like gaps and are learnt as names", "Drop these rows"),
    ):
        if names:
            warnings.warn(
                f"The target {column!r} holds labels {what}: {listed(names, counts)}. {fix}, unless they are meant.",
                stacklevel=4,
            )


def listed(names, counts):
    """Some names with their rows, for a sentence."""
    shown = ", ".join(f"{name!r} ({counts[name]} rows)" for name in names[:SHOWN])
    return shown + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


@dataclasses.dataclass(frozen=True)
class ClassValues:
    """The cells that classes stand for, in the target's own dtype, kept as plain JSON values.

    Args:
        cells: (K,) plain values, see `plain`.
        dtype: name of the pandas dtype; of a categorical {"categories", "dtype", "ordered"}.

    Example:
        >>> import pandas as pd
        >>> values = ClassValues.of(pd.Series([10, 2, 2], dtype="int16"), ["10", "2", "2"], ["2", "10"])
        >>> values.series([1, 0]).tolist(), values.series([1, 0]).dtype
        ([10, 2], dtype('int16'))
    """

    cells: list
    dtype: object

    @classmethod
    def of(cls, series, names, classes):
        """The cells of a column by the names that they are read as.

        Args:
            series: pandas Series, (R,).
            names: (R,) str.
            classes: (K,) names; one that no cell has is made a value as far as the dtype allows.
        """
        import pandas as pd

        cells = _usual_cells(series, names)
        kind = _kind(series, inferred(pd.Series(list(cells.values()), dtype=object)))
        if isinstance(series.dtype, pd.CategoricalDtype):
            cells = {**{str(category): category for category in series.cat.categories}, **cells}
        values = [cells[name] if name in cells else _made(name, kind) for name in classes]
        return cls([plain(value) for value in values], _described(series.dtype))

    def series(self, numbers, index=None, name=None):
        """Cells of class numbers (R,) as a pandas Series of the target's dtype."""
        import pandas as pd

        table = _array([unplain(cell) for cell in self.cells], self.dtype)
        return pd.Series(table.take(np.asarray(numbers, int)), index=index, name=name, dtype=table.dtype)

    def columns(self):
        """pandas Index of the classes' cells."""
        import pandas as pd

        values = [unplain(cell) for cell in self.cells]
        index = pd.Index(values)
        return (
            index if index.dtype.kind in "iufbM" or index.inferred_type == "string" else pd.Index(values, dtype=object)
        )

    def told(self):
        """The cells as JSON's own values: numbers, truths, and strings for everything else."""
        return [cell if not isinstance(cell, dict) else str(unplain(cell)) for cell in self.cells]


def _usual_cells(series, names):
    """{name: the cell that most often stands for it}."""
    _, first, counts = np.unique(factorize(series)[0], return_index=True, return_counts=True)
    cells = {}
    for row in first[np.lexsort((first, -counts))]:
        cells.setdefault(names[row], series.iloc[row])
    return cells


def _kind(*holders):
    """NumPy's letter for the first dtype, of what has one, that is no object's."""
    letters = (getattr(holder.dtype, "kind", "O") for holder in holders)
    return next((letter for letter in letters if letter != "O"), "O")


def _made(name, kind):
    """A value of a name that no cell has."""
    import pandas as pd

    make = {
        "b": lambda text: text in ("True", "1"),
        "i": int,
        "u": int,
        "f": float,
        "M": pd.Timestamp,
        "m": pd.Timedelta,
    }
    try:
        return make.get(kind, str)(name)
    except ValueError:
        return name


def _described(dtype):
    """A dtype as a plain value."""
    import pandas as pd

    if not isinstance(dtype, pd.CategoricalDtype):
        return str(dtype)
    categories = dtype.categories
    return {
        "categories": [plain(value) for value in categories.to_numpy(dtype=object)],
        "dtype": _described(categories.dtype),
        "ordered": bool(dtype.ordered),
    }


def _array(values, dtype):
    """pandas array of values of a described dtype; of objects where they do not fit."""
    import pandas as pd

    try:
        if isinstance(dtype, dict):
            categories = pd.Index(_array([unplain(cell) for cell in dtype["categories"]], dtype["dtype"]))
            return pd.Categorical(values, categories, ordered=dtype["ordered"])
        resolved = pd.api.types.pandas_dtype(dtype)
        if isinstance(resolved, pd.DatetimeTZDtype):  # cells of summer and winter differ in their offset
            return pd.to_datetime(values, utc=True).tz_convert(resolved.tz).as_unit(resolved.unit).array
        array = pd.Series(values, dtype=resolved).array
        kept = all(a == b for a, b in zip(array, values, strict=True))
    except (TypeError, ValueError, NotImplementedError, OverflowError):
        kept = False
    if kept:
        return array
    objects = np.empty(len(values), dtype=object)
    objects[:] = values
    return pd.Series(objects, dtype=object).array


def plain(value):
    """A cell as a JSON value: itself, or {kind: text} for what JSON lacks."""
    import pandas as pd

    value = value.item() if isinstance(value, np.bool_ | np.integer | np.floating | np.str_) else value
    if isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, pd.Interval):
        return {"interval": [plain(value.left), plain(value.right), value.closed]}
    if isinstance(value, pd.Period):
        return {"period": [str(value), value.freqstr]}
    if isinstance(value, np.datetime64 | datetime.datetime):
        return {"moment": pd.Timestamp(value).isoformat()}
    if isinstance(value, np.timedelta64 | datetime.timedelta):
        return {"duration": pd.Timedelta(value).isoformat()}
    if isinstance(value, tuple):
        return {"tuple": [plain(item) for item in value]}
    for kind, cls in (("date", datetime.date), ("time", datetime.time)):
        if isinstance(value, cls):
            return {kind: value.isoformat()}
    if isinstance(value, decimal.Decimal):
        return {"decimal": str(value)}
    return {"bytes": value.decode("latin-1")} if isinstance(value, bytes) else str(value)


def unplain(cell):
    """The cell that `plain` gave."""
    import pandas as pd

    if not isinstance(cell, dict):
        return cell
    ((kind, text),) = cell.items()
    if kind == "interval":
        return pd.Interval(unplain(text[0]), unplain(text[1]), text[2])
    if kind == "period":
        return pd.Period(text[0], text[1])
    if kind == "tuple":
        return tuple(unplain(item) for item in text)
    makers = {
        "moment": pd.Timestamp, "duration": pd.Timedelta, "decimal": decimal.Decimal,
        "date": datetime.date.fromisoformat, "time": datetime.time.fromisoformat,
        "bytes": lambda text: text.encode("latin-1"),
    }  # fmt: skip
    return makers[kind](text)
