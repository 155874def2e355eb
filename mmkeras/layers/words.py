"""Layers of captions: sentences → word numbers and back, over a vocabulary learnt from sentences.

A vocabulary is a list of words in which a word's place is its number. Its first four are `SPECIAL`: padding, a word that
is not in the vocabulary, the start and the end of a caption.
"""

import collections

import keras
import numpy as np
import tensorflow as tf

from mmkeras.layers.scripts import beginning, holds_unspaced, letters, spaced, unspaced, valid

PACKAGE = "mmkeras"
PADDING, UNKNOWN, START, END = range(4)
# No caption can spell these: brackets never get into a word.
SPECIAL = ["", "[unknown]", "[start]", "[end]"]


def plain_words(captions):
    """Captions in lower case, with one space between words: strings of any shape → strings of the same shape.

    Letters, marks and digits of any script make words, and so does an apostrophe between them ("dog's"). Everything else
    separates: "black-and-white" is three words. Of scripts without blanks, such as Chinese, Japanese and Thai, each character is
    a word. Letters are composed (NFC), HTML entities are read as their signs.

    Args:
        captions: sequence of strings.

    Example:
        >>> plain_words(["A dog's black-and-white 'ball'."]).numpy()[0].decode()
        "a dog's black and white ball"
        >>> plain_words(["红色的iPhone"]).numpy()[0].decode()
        '红 色 的 iphone'
    """
    captions = tf.convert_to_tensor(captions, tf.string)
    text = letters(tf.reshape(captions, [-1]))
    text = tf.strings.regex_replace(text, "[’ʼ]", "'")
    text = tf.strings.regex_replace(text, r"[^\p{L}\p{M}\p{N}']+|''+", " ")
    text = spaced(text)
    text = tf.strings.regex_replace(text, r"(^| )'+", " ")  # quotation marks: not between letters
    text = tf.strings.regex_replace(text, r"'+( |$)", " ")
    text = tf.strings.strip(tf.strings.regex_replace(text, " +", " "))
    return tf.reshape(text, tf.shape(captions))


def count_words(captions):
    """How many words each caption has, start and end not counted: (N,) strings → (N,) ints.

    Args:
        captions: sequence of strings.

    Example:
        >>> count_words(["A well-known dog.", "!"]).tolist()
        [4, 0]
    """
    return np.array([len(text.split()) for text in plain_words(_strings(captions)).numpy()], dtype="int64")


