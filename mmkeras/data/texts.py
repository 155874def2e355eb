"""Texts: cells of any dtype as strings."""

import numpy as np
import pandas as pd

from mmkeras.data.column import Claim, Column
from mmkeras.data.drift import LEAST, MUCH, Drift, exceeds, script_of, scripts_of
from mmkeras.data.examples import sentences
from mmkeras.data.telling import shortened, tell
from mmkeras.layers.scripts import valid

FEW = 20  # texts that are surely a list of names
ONE_WORD = 1.2  # words on average
LARGEST_WHOLE = 2**53  # beyond it, floats skip whole numbers


class TextColumn(Column):
    """Texts, as str; '' for a missing one. See `texts`."""

    reads = "text"
    words = True
    reads_text = True

    def values(self, series):
        return texts(series)

    def claim(self, sample):
        if sample.lists is not None:
            return _claim_on_lists(sample)
        if sample.texts is None or sample.share(lambda text: any(map(str.isalpha, text))) < 0.5:
            return None
        words, strength = sample.words, _strength(sample)
        if sample.share(lambda text: text[:1] in "[{" and text[-1:] in "]}") > 0.9:
            return Claim(0.85, "lists that are written as text, read as words", self.reads, settings=_length(sample))
        if len(sample.distinct) > FEW and sample.share(lambda text: "|" in text or ";" in text) > 0.3:
            return Claim(
                0.8, "lists of names with signs between them, read as words", self.reads, settings=_length(sample)
            )
        if strength == 0:
            return None
        kind = "names" if words < 4 else "sentences" if words < 40 else "texts"
        recur = "hardly any twice" if sample.unique else f"each {sample.repeated:,.1f} times on average"
        why = f"{kind} of {words:.1f} words on average, {recur}"
        return Claim(strength, why, self.reads, settings=_length(sample))

    @property
    def held(self):
        scripts = (self.usual or {}).get("scripts", {})
        total = sum(scripts.values())
        return (
            "texts in the scripts " + ", ".join(f"{n} ({c / total:.0%})" for n, c in scripts.items()) if total else ""
        )

    def summary(self, known):
        return {"scripts": scripts_of(known)}

    def differs(self, known):
        usual = self.usual["scripts"]
        total = sum(usual.values())
        rare = {name: count for name, count in usual.items() if count < LEAST * total}
        scripts = [script_of(text) for text in known]
        written = sum(script != "" for script in scripts)
        strange = [place for place, script in enumerate(scripts) if script and usual.get(script, 0) < LEAST * total]
        if not total or not written:
            return Drift()
        share = len(strange) / written
        if not exceeds(len(strange), written, sum(rare.values()), total):
            return Drift(share)
        names, text = sorted({scripts[place] for place in strange}), known[strange[0]]
        told = (
            f"{len(strange):,} of {written:,} texts are in scripts that fewer than {LEAST:.0%} of the training texts have: "
            f"{', '.join(names[:5])} (for example {shortened(text, 40)})"
        )
        return Drift(share, findings=((told, share >= MUCH),))

    def lengths(self, values):
        return np.array([len(value) for value in values])

    def examples(self):
        return sentences()


def _strength(sample):
    """Of a claim on cells of text, by their words and by how often they recur."""
    words, few = sample.words, len(sample.distinct) <= FEW
    if words <= ONE_WORD or (words <= 3 and sample.share(lambda text: text[:1].isdigit()) > 0.5):
        return 0.4 if sample.repeated < 2 else 0
    if sample.repeated < 2:
        return (0.9 if words >= 4 else 0.75) - (0 if sample.unique else 0.05)
    return 0.65 if words >= 2 and not few else 0


def _length(sample):
    """The setting of how many words are read: a power of two that nearly no text exceeds."""
    return {"sequence_length": int(2 ** np.clip(np.ceil(np.log2(sample.most_words + 1)), 4, 9))}


def _claim_on_lists(sample):
    """Claim on cells that hold others: names are words; of numbers and alike nobody reads anything."""
    entries = [entry for cell in sample.lists for entry in (cell if isinstance(cell, dict) else list(cell))][:1000]
    if not entries or not any(isinstance(entry, str | bytes | dict) for entry in entries):
        return None
    return Claim(0.85, "lists of names, read as words", "text", settings={"sequence_length": 64})


def texts(series):
    """A column as a NumPy array of str: equal values are equal texts in any dtype, and missing ones are ''.

    Bytes are read as UTF-8. A whole number is written without decimals, as 3 for 3.0: a gap makes floats of a column of integers.
    Everything else is its `str`. What is no Unicode becomes U+FFFD, with a warning.

    Args:
        series: pandas Series of any dtype.

    Example:
        >>> import pandas as pd
        >>> texts(pd.Series(["a", b"caf\\xc3\\xa9", 3.0, None], dtype=object)).tolist()
        ['a', 'café', '3', '']
    """
    if isinstance(series.dtype, pd.CategoricalDtype):
        names = texts(pd.Series(series.cat.categories, name=series.name))
        return np.append(names, np.array([""], dtype=object))[series.cat.codes]
    cells, missing = series.to_numpy(dtype=object), series.isna().to_numpy(dtype=bool)
    values = np.empty(len(cells), dtype=object)
    values[:] = ["" if gone else _text(cell) for cell, gone in zip(cells, missing, strict=True)]
    _tell(cells, values, series.name)
    return values


def _text(cell):
    if type(cell) is str:
        return cell if cell.isascii() else valid(cell)
    if isinstance(cell, bytes | bytearray | memoryview):
        return bytes(cell).decode("utf-8", "replace")
    if isinstance(cell, float | np.floating) and abs(cell) < LARGEST_WHOLE and cell == int(cell):
        return str(int(cell))
    if isinstance(cell, np.datetime64):
        return str(pd.Timestamp(cell))
    return valid(str(cell))


def _tell(cells, values, name):
    """Warn of cells in which something had to be replaced."""
    wrong = [place for place, text in enumerate(values) if "\ufffd" in text and _is_broken(cells[place])]
    if wrong:
        tell(
            f"Column {name!r}: {len(wrong)} values are not valid Unicode (for example {cells[wrong[0]]!r:.200}); U+FFFD stands for "
            "what cannot be read. Decode bytes of other encodings first, for example with .str.decode('latin-1').",
            stacklevel=4,
        )


def _is_broken(cell):
    """Whether U+FFFD was put in for something, rather than being there before."""
    if isinstance(cell, bytes | bytearray | memoryview):
        return "\ufffd".encode() not in bytes(cell)
    return "\ufffd" not in str(cell)
