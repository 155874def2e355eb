"""How good captions are, as the field measures it: BLEU, ROUGE-L, CIDEr-D and METEOR against several references.

The numbers are those of the COCO caption evaluation (`pycocoevalcap`): its corpus formulas, its smoothing and its
lengths. N = captions, S = resamples.
"""

import collections
import functools
import itertools
import math

import numpy as np
import tensorflow as tf

from mmkeras.evaluation import meteor
from mmkeras.layers.scripts import valid
from mmkeras.layers.words import plain_words

METRICS = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider")  # and "meteor", where nltk is installed
_ORDERS = 4  # n-grams of one to four words
_ROUGE_BETA = 1.2  # recall counts 1.44 times as much as precision
_CIDER_SIGMA = 6.0  # of the Gaussian that punishes another length than the reference's
# Added by the COCO evaluation to matches and to n-grams: without a match BLEU is tiny, not 0.
_MATCHED, _WRITTEN = 1e-15, 1e-9
_AT_ONCE = 10_000  # captions whose words are read together
_read = tf.function(plain_words, autograph=False, input_signature=[tf.TensorSpec([None], tf.string)])


def score_captions(hypotheses, references):
    """BLEU-1..4, ROUGE-L, CIDEr-D and METEOR of captions, each against the references of its image.

    Texts are lower-cased and lose their punctuation, and each character of a script without blanks is a word, see `words`. The COCO evaluation does nearly the same with a
    tokenizer in Java; on texts in that form these numbers equal those of `pycocoevalcap`. METEOR is that of nltk, and only where that is installed
    (`pip install "mmkeras[meteor]"`), by synonyms only where nltk's data hold WordNet, see `evaluation.meteor`: version 1.5, which most papers
    report, is a Java program with tables to download, and gives other numbers.

    CIDEr-D weighs n-grams by how few images have them in their references, so it needs many images to mean something;
    of one image it is 0.

    Args:
        hypotheses: N strings, one for each image.
        references: N lists of strings, the references of each image. One without a word is left out.

    Returns:
        `CaptionScores`.

    Raises:
        ValueError: no captions, unequal numbers of hypotheses and lists of references, an image without a reference
            that has a word, or something that is no string.

    References:
        Papineni et al. 2002 (BLEU); Lin 2004 (ROUGE); Vedantam, Zitnick and Parikh 2015 (CIDEr);
        Chen et al. 2015, "Microsoft COCO Captions: Data Collection and Evaluation Server".

    Example:
        >>> import mmkeras as mm
        >>> scores = mm.score_captions(["This is a good test."], [["this is a test", "this is also a test"]])
        >>> {name: round(value, 3) for name, value in scores.metrics.items() if name != "meteor"}
        {'bleu_1': 0.8, 'bleu_2': 0.632, 'bleu_3': 0.511, 'bleu_4': 0.0, 'rouge_l': 0.907, 'cider': 0.0}
    """
    hypotheses, references = _checked(hypotheses, references)
    written = [ngrams(text) for text in hypotheses]
    wanted = [[ngrams(text) for text in texts] for texts in references]
    statistics = np.array([_matches(*pair) for pair in zip(written, wanted, strict=True)], "float64")
    rouge = [_rouge_l(*pair) for pair in zip(hypotheses, references, strict=True)]
    means = [rouge, _cider(written, wanted)]
    if meteor.installed():
        means.append(meteor.meteor(hypotheses, references))
    return CaptionScores(statistics, np.stack(means, axis=1))


