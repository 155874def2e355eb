"""Texts of every script in a form in which equal words are equal strings: case, accents, entities, invisible marks, blanks.

All of it runs in the graph, with plain operations of TensorFlow, so that a served model reads texts as training did.
"""

import functools
import re
import unicodedata

import keras
import numpy as np
import tensorflow as tf

from mmkeras.layers.once import traced_once

PACKAGE = "mmkeras"
# A text is read up to so many characters, and to so many for each word that is wanted.
FEWEST_CHARACTERS, CHARACTERS_OF_A_WORD = 10_000, 100
# Scripts that put no blanks between words, as ranges for a character class of Python's and of TensorFlow's regular expressions:
# Thai, Lao, Myanmar, Khmer, the Tai scripts, Javanese, Balinese, kana, Bopomofo and Han.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u1b00-\u1b7f\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029"
    "\u3038-\u303b\u3041-\u30ff\u3105-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua980-\ua9ff\uaa60-\uaadf"
    "\uf900-\ufaff\uff66-\uff9d\U0001aff0-\U0001b16f\U00020000-\U0003ffff"
)
EMOJI, SKIN = "\u2300-\u23ff\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff", "\U0001f3fb-\U0001f3ff"
# Soft hyphens, joiners, marks of direction, selectors of a glyph's form, tags: nothing that is seen.
INVISIBLE = (
    "\u00ad\u034f\u061c\u180b-\u180f\u200c-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\U000e0000-\U000e0fff"
)
APOSTROPHES = "\u02bc\u05f3\u05f4\u2018\u2019\u201b\uff07"
# Latin, Greek and Cyrillic accents, Hebrew points, Arabic vowels: what many leave out.
ACCENTS = "\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u064b-\u065f\u0670"
ENTITIES = {
    "&lt;": "<", "&gt;": ">", "&quot;": '"', "&(?:apos|[lr]squo);": "'", "&nbsp;": " ",
    "&(?:[lr]dquo|[lr]aquo|[mn]dash|hellip|bull|middot);": " ",
}  # fmt: skip
NUMBER = "[0-9]{1,7}|[xX][0-9a-fA-F]{1,6}"  # of an entity
# Noncharacters, which no text holds: they end a text, and a piece of one, where several are handled as one.
END, CUT, NONE = "\ufdd0", "\ufdd1", -1
# What browsers make of the numbers 128 to 159, which many programs on Windows write.
WINDOWS = [ord(c) for c in bytes(range(128, 160)).decode("cp1252", "replace")]
FREQUENT = {"ß": "ss", "ς": "σ"}  # what whole languages would need `compose` for
IOTA_BELOW, IOTA = 0x345, 0x3B9
HANGUL = range(0xAC00, 0xD7A4)


