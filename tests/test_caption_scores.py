"""Caption scores: known answers, every formula by hand, resamples, bad input."""

import numpy as np
import pandas as pd
import pytest

import mmkeras as mm
from mmkeras.evaluation import meteor, metrics
from mmkeras.evaluation import sentences as caption_scores
from mmkeras.evaluation.sentences import METRICS, words

HYPOTHESES = ["A dog runs on the beach.", "two men play", "a red kite", ""]
REFERENCES = [
    ["a dog is running on the beach", "The dog runs at the sea"],
    ["two men play football", "men playing in a field", "two people play"],
    ["a red kite", "a kite over the sea"],
    ["a boat"],
]


@pytest.fixture(autouse=True)
def without_meteor(monkeypatch):
    """Which has tests of its own, and is not installed everywhere."""
    monkeypatch.setattr(meteor, "installed", lambda: False)


def test_known_answers_of_one_image():
    scores = mm.score_captions(["this is a good test"], [["this is a test", "this is also a test"]]).metrics
    known = [0.799999, 0.632455, 0.5108729, 0.0000903602, 0.9070631, 0.0]
    assert list(scores) == list(METRICS)
    for (name, value), expected in zip(scores.items(), known, strict=True):
        assert value == pytest.approx(expected, abs=1e-6 if name != "bleu_4" else 1e-9), name


# What pycocoevalcap 1.2 gives for the first of Flickr8k's captions against the other four, as words without punctuation.
FIRST_CAPTIONS = [0.62837128, 0.44427033, 0.30774449, 0.21203376, 0.49191677, 0.80847438]


@pytest.mark.real
def test_real_captions_score_as_the_coco_evaluation_has_it(real_data):
    df = pd.read_csv(real_data / "data" / "flickr8k" / "captions_dev.csv")
    texts = [list(group) for _, group in df.groupby("image", sort=False)["caption"]]
    scores = mm.score_captions([first for first, *_ in texts], [others for _, *others in texts])
    np.testing.assert_allclose(list(scores.metrics.values()), FIRST_CAPTIONS, atol=1e-8)
    assert scores.table.shape == (1000, 6) and scores.table["cider"].mean() == pytest.approx(scores.metrics["cider"])


# === words ===


@pytest.mark.parametrize(
    "text, expected",
    [
        ("A Dog, running!", "a dog running"),
        ("black-and-white", "black and white"),
        ("the dog's toy", "the dogs toy"),
        ("the dog’s “toy”…", "the dogs toy"),
        ("a_b <start> 3.5$", "a b start 3 5"),
        ("Ärger über\tÉtienne\n", "ärger über étienne"),
        ("नमस्ते दुनिया।", "नमस्ते दुनिया"),
        (" . - ' ", ""),
    ],
)
def test_words(text, expected):
    assert words(text) == expected.split()
    assert words(" ".join(words(text))) == words(text)


# === by hand ===


def bleu(*counts):
    """Corpus BLEU of (matched, given, words, reference words)."""
    matched, given, length, nearest = counts
    brevity = min(1, np.exp(1 - nearest / length))
    return [np.prod(np.divide(matched[:n], given[:n])) ** (1 / n) * brevity for n in range(1, 5)]


def test_bleu_by_hand():
    hypothesis, references = "the cat the cat on the mat", ["the cat is on the mat", "a cat on the mat"]
    # Words: the 2 of 3, cat 1 of 2, on, mat. Pairs: the cat 1 of 2, on the, the mat; triples: on the mat.
    # "cat on" and "cat on the" and "cat on the mat" come from the second reference. Nearest length: 6.
    scores = mm.score_captions([hypothesis], [references]).metrics
    expected = bleu([5, 4, 2, 1], [7, 6, 5, 4], 7, 6)
    np.testing.assert_allclose([scores[f"bleu_{n}"] for n in range(1, 5)], expected, rtol=1e-6)


def test_bleu_takes_the_shorter_of_two_references_as_near():
    scores = mm.score_captions(["a b c d e"], [["a b c d", "a b c d e f"]]).metrics
    assert scores["bleu_1"] == pytest.approx(1.0)  # against 6 words it would be exp(-0.2)


def test_bleu_of_the_corpus_sums_before_it_divides():
    one, two = ("a b c d", ["a b c d"]), ("e f g h i j", ["e x g h i j k l"])
    scores = mm.score_captions(*zip(one, two, strict=True))
    np.testing.assert_allclose(
        [scores.metrics[f"bleu_{n}"] for n in range(1, 5)], bleu([9, 6, 4, 2], [10, 8, 6, 4], 10, 12), rtol=1e-6
    )
    np.testing.assert_allclose(scores.table["bleu_4"], [1.0, bleu([5, 3, 2, 1], [6, 5, 4, 3], 6, 8)[3]], rtol=1e-6)


def test_rouge_by_hand():
    # Common subsequences: "the dog sleeps" of 5 words, "a dog" of 2. Best precision 3/4, best recall 2/2 ("dog sleeps").
    scores = mm.score_captions(["the small dog sleeps"], [["the old dog now sleeps", "dog sleeps"]]).metrics
    precision, recall = 3 / 4, 1.0
    assert scores["rouge_l"] == pytest.approx(2.44 * precision * recall / (recall + 1.44 * precision))


@pytest.mark.parametrize("seed", range(20))
def test_common_subsequence_is_that_of_the_table(seed):
    generator = np.random.default_rng(seed)
    one, two = (list(map(str, generator.integers(0, 5, generator.integers(1, 90)))) for _ in range(2))
    table = np.zeros((len(one) + 1, len(two) + 1), int)
    for i, a in enumerate(one):
        for j, b in enumerate(two):
            table[i + 1, j + 1] = table[i, j] + 1 if a == b else max(table[i, j + 1], table[i + 1, j])
    places = {word: sum(1 << place for place, other in enumerate(one) if other == word) for word in one}
    assert caption_scores._common(places, len(one), two) == table[-1, -1]


