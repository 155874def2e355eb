"""Checks of how a modality reads cells: in every dtype, by a DataFrame and by a served model alike."""

import contextlib
import warnings

import numpy as np

from mmkeras.data.columns import Column, columns_of, raw_values
from mmkeras.graph import compiled
from mmkeras.modalities.base import Modality, adapt
from mmkeras.registry import describe, rebuild
from mmkeras.testing.must import must, must_equal
from mmkeras.trunk.stages import build_prepare


def check_columns(modalities, df):
    """Check that cells mean the same to modalities whatever they come in.

    For each column: what `predict` reads of a DataFrame equals what a served model makes of the same cells as people write them;
    every dtype that holds the same values gives the same tensors; a row alone is read as among others; and what the column learnt of
    the training cells is plain enough to be saved.

    Args:
        modalities: a modality, or a list of those of one model, not adapted; columns of files are left out.
        df: DataFrame of at least two rows that it can read.

    Raises:
        AssertionError: it does not; the message says where.

    Example:
        >>> import mmkeras as mm
        >>> mm.testing.check_columns(mm.Tabular(numeric="runtime", datetime="release_date"), mm.samples.movies(30, seed=0))
    """
    modalities = [modalities] if issubclass(type(modalities), Modality) else modalities
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = [adapt(modality, df) for modality in modalities]
    prepare = compiled(build_prepare(adapted))

    def tensors(**cells):
        return prepare(raw_values(df.assign(**cells), adapted))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of cells that cannot be read, which every way must agree on
        whole = tensors()
        written = prepare(as_written(df, adapted))
        _must_be_alike(written, whole, "A served model must read the cells of a DataFrame as `predict` does.")
        for row in (0, len(df) - 1):
            alone = prepare(raw_values(df.iloc[[row]], adapted))
            own = {key: values[[row]] for key, values in _arrays(whole).items()}
            _must_be_alike(alone, own, "A row alone must be read as among others.")
        ways = {}
        for name, column in [item for modality in adapted for item in modality.readers.items()]:
            ways.setdefault(name, set()).add(column.reads)
        for name, column in [item for modality in adapted for item in modality.readers.items()]:
            what = f"Column {name!r}, read as {column.reads},"
            must(rebuild(Column, describe(column)) == column, f"{what} must be made anew from its settings.")
            if column.files:
                continue
            for dtype, cells in variants(df[name], ways[name]).items():
                _must_be_alike(
                    tensors(**{name: cells}), whole, f"{what} must be read from {dtype} as from {df[name].dtype}."
                )
            tensors(**{name: [None] * len(df)})


def as_written(df, modalities):
    """{column: raw values} as a client of a served model may write the cells of a DataFrame: strings are left as they are."""
    raw = raw_values(df, modalities)
    for name, column in columns_of(modalities).items():
        if raw[name].dtype == object and not column.files:
            missing = df[name].isna().to_numpy(dtype=bool)
            cells = df[name].to_numpy(dtype=object)
            raw[name] = np.array(
                [cell if isinstance(cell, str) else "" if gone else value
                 for cell, gone, value in zip(cells, missing, raw[name], strict=True)], dtype=object,
            )  # fmt: skip
    return raw


def variants(series, ways):
    """{dtype: the same cells in it}, as far as it can hold them; as text only where no way of reading sees how it is written."""
    found = {"object": series.astype(object), "nullable": series.convert_dtypes()}
    with contextlib.suppress(TypeError):  # lists have no hash
        found["category"] = series.astype("category")
    with contextlib.suppress(ImportError):
        found["arrow"] = series.convert_dtypes(dtype_backend="pyarrow")
    kind = getattr(series.dtype, "kind", "O")
    if kind in "iuf" and ways <= {"number", "category"}:
        found["text of numbers"] = _mapped(series, str)
        if (series.dropna() % 1 == 0).all() and series.abs().max() < 2**53:
            found["Int64"] = series.astype("Int64")
            found["text of whole numbers"] = _mapped(series, lambda cell: f"{int(cell)}")
            found["text of numbers that end in .0"] = _mapped(series, lambda cell: f"{int(cell)}.0")
    if kind == "M" and ways <= {"number", "date"} and series.dt.tz is None:
        found["moments in UTC"] = series.dt.tz_localize("UTC")
        found["moments elsewhere"] = series.dt.tz_localize("UTC").dt.tz_convert("Asia/Kolkata")
    if kind == "M" and ways == {"date"}:
        found["text of moments"] = _mapped(series, lambda cell: cell.isoformat())
        found["text of moments elsewhere"] = _mapped(
            found.get("moments elsewhere", series), lambda cell: cell.isoformat()
        )
    return found


def _mapped(series, function):
    return series.map(function, na_action="ignore").astype(object)


def _arrays(tensors):
    return {key: np.asarray(values) for key, values in tensors.items()}


def _must_be_alike(tensors, others, message):
    tensors, others = _arrays(tensors), _arrays(others)
    for key, values in others.items():
        own = tensors[key]
        if own.ndim == values.ndim >= 2 and own.shape != values.shape:  # sequences, padded to the longest of other rows
            longest = max(own.shape[1], values.shape[1])
            own, values = (
                np.pad(x, [(0, 0), (0, longest - x.shape[1]), *[(0, 0)] * (x.ndim - 2)]) for x in (own, values)
            )
        must_equal(own, values, f"{message} Differs: {key!r}.")