def valid(text):
    """A str without lone surrogates, which no tensor can hold: pairs become their character, others U+FFFD.

    Example:
        >>> valid("a\\ud83d\\ude00\\ud800")
        'a😀�'
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def beginning(texts, words):
    """The characters among which `words` words are looked for: the first 10,000, or 100 for each word where that is more.

    Args:
        texts: (B,) strings.
        words: int.

    Example:
        >>> tf.strings.length(beginning(tf.constant(["a " * 1_000_000]), 8)).numpy().tolist()
        [10000]
    """
    most = max(FEWEST_CHARACTERS, CHARACTERS_OF_A_WORD * words)

    def cut(long):
        return tf.strings.substr(tf.strings.substr(long, 0, 4 * most), 0, most, unit="UTF8_CHAR")

    return _where(tf.strings.length(texts) > most, texts, cut)


def plain_text(texts):
    """Texts in a form in which words that people take for equal are equal, and stand between blanks: (B,) → (B,) strings.

    Lower case of every script, composed letters (NFC), "ß" as "ss", wide Latin letters as plain ones; invisible marks left out,
    HTML entities as their signs, curly apostrophes as "'". Punctuation beyond ASCII separates words; ASCII's is left as it is.
    Each character of a script without blanks, such as Chinese, Japanese or Thai, is a word, and so is each emoji.

    Args:
        texts: (B,) strings.

    Example:
        >>> [text.decode().split() for text in plain_text(tf.constant(["It\u2019s R&amp;B\u2014ЖИЗНЬ", "好电影!"])).numpy()]
        [["it's", 'r&b', 'жизнь'], ['好', '电', '影', '!']]
    """
    return _by_word(tf.strings.lower(tf.convert_to_tensor(texts, tf.string)), _plain)


def first_words(texts, most):
    """The first words of texts in the form of `plain_text`, with a blank between them: (B,) → (B,) strings.

    Args:
        texts: (B,) strings.
        most: int, the number of words.

    Example:
        >>> first_words(tf.constant(["ДА — да, нет", "一二三"]), 2).numpy()[1].decode()
        '一 二'
    """

    def cut(long):
        words, places = _words(long)
        kept = tf.where(places[:, 1] < most)
        return _joined(tf.gather_nd(words, kept), tf.gather(places, tf.reshape(kept, [-1])), long)

    joined = _by_word(tf.strings.lower(beginning(texts, most)), _plain)
    # A word and a blank have two characters or more: what is shorter has not too many.
    return _where(tf.strings.length(joined) >= 2 * most, joined, cut)


def letters(texts):
    """Texts in lower case, with composed letters (NFC), entities read and invisible marks left out: (B,) → (B,) strings.

    Args:
        texts: (B,) strings.

    Example:
        >>> letters(tf.constant(["CAFE\u0301 &#39;Straße&#x27;"])).numpy()[0].decode()
        "café 'straße'"
    """

    return _by_word(tf.strings.lower(texts), _letters)


def spaced(texts):
    """Blanks around every character of scripts without blanks, with its marks, and around emoji: (B,) → (B,) strings.

    Args:
        texts: (B,) strings.

    Example:
        >>> spaced(tf.constant(["ดีมาก ok👍"])).numpy()[0].decode().split()
        ['ดี', 'ม', 'า', 'ก', 'ok', '👍']
    """
    return tf.strings.regex_replace(texts, rf"[{UNSPACED}]\p{{M}}*|[{EMOJI}][{SKIN}]?", r" \0 ")


def holds_unspaced(word):
    """Whether a str holds a character of a script without blanks.

    Example:
        >>> holds_unspaced("电影"), holds_unspaced("film")
        (True, False)
    """
    return bool(re.search(f"[{UNSPACED}]", word))


def unspaced(word):
    """Whether a str is one character of a script without blanks, with its marks: a word, as `spaced` parts them.

    Example:
        >>> unspaced("影"), unspaced("电影"), unspaced("film")
        (True, False, False)
    """
    return holds_unspaced(word[:1]) and all(unicodedata.category(mark)[0] == "M" for mark in word[1:])


@keras.saving.register_keras_serializable(PACKAGE)
class SpaceCharacters(keras.layers.Layer):
    """Texts for a tokenizer that splits at blanks: (B,) strings → (B,) strings.

    Characters of scripts without blanks stand apart, accents of Latin, Greek and Cyrillic letters, Hebrew points and Arabic vowels
    are left out, HTML entities are read, and marks that nobody sees are gone. ASCII texts without entities stay as they are.

    Args:
        max_words: int, the words that are read of a text: of one of megabytes only the beginning is left, see `beginning`.

    Example:
        >>> import tensorflow as tf
        >>> import mmkeras as mm
        >>> mm.layers.SpaceCharacters()(tf.constant(["Ein Café 東京"])).numpy()[0].decode().split()
        ['Ein', 'Cafe', '東', '京']
    """

    def __init__(self, max_words=512, **kwargs):
        super().__init__(**kwargs)
        self.max_words = max_words
        self.supports_jit = False  # strings

    def call(self, texts):
        return _by_word(beginning(texts, self.max_words), _bare)

    def compute_output_spec(self, texts):
        return keras.KerasTensor(texts.shape, "string")

    def get_config(self):
        return {**super().get_config(), "max_words": self.max_words}


# === Texts that need it ===


@traced_once
def _letters(texts):
    return compose(tf.strings.lower(_clean(texts), encoding="utf-8"))


@traced_once
def _bare(texts):
    return spaced(compose(_clean(texts), "bare"))


@traced_once
def _plain(texts):
    text = tf.strings.lower(_clean(texts), encoding="utf-8")
    for letter, equal in FREQUENT.items():
        text = tf.strings.regex_replace(text, letter, equal)
    text = tf.strings.regex_replace(compose(text, "fold"), f"[{APOSTROPHES}]", "'")
    return spaced(tf.strings.regex_replace(text, f"[{separators()}]+", " "))


def _words(texts):
    """(N,) what stands between blanks in all texts, and (N, 2) of which text each is, and its number there."""
    split = tf.raw_ops.StringSplitV2(input=texts, sep="")
    return split.values, split.indices


def _joined(words, places, texts):
    """What `_words` gave, with a blank between words: as many as `texts`."""
    return tf.strings.unsorted_segment_join(words, places[:, 0], tf.size(texts), separator=" ")


def _where(rows, texts, change):
    """Texts with `change` applied to those of the rows that a mask names, if there are any."""
    return tf.cond(tf.reduce_any(rows), lambda: _at(rows, texts, change), lambda: texts)


def _at(rows, texts, change):
    places = tf.where(rows)
    return tf.tensor_scatter_nd_update(texts, places, change(tf.gather_nd(texts, places)))


def _by_word(texts, change):
    """Texts with `change` applied to the words that hold more than ASCII; most words of most texts need nothing."""

    def changed(some):
        words, places = _words(some)
        return _joined(_at(_beyond_ascii(words), words, change), places, some)

    return _where(_beyond_ascii(texts), texts, changed)


def _one(texts):
    """Several texts as one, each with an end."""
    texts = tf.strings.regex_replace(texts, f"[{END}{CUT}]", "\ufffd")
    return tf.strings.reduce_join(tf.strings.join([texts, END]))


def _split(text, mark):
    """The texts that `_one` joined, or the pieces of them."""
    pieces = tf.raw_ops.StringSplitV2(input=tf.expand_dims(text, 0), sep=mark).values
    return pieces[:-1] if mark == END else pieces


def _holds(texts, pattern):
    return tf.strings.regex_full_match(texts, rf"\C*(?:{pattern})\C*")  # \C is any byte


def _beyond_ascii(texts):
    """Whether a text holds more than ASCII, or an "&", which may begin an entity."""
    return ~tf.strings.regex_full_match(texts, r"[\x00-\x25\x27-\x7f]*")


# === Entities and invisible marks ===


def _clean(texts):
    texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8")  # what is no UTF-8 becomes U+FFFD
    texts = _where(_holds(texts, "&#"), texts, _without_numbers)
    for pattern, sign in ENTITIES.items():
        texts = tf.strings.regex_replace(texts, pattern, sign)
    texts = tf.strings.regex_replace(texts, "&amp;", "&")  # last: "&amp;lt;" is what stands for "&lt;"
    return tf.strings.regex_replace(tf.strings.regex_replace(texts, "\u200b", " "), f"[{INVISIBLE}]+", "")


def _without_numbers(texts):
    """Entities of numbers as their characters: "&#233;" and "&#xe9;" are "é"."""
    marked = tf.strings.regex_replace(_one(texts), f"(&#(?:{NUMBER}));", f"{CUT}\\1{CUT}")
    pieces = _split(marked, CUT)
    pieces = _at(tf.strings.regex_full_match(pieces, f"&#(?:{NUMBER})"), pieces, _characters_of)
    return _split(tf.strings.reduce_join(pieces), END)


def _characters_of(entities):
    """(N,) entities such as "&#233" and "&#xe9" → (N,) characters."""
    base = tf.where(tf.strings.regex_full_match(entities, "..[xX].*"), 16, 10)
    digits = tf.strings.regex_replace(tf.strings.lower(entities), "&#x?", "000000")
    digits = tf.strings.substr(digits, -7, 7)
    signs = tf.cast(tf.io.decode_raw(digits, tf.uint8, fixed_length=7), tf.int32)  # (N, 7)
    values = tf.where(signs > ord("9"), signs - ord("a") + 10, signs - ord("0"))
    codes = tf.reduce_sum(values * base[:, None] ** tf.range(6, -1, -1), axis=1)
    windows = tf.gather(tf.constant(WINDOWS), tf.clip_by_value(codes - 128, 0, 31))
    codes = tf.where((codes >= 128) & (codes < 160), windows, codes)
    codes = tf.where((codes == 0) | (codes == ord(END)) | (codes == ord(CUT)), 0xFFFD, codes)
    return tf.strings.unicode_encode(codes[:, None], "UTF-8")


# === Composition ===


def compose(texts, form=""):
    """Letters and their marks as one character where there is one, Unicode's NFC: (B,) → (B,) strings.

    Args:
        texts: (B,) strings of UTF-8.
        form: "" for that alone, and wide Latin letters and narrow kana as usual ones; "fold" for texts in lower case, to make
            letters equal that differ by case in some words alone, as "ß" and "ss"; "bare" to leave accents out.

    Example:
        >>> [text.decode() for text in compose(tf.constant(["e\u0301", "\u1112\u1161\u11ab", "ＡＢ"])).numpy()]
        ['é', '한', 'AB']
    """
    return _where(_holds(texts, needs(form)), texts, lambda some: _composed(some, form))


def _composed(texts, form):
    codes = tf.strings.unicode_decode(_one(texts), "UTF-8")  # (N,)
    keys, table = decompositions(form)
    place, known = _find(keys, codes)
    # Of each code the parts, or itself, in a row that is filled up with `NONE`.
    itself = tf.where(known, tf.gather(tf.constant(table[:, 0]), place), codes)
    others = tf.where(tf.expand_dims(known, 1), tf.gather(tf.constant(table[:, 1:]), place), NONE)
    codes = _without_none(tf.reshape(tf.concat([tf.expand_dims(itself, 1), others], 1), [-1]))
    classes = _classes(codes)
    # Marks of one letter by their classes; of one class, as they come.
    letter = tf.cumsum(tf.cast(classes == 0, tf.int64))
    order = tf.math.top_k(-256 * letter - tf.cast(classes, tf.int64), tf.size(codes)).indices  # equals as they come
    codes = tf.gather(codes, order)
    if form == "fold":
        codes = tf.where(codes == IOTA_BELOW, IOTA, codes)
    if form == "bare":
        codes = _without_none(tf.where(_find(codes_of(ACCENTS), codes)[1], NONE, codes))
    shapes = (tf.TensorShape([None]), tf.TensorShape([]))
    codes, _ = tf.while_loop(lambda codes, more: more, _compose_once, (codes, tf.constant(True)), shapes)
    return _split(tf.strings.unicode_encode(codes, "UTF-8"), END)


def _without_none(codes):
    return tf.gather_nd(codes, tf.where(codes != NONE))


def _find(keys, codes):
    """(where each code stands in sorted `keys`, whether it does)."""
    place = tf.searchsorted(tf.constant(keys[:-1]), codes)
    return place, tf.gather(tf.constant(keys), place) == codes


def _classes(codes):
    """Combining classes: 0 for letters, and for each mark a number by where it is put."""
    keys, values = combining_classes()
    place, known = _find(keys, codes)
    return tf.where(known, tf.gather(tf.constant(values), place), 0)


def _compose_once(codes, more):
    """One step for all letters at once: each takes up the first mark that makes another letter of it."""
    del more
    keys, values = compositions()
    classes = _classes(codes)
    letters_before = tf.cumsum(tf.cast(classes == 0, tf.int32), exclusive=True)
    starts = tf.cast(tf.reshape(tf.where(classes == 0), [-1]), tf.int32)
    # (N,) where the last letter before each code stands; the first code has none, and is an end of a text at least.
    letter = tf.gather(starts, tf.maximum(letters_before - 1, 0))
    # A mark is out of reach behind another one of its class, and a letter behind any mark.
    reached = (tf.range(tf.size(codes)) - letter == 1) | (tf.roll(classes, 1, 0) < classes)
    pair = tf.cast(tf.gather(codes, letter), tf.int64) * 2**21 + tf.cast(codes, tf.int64)
    place, known = _find(keys, pair)
    taken = tf.where(known & reached & (letters_before > 0))  # (M, 1)
    letters_of, _, count = tf.unique_with_counts(tf.gather_nd(letter, taken))
    first = tf.gather(taken, tf.cumsum(count, exclusive=True))
    made = tf.gather(tf.constant(values), tf.gather_nd(place, first))
    codes = tf.tensor_scatter_nd_update(codes, tf.expand_dims(letters_of, 1), made)
    codes = tf.tensor_scatter_nd_update(codes, first, tf.fill(tf.shape(letters_of), NONE))
    return _without_none(codes), tf.size(first) > 0


# === What Unicode says of characters ===


def _characters():
    """Every character that can have a property asked for below, except Hangul syllables."""
    return map(
        chr,
        [*range(0x80, HANGUL.start), *range(HANGUL.stop, 0xD800), *range(0xE000, 0x20000), *range(0x2F800, 0x2FA20)],
    )


@functools.cache
def _changing():
    """Those of them that have to do with composition, case, or width."""
    return [c for c in _characters() if unicodedata.decomposition(c) or unicodedata.combining(c) or c.casefold() != c]


def _class(codes):
    """Code points as ranges for a character class."""
    codes = sorted(codes)
    cuts = [place for place in range(1, len(codes)) if codes[place] != codes[place - 1] + 1]
    runs = zip([0, *cuts], [*cuts, len(codes)], strict=True)
    return "".join(f"{chr(codes[start])}-{chr(codes[end - 1])}" for start, end in runs)


def codes_of(ranges):
    """(N,) sorted int32 code points of the ranges of a character class."""
    runs = re.findall("(.)(?:-(.))?", ranges)
    codes = [code for first, last in runs for code in range(ord(first), ord(last or first) + 1)]
    return np.array(sorted(codes), "int32")


@functools.cache
def separators():
    """Punctuation, blanks and controls beyond ASCII, apart from apostrophes, as ranges."""
    parting = (ord(c) for c in _characters() if unicodedata.category(c)[0] in "PZ" or unicodedata.category(c) == "Cc")
    return _class(set(parting) - set(codes_of(APOSTROPHES).tolist()))


@functools.cache
def combining_classes():
    """(sorted code points, their combining classes) of all that have one other than 0."""
    classes = {ord(c): unicodedata.combining(c) for c in _changing() if unicodedata.combining(c)}
    return np.array(list(classes), "int32"), np.array(list(classes.values()), "int32")


@functools.cache
def compositions():
    """(sorted pairs as first · 2²¹ + second, the character that each makes)."""
    pairs = {}
    for c in _changing():
        parts = unicodedata.decomposition(c).split()
        if len(parts) == 2 and parts[0][0] != "<" and unicodedata.normalize("NFC", c) == c:
            pairs[int(parts[0], 16) << 21 | int(parts[1], 16)] = ord(c)
    for place, code in enumerate(HANGUL):  # by rule: 19 leads, 21 vowels, 27 tails or none
        tail = place % 28
        first, second = (code - tail, 0x11A7 + tail) if tail else (0x1100 + place // 588, 0x1161 + place % 588 // 28)
        pairs[first << 21 | second] = code
    return np.array(sorted(pairs), "int64"), np.array([pairs[key] for key in sorted(pairs)], "int32")


@functools.cache
def decompositions(form):
    """(sorted code points, what each is taken apart into, a row of code points that ends with `NONE`s)."""
    apart = {ord(c): [ord(part) for part in _apart(c, form)] for c in _changing()}
    apart = {code: parts for code, parts in apart.items() if parts != [code]}
    width = max(map(len, apart.values()))
    rows = [parts + [NONE] * (width - len(parts)) for parts in apart.values()]
    return np.array(list(apart), "int32"), np.array(rows, "int32")


def _apart(character, form):
    wide_or_narrow = "\uff10" <= character <= "\uff5a" or "\uff66" <= character <= "\uff9f"
    if wide_or_narrow and unicodedata.category(character)[0] in "LN":
        character = unicodedata.normalize("NFKC", character)
    parts = unicodedata.normalize("NFD", character)
    if form == "fold":  # the iota below other marks is turned once these are in order
        parts = "".join(part if ord(part) == IOTA_BELOW else part.casefold() for part in parts)
    return unicodedata.normalize("NFD", parts)


@functools.cache
def needs(form):
    """A pattern of what `compose` may change; of what it does not find, nothing changes."""
    own = {"fold": {IOTA_BELOW}, "bare": set(codes_of(ACCENTS).tolist())}.get(form, set())
    seconds = {int(key) & 0x1FFFFF for key in compositions()[0]}
    changed = set()
    for code, parts in zip(*decompositions(form), strict=True):
        parts = [part for part in parts.tolist() if part != NONE]
        if unicodedata.normalize("NFC", "".join(map(chr, parts))) != chr(code) or own.intersection(parts):
            changed.add(int(code))
    marks = _class(combining_classes()[0].tolist())
    return f"[{_class(seconds | changed | own)}]|[{marks}]{{2}}"
