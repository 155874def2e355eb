"""METEOR of captions: words matched as they are, by their stems and by their synonyms, and how scattered the matches are."""

import functools
import importlib.util


def installed():
    """Whether nltk is there, which METEOR is computed with.

    Example:
        >>> installed() in (True, False)
        True
    """
    return importlib.util.find_spec("nltk") is not None


def synonyms():
    """Where synonyms are looked up: WordNet, where nltk's data hold it, else nothing.

    Returns:
        an object with `synsets(word)`, as nltk takes it.

    Example:
        >>> hasattr(synonyms(), "synsets")
        True
    """
    from nltk.corpus import wordnet

    try:
        wordnet.ensure_loaded()
    except LookupError:
        return NoSynonyms()
    return wordnet


def note():
    """A sentence about what METEOR matches here, for a report.

    Example:
        >>> note().partition(",")[0]
        'METEOR is that of nltk (Lavie and Agarwal'
    """
    begin = "METEOR is that of nltk (Lavie and Agarwal, 2007), not version 1.5"
    if synonyms().synsets("dog"):
        return f"{begin}: words, their stems and their synonyms in WordNet are matched."
    return f"{begin}: words and their stems are matched; synonyms are not, as WordNet is not there: python -m nltk.downloader wordnet."


def meteor(hypotheses, references):
    """METEOR of each of N captions, the best over its references.

    With m matched words, P = m / words written, R = m / words of the reference, and c runs of matches that stand side by side in both:
    P R / (.9 P + .1 R) · (1 - .5 (c / m)³). It is nltk's, with Porter's stems; the words of each text are looked up once.

    Args:
        hypotheses: N lists of words.
        references: N lists of lists of words.

    Returns:
        list of N floats in 0 to 1.

    References: Banerjee and Lavie, 2005; Lavie and Agarwal, 2007, https://aclanthology.org/W07-0734.

    Example:
        >>> meteor([["two", "dogs", "play"]], [[["two", "dogs", "play"], ["the", "sea"]]])
        [0.9814814814814815]
    """
    from nltk.stem.porter import PorterStemmer
    from nltk.translate.meteor_score import meteor_score

    stemmer, words = _Remembered(PorterStemmer()), synonyms()
    return [
        float(meteor_score(texts, text, stemmer=stemmer, wordnet=words))
        for text, texts in zip(hypotheses, references, strict=True)
    ]


class _Remembered:
    """A stemmer that finds the stem of each word once: captions repeat words."""

    def __init__(self, stemmer):
        self.stem = functools.lru_cache(maxsize=100_000)(stemmer.stem)


class NoSynonyms:
    """What WordNet would say if it knew no word."""

    def synsets(self, word):
        return []