def test_cider_by_hand():
    # Four images; "a" is everywhere (rarity 0), "dog" in two images (ln 2), all else in one (ln 4).
    scores = mm.score_captions(
        ["a red dog", "a dog", "a", "boat"], [["a red dog runs"], ["a dog"], ["a"], ["a boat sails far away"]]
    )
    dog, rare = np.log(2), np.log(4)
    one = [
        (rare**2 + dog**2) / (np.hypot(rare, dog) * np.hypot(np.hypot(rare, dog), rare)),
        2 / np.sqrt(2 * 3),  # "a red", "red dog" of three
        1 / np.sqrt(2),  # "a red dog" of two
        0,
    ]
    apart = np.exp(-1 / 72)  # by one word
    boat = rare**2 / (rare * np.hypot(np.hypot(rare, rare), np.hypot(rare, rare)))
    expected = [10 * apart * sum(one) / 4, 10 * 2 / 4, 0, 10 * np.exp(-16 / 72) * boat / 4]
    np.testing.assert_allclose(scores.table["cider"], expected, rtol=1e-12)
    assert scores.metrics["cider"] == pytest.approx(np.mean(expected))


def test_cider_clips_what_is_said_too_often():
    many = mm.score_captions(["dog dog dog", "x"], [["dog barks loud"], ["y"]]).table["cider"][0]
    # One order of four: 1·1 / (3 · √3), in units of ln 2.
    assert many == pytest.approx(10 / 4 / (3 * np.sqrt(3)))


# === as a whole ===


def test_equal_captions_score_full():
    texts = ["a dog runs on the sand", "two red kites over the sea"]
    scores = mm.score_captions(texts, [[text] for text in texts])
    np.testing.assert_allclose(scores.table, [[1, 1, 1, 1, 1, 10]] * 2, rtol=1e-6)


def test_table_and_names():
    scores = mm.score_captions(HYPOTHESES, REFERENCES)
    assert scores.table.columns.tolist() == list(METRICS) == list(scores.metrics) and len(scores.table) == 4
    assert (scores.table.loc[3] == 0).all() and not scores.table.isna().any().any()  # no caption at all
    assert repr(scores).startswith("CaptionScores(4 captions: bleu_1=0.")
    for name in ("rouge_l", "cider"):
        assert scores.metrics[name] == pytest.approx(scores.table[name].mean())


def test_references_in_any_sequence_and_without_words():
    plain = mm.score_captions(HYPOTHESES, REFERENCES).metrics
    other = mm.score_captions(pd.Series(HYPOTHESES), pd.Series([(*r, "?!") for r in REFERENCES], index=[5, 6, 7, 8]))
    assert other.metrics == plain
    assert mm.score_captions(np.array(HYPOTHESES), np.array([r[:1] for r in REFERENCES])).metrics["bleu_1"] > 0


def test_order_of_images_does_not_matter():
    one, two = mm.score_captions(HYPOTHESES, REFERENCES), mm.score_captions(HYPOTHESES[::-1], REFERENCES[::-1])
    np.testing.assert_allclose(one.table.to_numpy()[::-1], two.table, rtol=1e-12)


def test_resamples_are_the_scores_of_drawn_rows():
    scores = mm.score_captions(HYPOTHESES, REFERENCES)
    drawn = [0, 0, 2, 1]
    values = scores.weighted(np.array([[1.0, 1, 1, 1], np.bincount(drawn, minlength=4)]))
    again = mm.score_captions([HYPOTHESES[row] for row in drawn], [REFERENCES[row] for row in drawn])
    for name in METRICS:
        assert values[name].shape == (2,) and values[name][0] == pytest.approx(scores.metrics[name])
        if name != "cider":
            assert values[name][1] == pytest.approx(again.metrics[name])
    # Document frequencies stay those of all rows.
    assert values["cider"][1] == pytest.approx(scores.table["cider"].iloc[drawn].mean())


def test_bootstrap_of_scores():
    point, drawn = metrics.bootstrap(mm.score_captions(HYPOTHESES, REFERENCES).weighted, rows=4, samples=200)
    low, high = metrics.interval(drawn["bleu_1"])
    assert low < point["bleu_1"] < high and np.isfinite(drawn["cider"]).all()


# === errors ===


@pytest.mark.parametrize("hypotheses, references", [(["a"], []), ([], []), (["a"], [["a"], ["b"]])])
def test_as_many_references_as_hypotheses(hypotheses, references):
    with pytest.raises(ValueError, match=r"as many lists of references as hypotheses, at least one. Received: \d hyp"):
        mm.score_captions(hypotheses, references)


@pytest.mark.parametrize("empty", [[], [""], [" . "]])
def test_an_image_needs_a_reference(empty):
    with pytest.raises(ValueError, match=r"must have a reference of at least one word. .* in row 1. 1 of 2 rows are"):
        mm.score_captions(["a", "b"], [["a"], empty])


@pytest.mark.parametrize("wrong", ["a caption", None, [None], [1], 3.0])
def test_references_must_be_lists_of_strings(wrong):
    with pytest.raises(ValueError, match=r"References must be a list of strings. Received: .* in row 1. Use \['a"):
        mm.score_captions(["a", "b"], [["a"], wrong])


@pytest.mark.parametrize("wrong", [None, float("nan"), ["a"]])
def test_a_hypothesis_must_be_a_string(wrong):
    with pytest.raises(
        ValueError, match=r"A hypothesis must be a string. Received: .* in row 1. Use '' for no caption"
    ):
        mm.score_captions(["a", wrong], [["a"], ["b"]])