class CaptionScores:
    """What `score_captions` returns.

    Attributes:
        metrics: {"bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider"}, and "meteor" where nltk is installed, of all captions together.
            BLEU is that of the corpus, whose n-grams and lengths are summed first; the others are means.
        table: DataFrame of N rows with the same names as columns: every caption by itself.

    `weighted` gives the metrics under row weights, as `mmkeras.evaluation.metrics.bootstrap` wants them.

    Example:
        >>> from mmkeras import score_captions
        >>> from mmkeras.evaluation import metrics
        >>> scores = score_captions(["a red kite", "two dogs"], [["a red kite"], ["the sea"]])
        >>> scores.table["bleu_1"].round(3).tolist()
        [1.0, 0.0]
        >>> point, drawn = metrics.bootstrap(scores.weighted, rows=2, samples=100)
        >>> round(point["bleu_1"], 3), drawn["bleu_1"].shape
        (0.6, (100,))
    """

    def __init__(self, statistics, means):
        self._statistics, self._means = statistics, means
        self.metrics = {name: float(values[0]) for name, values in self.weighted(np.ones((1, len(means)))).items()}

    @functools.cached_property
    def table(self):
        import pandas as pd

        return pd.DataFrame(self._named(self._statistics, self._means))

    def weighted(self, weights):
        """{metric: (S,)} of S resamples.

        N-grams were counted once, so a resample costs one product of matrices. CIDEr's document frequencies stay those
        of the whole set.

        Args:
            weights: (S, N), how often each row was drawn.
        """
        return self._named(weights @ self._statistics, weights @ self._means / weights.sum(axis=1, keepdims=True))

    @staticmethod
    def _named(statistics, means):
        values = [*_bleu(statistics), *means.T]
        return dict(zip((*METRICS, "meteor")[: len(values)], values, strict=True))

    def __repr__(self):
        values = ", ".join(f"{name}={value:.3f}" for name, value in self.metrics.items())
        return f"CaptionScores({len(self._means)} captions: {values})"


def words(text):
    """The words of a caption, see `layers.plain_words`, without apostrophes.

    Args:
        text: str.

    Returns:
        list of str.

    Example:
        >>> from mmkeras.evaluation.sentences import words
        >>> words("A black-and-white dog's toy.")
        ['a', 'black', 'and', 'white', 'dogs', 'toy']
        >>> words("红色的")
        ['红', '色', '的']
    """
    return words_of([text])[0]


def words_of(texts):
    """The words of each of a list of captions, see `words`.

    Example:
        >>> words_of(["A dog.", "Dogs!"])
        [['a', 'dog'], ['dogs']]
    """
    lines = []
    for start in range(0, len(texts), _AT_ONCE):
        batch = [valid(text) for text in texts[start : start + _AT_ONCE]]
        lines += [line.decode().replace("'", "").split() for line in _read(tf.constant(batch)).numpy()]
    return lines


def _checked(hypotheses, references):
    """Both as words; references without a word left out."""
    hypotheses, references = list(hypotheses), list(references)
    if len(hypotheses) != len(references) or not hypotheses:
        raise ValueError(
            "There must be as many lists of references as hypotheses, at least one. Received: "
            f"{len(hypotheses)} hypotheses, {len(references)} lists. Give a caption and its references for every image."
        )
    for row, text in enumerate(hypotheses):
        if not isinstance(text, str):
            raise ValueError(f"A hypothesis must be a string. Received: {text!r} in row {row}. Use '' for no caption.")
    wanted = []
    for row, texts in enumerate(references):
        # A string would be taken for a list of letters.
        if isinstance(texts, str) or not np.iterable(texts) or not all(isinstance(text, str) for text in texts):
            raise ValueError(
                f"References must be a list of strings. Received: {texts!r} in row {row}. Use ['a caption']."
            )
        wanted.append(list(texts))
    read = iter(words_of([text for texts in wanted for text in texts]))
    wanted = [[text for text in itertools.islice(read, len(texts)) if text] for texts in wanted]
    empty = [row for row, texts in enumerate(wanted) if not texts]
    if empty:
        raise ValueError(
            f"An image must have a reference of at least one word. Received: {list(references[empty[0]])!r} in row "
            f"{empty[0]}. {len(empty)} of {len(wanted)} rows are at fault. Leave them out."
        )
    return words_of(hypotheses), wanted


def ngrams(text):
    """For each n, how often a text has each of its n-grams: a list of {n-gram: count}.

    Args:
        text: list of words, or of their numbers.

    Example:
        >>> [dict(counts) for counts in ngrams(["a", "dog"])][:2]
        [{('a',): 1, ('dog',): 1}, {('a', 'dog'): 1}]
    """
    shifted = [text[start:] for start in range(_ORDERS)]
    return [collections.Counter(zip(*shifted[:n], strict=False)) for n in range(1, _ORDERS + 1)]


def _matches(written, wanted):
    """BLEU's row of statistics: matched n-grams (4), n-grams (4), words, words of the reference nearest in length."""
    matched = []
    for order, counts in enumerate(written):
        # An n-gram may match as often as the reference that has most of it.
        matched.append(sum(min(n, max(texts[order][gram] for texts in wanted)) for gram, n in counts.items()))
    length = written[0].total()
    nearest = min((abs(texts[0].total() - length), texts[0].total()) for texts in wanted)[1]
    return [*matched, *(counts.total() for counts in written), length, nearest]


