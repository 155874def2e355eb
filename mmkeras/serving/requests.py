"""Bodies of requests as the cells of columns."""

import base64
import binascii
import dataclasses
import difflib
import json

from mmkeras.persistence import argument_names
from mmkeras.serving.limits import Limits, Refused
from mmkeras.serving.pictures import pixels_of

EXAMPLE = '{"instances": [{"column": value}]} or {"inputs": {"column": [value]}}'
PLAIN = {str, int, float, bool, type(None)}
SERVE = "serve"


@dataclasses.dataclass(frozen=True)
class Question:
    """What a request asks.

    Attributes:
        cells: {column: list of a cell for each row}, of every column that the model reads; None where one is missing.
        rows: int.
        by_row: whether the answer is wanted row by row.
    """

    cells: dict
    rows: int
    by_row: bool = True


def parsed(body, beside=()):
    """A body of JSON as TensorFlow Serving takes it: {"instances" or "inputs": rows}, and what may stand beside.

    Args:
        body: bytes.
        beside: names of further keys, {name: value} of which each may be left out.

    Raises:
        Refused: it is none.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"The body must be JSON: {EXAMPLE}. Received: {_told(error)}.") from error
    keys = set(content) - set(beside) if isinstance(content, dict) else ()
    if keys not in ({"instances"}, {"inputs"}):
        received = f"the keys {sorted(content)}" if isinstance(content, dict) else _kind(content)
        raise Refused(400, f"The body must be {EXAMPLE}. Received: {received}.")
    return content


def signature_of(content, signatures):
    """The signature that a request names; the main one where it names none.

    Raises:
        Refused: there is no such.
    """
    name = content.get("signature_name")
    name = SERVE if name in (None, "serving_default") else name
    if name not in signatures:
        raise Refused(
            422, f"`signature_name` must be one of {list(signatures)}. Received: {name!r:.100}. Leave it out."
        )
    return name


class Reader:
    """Reads bodies for a model.

    Args:
        columns: {name: Column} of what the model reads.
        limits: `Limits`.

    A column may be called by the name that it has in an exported model, too. One that is left out counts as missing in all rows.
    """

    def __init__(self, columns, limits=None):
        self.columns, self.limits = columns, limits or Limits()
        self._names = {**{name: column for column, name in argument_names(columns).items()}, **{c: c for c in columns}}
        self._only = next(iter(columns)) if len(columns) == 1 else None

    def json(self, content):
        """The `Question` of what `parsed` gave.

        Raises:
            Refused: a column that is not read, a cell that cannot be; more rows or pixels than may be.
        """
        return self._rows(content["instances"]) if "instances" in content else self._lists(content["inputs"])

    def form(self, fields):
        """The `Question` of the fields of a form, each a cell; a name that comes twice has two rows.

        Args:
            fields: sequence of (name, str or bytes).

        Raises:
            Refused: see `json`.
        """
        lists = {}
        for name, cell in fields:
            lists.setdefault(name, []).append(cell)
        if not lists:
            raise Refused(400, "A form must have a field for each cell, named as the column. Received: no field.")
        return dataclasses.replace(self._lists(lists), by_row=True)

    def _rows(self, rows):
        if not isinstance(rows, list):
            raise Refused(422, f"`instances` must be a list of rows. Received: {_kind(rows)}.")
        self._count(len(rows))
        if self._only is not None:
            rows = [{self._only: row} if not isinstance(row, dict) or set(row) == {"b64"} else row for row in rows]
        for number, row in enumerate(rows):
            if not isinstance(row, dict):
                raise Refused(422, f"A row must be {{column: value}}. Received: {_kind(row)} as row {number}.")
            if not row.keys() <= self.columns.keys():
                rows[number] = self._renamed(row)
        return self._question({name: [row.get(name) for row in rows] for name in self.columns}, len(rows), True)

    def _lists(self, lists):
        if self._only is not None and isinstance(lists, list):
            lists = {self._only: lists}
        if not isinstance(lists, dict) or not lists:
            raise Refused(
                422, f"`inputs` must be {{column: list of values}}. Received: {_kind(lists) if lists else lists}."
            )
        lists = self._renamed(lists)
        for name, cells in lists.items():
            if not isinstance(cells, list):
                raise Refused(422, f"`inputs` must hold a list for each column. Received: {_kind(cells)} for {name!r}.")
        counts = {name: len(cells) for name, cells in lists.items()}
        rows = max(counts.values())
        if min(counts.values()) != rows:
            raise Refused(422, f"All columns must have as many values. Received: {counts}.")
        self._count(rows)
        return self._question({name: lists.get(name, [None] * rows) for name in self.columns}, rows, False)

    def _count(self, rows):
        if rows > self.limits.rows:
            raise Refused(413, f"A request may have {self.limits.rows:,} rows. Received: {rows:,}. Send them in parts.")

    def _renamed(self, row):
        """The same values by the names of the columns."""
        renamed = {}
        for name, value in row.items():
            if name not in self._names:
                near = difflib.get_close_matches(name, self._names, n=1, cutoff=0.6)
                hint = f"Did you mean {near[0]!r}?" if near else "Leave it out."
                raise Refused(
                    422, f"The model reads the columns {list(self.columns)}. Received: {name[:100]!r}. {hint}"
                )
            if self._names[name] in renamed:
                raise Refused(422, f"A column must be given once. Received: {self._names[name]!r} by two names.")
            renamed[self._names[name]] = value
        return renamed

    def _question(self, cells, rows, by_row):
        return Question({name: self._cells(name, listed) for name, listed in cells.items()}, rows, by_row)

    def _cells(self, name, cells):
        plain = PLAIN | {list} if self.columns[name].shape else PLAIN
        if self.columns[name].files:
            plain = {str, type(None)} if self.limits.paths else {type(None)}
        if set(map(type, cells)) <= plain:
            return cells
        several = self.columns[name].files and self.columns[name].shape

        def read(cell, row):
            if type(cell) in plain:
                return cell
            if several and type(cell) is list:
                return [read(each, row) if type(each) is not list else self._bytes(each, name, row) for each in cell]
            return self._bytes(cell, name, row)

        return [read(cell, row) for row, cell in enumerate(cells)]

    def _bytes(self, cell, name, row):
        """The bytes that a cell holds which is no plain value."""
        column, where = self.columns[name], f"in row {row}, column {name!r}"
        if column.files and cell == "":
            return None
        if isinstance(cell, dict) and set(cell) == {"b64"} and isinstance(cell["b64"], str):
            try:
                cell = base64.b64decode(cell["b64"], validate=True)
            except (binascii.Error, ValueError) as error:
                raise Refused(422, f"A value of b64 must be Base64. Received: {_told(error)}, {where}.") from error
        if not isinstance(cell, bytes) or column.dtype != "string":
            rule = f"a {column.reads}, or null"
            if column.files:
                rule = f'a {"picture" if column.picture else column.reads} as {{"b64": "…"}}, ' + (
                    "a list of those, or null" if column.shape else "or null"
                )
            raise Refused(422, f"A cell of {name!r} must be {rule}. Received: {_kind(cell)}, {where}.")
        if column.picture and cell:
            pixels = pixels_of(cell)
            if pixels > self.limits.pixels:
                raise Refused(
                    413,
                    f"A picture may have {self.limits.pixels:,} pixels. Received: {pixels:,}, {where}. Scale it down.",
                )
        return cell


def _told(error):
    """What an error says, in a few words."""
    return str(error)[:200].rstrip(".") or type(error).__name__


def _kind(value):
    """What a value is in JSON, and how it begins."""
    names = {dict: "an object", list: "a list", str: "a string", bytes: "a file", bool: "a truth", type(None): "null"}
    shown = "" if value is None or isinstance(value, bytes) else f" ({value!r:.60})"
    return f"{names.get(type(value), 'a number')}{shown}"
