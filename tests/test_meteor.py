"""METEOR: numbers by hand, with and without synonyms, and scores without nltk."""

import types

import numpy as np
import pytest

import mmkeras as mm
from mmkeras.evaluation import meteor
from mmkeras.evaluation.sentences import METRICS

pytest.importorskip("nltk", reason="METEOR is computed by nltk: pip install 'mmkeras[meteor]'")


@pytest.fixture(autouse=True)
def no_synonyms(monkeypatch):
    """So that numbers are the same whether nltk's data are there."""
    monkeypatch.setattr(meteor, "synonyms", meteor.NoSynonyms)


def by_hand(matched, chunks, written, wanted):
    precision, recall = matched / written, matched / wanted
    return precision * recall / (0.9 * precision + 0.1 * recall) * (1 - 0.5 * (chunks / matched) ** 3)


@pytest.mark.parametrize(("text", "reference", "counts"), [
    # The example of Banerjee and Lavie, 2005: two runs, "the president" and "spoke to the audience".
    ("the president spoke to the audience", "the president then spoke to the audience", (6, 2, 6, 7)),
    ("a red kite", "a red kite", (3, 1, 3, 3)),  # even what is equal has one run of three
    ("dogs play", "a dog plays", (2, 1, 2, 3)),  # by stems
    ("kite red a", "a red kite", (3, 3, 3, 3)),  # every word, in the wrong order
    ("a dog", "a big dog", (2, 2, 2, 3)),
    ("a cat sleeps", "a dog barks", (1, 1, 3, 3)),
])  # fmt: skip
def test_meteor_by_hand(text, reference, counts):
    assert meteor.meteor([text.split()], [[reference.split()]])[0] == pytest.approx(by_hand(*counts))


def test_the_best_reference_counts_and_nothing_is_nothing():
    texts = [["a", "dog"], [], ["boat"]]
    references = [[["the", "sea"], ["a", "dog"]], [["a", "dog"]], [["a", "dog"]]]
    assert meteor.meteor(texts, references) == [1 - 0.5 / 8, 0.0, 0.0]


def test_synonyms_match_where_they_are_known(monkeypatch):
    def synsets(word):
        lemmas = {"boat": ["boat", "ship"]}.get(word, [])
        return [types.SimpleNamespace(lemmas=lambda: [types.SimpleNamespace(name=lambda x=x: x) for x in lemmas])]

    apart = meteor.meteor([["a", "boat"]], [[["a", "ship"]]])
    assert "synonyms are not, as WordNet is not there: python -m nltk.downloader wordnet" in meteor.note()
    monkeypatch.setattr(meteor, "synonyms", lambda: types.SimpleNamespace(synsets=synsets))
    assert meteor.meteor([["a", "boat"]], [[["a", "ship"]]]) == [by_hand(2, 1, 2, 2)] > apart == [by_hand(1, 1, 2, 2)]
    assert meteor.note().endswith("words, their stems and their synonyms in WordNet are matched.")


def test_captions_are_scored_by_meteor_too_in_every_resample():
    texts, references = ["Two dogs play!", "a boat"], [["two dogs play", "dogs"], ["the sea"]]
    scores = mm.score_captions(texts, references)
    assert list(scores.metrics) == [*METRICS, "meteor"] == scores.table.columns.tolist()
    full = by_hand(3, 1, 3, 3)
    np.testing.assert_allclose(scores.table["meteor"], [full, 0])
    np.testing.assert_allclose(scores.weighted(np.array([[1, 1], [2, 0], [0, 2]]))["meteor"], [full / 2, full, 0])


def test_scores_without_nltk_are_the_others(monkeypatch):
    texts, references = ["two dogs play"], [["two dogs play"]]
    whole = mm.score_captions(texts, references).metrics
    monkeypatch.setattr(meteor, "installed", lambda: False)
    assert mm.score_captions(texts, references).metrics == {name: whole[name] for name in METRICS}
