"""Layers that read cells as people write them: numbers, and names of categories."""

import re

import keras
import tensorflow as tf

PACKAGE = "mmkeras"
# Every blank of Unicode, for a character class of Python's and of TensorFlow's regular expressions alike.
BLANKS = "\t\n\v\f\r\x1c-\x20\x85\xa0\u1680\u2000-\u200b\u2028\u2029\u202f\u205f\u2060\u3000\ufeff"
# What stands for "nothing" where a number or a date is asked for.
GAPS = ("na", "n/a", "#n/a", "nan", "nat", "null", "nil", "none", "-", "--", "?", ".")
MULTIPLIERS = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "bn": 1e9}


def read_numbers(texts, decimal=".", unit=""):
    """Numbers as people write them: (B,) strings → (B,) float64, NaN where there is none.

    Blanks around, signs, exponents, separators of thousands ("1,234.50", "1 234,50", "1'234"), one unit before or behind the number
    ("$5", "12 %", '52"', "3.5 ft"), "1.2k", "3M" and "2B", "(5)" for −5, "true" and "false" for 1 and 0.

    Args:
        texts: (B,) strings.
        decimal: "." or ",", what stands before decimals; the other one separates thousands.
        unit: str, the one unit that numbers may have, which is left out.

    Example:
        >>> read_numbers(["$1,234.50", "1.2k", "12 %"], unit="$").numpy().tolist()
        [1234.5, 1200.0, nan]
    """
    text = tf.strings.regex_replace(tf.reshape(texts, [-1]), f"[{BLANKS}]+", " ")
    text = tf.strings.strip(tf.strings.regex_replace(text, "[\u2212\u2013]", "-"))
    negative = tf.strings.regex_full_match(text, r"\(.*\)")
    text = tf.strings.regex_replace(text, r"^\((.*)\)$", r"\1")
    if unit:
        own = re.escape(unit)
        text = tf.strings.regex_replace(text, rf"^([+-]?) ?{own} ?", r"\1")
        text = tf.strings.regex_replace(text, rf" ?{own}$", "")
    factor = tf.ones_like(text, tf.float64)
    for letters, times in MULTIPLIERS.items():
        ends = tf.strings.regex_full_match(text, rf".*[0-9] ?{letters}")
        factor = tf.where(ends, tf.constant(times, tf.float64), factor)
        text = tf.where(ends, tf.strings.regex_replace(text, rf" ?{letters}$", ""), text)
    for pattern, value in (("(?i)true", "1"), ("(?i)false", "0")):
        text = tf.where(tf.strings.regex_full_match(text, pattern), value, text)
    point, thousands = ("[.]", "[, '’]") if decimal == "." else (",", "[. '’]")
    whole = rf"[0-9]+|[0-9]{{1,3}}({thousands}[0-9]{{2,3}})*{thousands}[0-9]{{3}}"
    valid = tf.strings.regex_full_match(
        text, rf"[+-]? ?(({whole})({point}[0-9]*)?|{point}[0-9]+)([eE][+-]?[0-9]{{1,4}})?"
    )
    text = tf.strings.regex_replace(text, thousands, "")
    text = tf.where(valid, tf.strings.regex_replace(text, point, "."), "nan")
    numbers = tf.strings.to_number(text, tf.float64) * factor
    return tf.where(negative, -numbers, numbers)


@keras.saving.register_keras_serializable(PACKAGE)
class ReadNumbers(keras.layers.Layer):
    """Numbers as people write them: (B,) strings → (B,) float64, NaN where there is none.

    Args:
        decimal, unit: see `read_numbers`.

    Example:
        >>> import tensorflow as tf
        >>> import mmkeras as mm
        >>> mm.layers.ReadNumbers(decimal=",")(tf.constant(["1.234,5"])).numpy().tolist()
        [1234.5]
    """

    def __init__(self, decimal=".", unit="", **kwargs):
        super().__init__(dtype="float64", **{k: v for k, v in kwargs.items() if k != "dtype"})
        self.decimal, self.unit = decimal, unit

    def call(self, texts):
        return read_numbers(texts, self.decimal, self.unit)

    def compute_output_spec(self, texts):
        return keras.KerasTensor(texts.shape, "float64")

    def get_config(self):
        return {**super().get_config(), "decimal": self.decimal, "unit": self.unit}


@keras.saving.register_keras_serializable(PACKAGE)
class Replace(keras.layers.Layer):
    """Texts of a list → what stands for them, others as they are: (B,) strings → (B,) strings.

    Args:
        pairs: list of [text, what stands for it].

    Example:
        >>> import tensorflow as tf
        >>> import mmkeras as mm
        >>> mm.layers.Replace([["2 50", "2:50"]])(tf.constant(["2 50", "12 50"])).numpy().tolist()
        [b'2:50', b'12 50']
    """

    def __init__(self, pairs, **kwargs):
        super().__init__(**kwargs)
        self.pairs = [list(pair) for pair in pairs]
        self.supports_jit = False  # strings

    def call(self, texts):
        known, stands = tf.unstack(tf.constant(self.pairs, tf.string, (len(self.pairs), 2)), axis=1)
        same = tf.expand_dims(texts, -1) == known
        replaced = tf.gather(stands, tf.argmax(tf.cast(same, tf.int8), axis=-1))
        return tf.where(tf.reduce_any(same, axis=-1), replaced, texts)

    def compute_output_spec(self, texts):
        return keras.KerasTensor(texts.shape, "string")

    def get_config(self):
        return {**super().get_config(), "pairs": self.pairs}


@keras.saving.register_keras_serializable(PACKAGE)
class Spell(keras.layers.Layer):
    """Names of categories → the one spelling that they were learnt in: (B,) strings → (B,) strings.

    Args:
        rules: list of [pattern, replacement], regular expressions that are applied one after the other.

    Example:
        >>> import tensorflow as tf
        >>> import mmkeras as mm
        >>> mm.layers.Spell([["^ +| +$", ""], ["[.]0$", ""]])(tf.constant(["3.0 ", "3"])).numpy().tolist()
        [b'3', b'3']
    """

    def __init__(self, rules, **kwargs):
        super().__init__(**kwargs)
        self.rules = [list(rule) for rule in rules]
        self.supports_jit = False  # strings

    def call(self, names):
        distinct, places = tf.unique(tf.reshape(names, [-1]))
        for pattern, replacement in self.rules:
            distinct = tf.strings.regex_replace(distinct, pattern, replacement)
        return tf.gather(distinct, places)

    def compute_output_spec(self, names):
        return keras.KerasTensor(names.shape, "string")

    def get_config(self):
        return {**super().get_config(), "rules": self.rules}