def learn_vocabulary(captions, size=20_000, min_count=1):
    """The most frequent words of captions, as a vocabulary: most frequent first, equals by alphabet.

    Args:
        captions: sequence of strings.
        size: int, the most entries it may have, the four special ones among them.
        min_count: int, words seen less often are left out.

    Returns:
        list of strings, `SPECIAL` first.

    Raises:
        ValueError: a `size` that leaves no room for a word; a `min_count` below 1; captions without a word that counts.

    Example:
        >>> learn_vocabulary(["a red dog", "A dog!"], size=6)
        ['', '[unknown]', '[start]', '[end]', 'a', 'dog']
    """
    for name, value, least in (("size", size, len(SPECIAL) + 1), ("min_count", min_count, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(
                f"`{name}` of a vocabulary must be an int of at least {least}. Received: {value!r}. "
                f"{len(SPECIAL)} entries are padding, unknown, start and end."
            )
    counts = collections.Counter()
    for text in plain_words(_strings(captions)).numpy():
        counts.update(text.decode().split())
    words = sorted((word for word, count in counts.items() if count >= min_count), key=lambda w: (-counts[w], w))
    if not words:
        raise ValueError(
            f"Captions must hold words. Received: {len(captions)} captions in which no word occurs {min_count} times. "
            "Give captions with words, or a smaller `min_count`."
        )
    return SPECIAL + words[: size - len(SPECIAL)]


def check_vocabulary(vocabulary):
    """A vocabulary as a list of distinct words that starts with `SPECIAL`.

    Raises:
        ValueError: anything else.
    """
    words = list(getattr(vocabulary, "vocabulary", vocabulary))
    if words[: len(SPECIAL)] != SPECIAL or len(words) == len(SPECIAL) or len(set(words)) != len(words):
        raise ValueError(
            f"`vocabulary` must start with {SPECIAL} and go on with words, each once. "
            f"Received: {len(words)} entries, {len(set(words))} of them different, the first {words[:5]}. "
            "Use `learn_vocabulary`."
        )
    return words


def teacher_forcing(tokens):
    """What the decoder reads and what it should answer: (B, T) → (B, T − 1) inputs and (B, T − 1) targets.

    The target of each word is the next one; the target of the end and of padding is padding, which losses leave out.

    Args:
        tokens: (B, T) ints, from `CaptionTokens`.

    Example:
        >>> [part.tolist() for part in teacher_forcing(np.array([[2, 7, 3, 0]]))]
        [[[2, 7, 3]], [[7, 3, 0]]]
    """
    return tokens[:, :-1], tokens[:, 1:]


def _strings(captions):
    captions = [valid(text) if isinstance(text, str) else text for text in captions]
    return tf.constant(captions, tf.string, shape=(len(captions),))


@keras.saving.register_keras_serializable(PACKAGE)
class CaptionTokens(keras.layers.Layer):
    """Captions → word numbers `[start] w1 … wn [end]`, padded with 0: (B,) strings → (B, T) int32.

    A caption that is too long loses its last words and keeps the end. See `plain_words` for what a word is.

    Args:
        vocabulary: list of words, from `learn_vocabulary`.
        sequence_length: int, T, start and end included.

    Raises:
        ValueError: a vocabulary that does not start with the special words; no room for a word.

    Example:
        >>> CaptionTokens(learn_vocabulary(["a dog"]), 6)(tf.constant(["A dog", "a cat"])).numpy().tolist()
        [[2, 4, 5, 3, 0, 0], [2, 4, 1, 3, 0, 0]]
    """

    def __init__(self, vocabulary, sequence_length=64, **kwargs):
        super().__init__(**kwargs)
        self.vocabulary = check_vocabulary(vocabulary)
        if isinstance(sequence_length, bool) or not isinstance(sequence_length, int) or sequence_length < 3:
            raise ValueError(
                "`sequence_length` must leave room for a word between start and end. "
                f"Received: {sequence_length!r}. Use 3 or more."
            )
        self.sequence_length = sequence_length
        self.supports_jit = False  # strings
        # Entries 0 and 1 of a StringLookup are its mask and its unknown word.
        self._numbers = keras.layers.StringLookup(
            vocabulary=self.vocabulary[2:], mask_token="", oov_token=SPECIAL[UNKNOWN], name="numbers"
        )

    def build(self, captions_shape):
        """Nothing to make."""

    def call(self, captions):
        words = tf.strings.split(plain_words(beginning(tf.reshape(captions, [-1]), self.sequence_length)))
        words = words[:, : self.sequence_length - 2]
        numbers = words.with_flat_values(tf.cast(self._numbers(words.flat_values), tf.int32))
        rows = words.nrows()
        ends = [tf.fill([rows, 1], number) for number in (START, END)]
        tokens = tf.concat([ends[0], numbers, ends[1]], axis=1)
        return tokens.to_tensor(PADDING, shape=(None, self.sequence_length))

    def compute_output_spec(self, captions):
        return keras.KerasTensor((captions.shape[0], self.sequence_length), "int32")

    def get_config(self):
        return {**super().get_config(), "vocabulary": self.vocabulary, "sequence_length": self.sequence_length}


@keras.saving.register_keras_serializable(PACKAGE)
class CaptionText(keras.layers.Layer):
    """Word numbers → captions: (B, T) ints → (B,) strings. Padding, start and end leave no trace.

    Words have blanks between them, except characters of scripts without blanks, see `plain_words`. A vocabulary with longer words
    of such scripts, learnt from words that had blanks, puts blanks between them all.

    Args:
        vocabulary: list of words, from `learn_vocabulary`.

    Example:
        >>> CaptionText(learn_vocabulary(["a dog"]))(np.array([[2, 4, 5, 3, 0]])).numpy()
        array([b'a dog'], dtype=object)
        >>> CaptionText(learn_vocabulary(["红色"]))(np.array([[2, 4, 5, 3, 0]])).numpy()[0].decode()
        '红色'
    """

    def __init__(self, vocabulary, **kwargs):
        super().__init__(**kwargs)
        self.vocabulary = check_vocabulary(vocabulary)
        self.supports_jit = False  # strings
        characters = [unspaced(word) for word in self.vocabulary]
        clauses = any(
            holds_unspaced(word) and not alone for word, alone in zip(self.vocabulary, characters, strict=True)
        )
        self._joined = characters if any(characters) and not clauses else None

    def build(self, tokens_shape):
        """Nothing to make."""

    def call(self, tokens):
        silent = [SPECIAL[UNKNOWN] if number == UNKNOWN else "" for number in range(len(SPECIAL))]
        words = tf.gather(tf.constant(silent + self.vocabulary[len(SPECIAL) :]), tokens)  # (B, T)
        if self._joined is None:
            text = tf.strings.reduce_join(words, axis=-1, separator=" ")
        else:
            character = tf.gather(tf.constant(self._joined), tokens)
            both = character & tf.pad(character, [[0, 0], [1, 0]])[:, :-1]  # this word, and the one before
            text = tf.strings.reduce_join(tf.where(both, words, tf.strings.join([" ", words])), axis=-1)
        return tf.strings.strip(tf.strings.regex_replace(text, " +", " "))

    def compute_output_spec(self, tokens):
        return keras.KerasTensor((tokens.shape[0],), "string")

    def get_config(self):
        return {**super().get_config(), "vocabulary": self.vocabulary}