def _bleu(statistics):
    """(4, rows) values of (rows, 10) statistics, see `_matches`."""
    matched, written = statistics[:, :_ORDERS], statistics[:, _ORDERS : 2 * _ORDERS]
    length, reference = statistics[:, -2:].T
    precision = np.cumprod((matched + _MATCHED) / (written + _WRITTEN), axis=1)
    ratio = (length + _MATCHED) / (reference + _WRITTEN)
    brevity = np.exp(np.minimum(0, 1 - 1 / ratio))
    return (precision ** (1 / np.arange(1, _ORDERS + 1)) * brevity[:, None]).T


def _rouge_l(text, references):
    """F of the longest common subsequence, by the best precision and the best recall of any reference."""
    if not text:
        return 0.0
    places = collections.defaultdict(int)
    for place, word in enumerate(text):
        places[word] |= 1 << place
    common = [_common(places, len(text), reference) for reference in references]
    precision = max(common) / len(text)
    recall = max(count / len(reference) for count, reference in zip(common, references, strict=True))
    weight = _ROUGE_BETA**2
    return (1 + weight) * precision * recall / (recall + weight * precision) if precision else 0.0


def _common(places, length, other):
    """Length of the longest common subsequence; a row of the usual table is held as the bits of one int.

    Args:
        places: {word: bits of its places} of the first text. length: its words. other: list of words.

    References: Hyyrö 2004, "Bit-parallel LCS-length computation revisited".
    """
    everywhere = (1 << length) - 1
    row = everywhere
    for word in other:
        hits = row & places.get(word, 0)
        row = (row + hits) | (row - hits)
    return length - (row & everywhere).bit_count()


def _cider(written, wanted):
    """(N,) values of CIDEr-D, see `Cider`."""
    cider = Cider(wanted)
    return np.array([cider([orders], texts)[0] for orders, texts in zip(written, wanted, strict=True)])


class Cider:
    """CIDEr-D of texts: similarity of n-grams weighted by rarity, the mean over orders and references, times 10.

    Args:
        wanted: for each image the list of its references, each as `ngrams`; rarity is that among these images.

    Example:
        >>> dogs, sea = [ngrams(["two", "dogs"])], [ngrams(["the", "sea"])]
        >>> [round(value, 2) for value in Cider([dogs, sea])([ngrams(["two", "dogs"]), ngrams(["a", "cat"])], dogs)]
        [5.0, 0.0]
    """

    def __init__(self, wanted):
        images = collections.Counter()
        for texts in wanted:
            images.update(set().union(*(counts for orders in texts for counts in orders)))
        # Rare n-grams tell most; one that no reference has counts as if one image had it.
        most = math.log(len(wanted))
        self._rarity = collections.defaultdict(lambda: most)
        self._rarity.update((gram, most - math.log(count)) for gram, count in images.items())

    def __call__(self, written, wanted):
        """A list with the value of each of some texts of one image against the image's references, all as `ngrams`."""
        references = [(self._vectors(orders), orders[1].total()) for orders in wanted]
        values = []
        for orders in written:
            vectors, length, total = self._vectors(orders), orders[1].total(), 0.0
            for others, other_length in references:
                # Lengths are numbers of word pairs, as the COCO evaluation has them.
                near = math.exp(-((length - other_length) ** 2) / (2 * _CIDER_SIGMA**2))
                total += near * sum(map(_similarity, vectors, others))
            values.append(10 * total / _ORDERS / len(wanted))
        return values

    def _vectors(self, orders):
        return [_weighed(counts, self._rarity) for counts in orders]


def _weighed(counts, rarity):
    """({n-gram: count · rarity}, length of that vector)."""
    vector = {gram: count * rarity[gram] for gram, count in counts.items()}
    return vector, math.sqrt(sum(value * value for value in vector.values()))


def _similarity(vector, other):
    """Cosine of two weighed vectors, where the first may claim no more of an n-gram than the second has."""
    (values, length), (limits, norm) = vector, other
    if not length or not norm:
        return 0.0
    shared = (gram for gram in values if gram in limits)
    return sum(min(values[gram], limits[gram]) * limits[gram] for gram in shared) / (length * norm)
