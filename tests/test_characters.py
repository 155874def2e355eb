"""Texts as characters, and as terms: against scikit-learn, of every script, and all the way to a served model."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from sklearn.feature_extraction.text import TfidfVectorizer

import mmkeras as mm
from mmkeras.modalities.encoders.characters import sequences
from mmkeras.trunk.trunk import Trunk

TEXT = mm.Text("words", encoder="characters")
TEXTS = ["a lovely lamp", "the lovelier lamps", "an old chair", "older chairs, old chairs", "", "椅子 old"]


def prepared(texts, learnt=TEXTS, text=TEXT):
    """(rows, terms) dense weights, and the vocabulary."""
    adapted = text.adapt(pd.DataFrame({"words": learnt}))
    out = mm.build_prepare([adapted])({"words": tf.constant(texts)})
    ids, weights = (out[f"text.{key}"].numpy() for key in ("term_ids", "term_weights"))
    dense = np.zeros((len(texts), len(adapted.state["idf"])))
    for row, (i, w) in enumerate(zip(ids, weights, strict=True)):
        np.add.at(dense[row], i, w)
    return dense, adapted.state["vectorizer"].get_vocabulary()


def test_weights_are_those_of_scikit_learn():
    ours, names = prepared(TEXTS)
    known = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)
    theirs = known.fit_transform([text.replace("椅子", "椅 子") for text in TEXTS]).toarray()
    places = {name.replace(" ", "_"): place for name, place in known.vocabulary_.items()}
    assert set(names[1:]) == set(places)
    np.testing.assert_allclose(ours[:, 1:], theirs[:, [places[name] for name in names[1:]]], atol=1e-6)


def test_terms_are_the_weights_of_scikit_learn_on_a_scale_of_their_own():
    text = mm.Text("words", encoder="terms").adapt(pd.DataFrame({"words": TEXTS[:5]}))
    trunk = Trunk([text], engine="tensorflow")
    ours = trunk.encode(trunk.prepare(text.raw_values(pd.DataFrame({"words": TEXTS[:5]}))))["text"].numpy()
    known = TfidfVectorizer(sublinear_tf=True, token_pattern=r"\w+")
    theirs = known.fit_transform(TEXTS[:5]).toarray()
    names = text.state["vectorizer"].get_vocabulary()
    assert set(names[1:]) == set(known.vocabulary_)
    np.testing.assert_allclose(ours[:, 1:], 32 * theirs[:, [known.vocabulary_[name] for name in names[1:]]], atol=1e-5)
    assert not trunk.head_inputs().only(["text"]).normalise  # rare terms would be the loudest


def test_a_word_never_seen_is_near_its_kin():
    dense, _ = prepared(["lovley lamp", "lovely lamp", "old chair"])
    assert dense[0] @ dense[1] > 0.5 > 0.1 > dense[0] @ dense[2]


def test_words_behind_the_first_are_not_read():
    several = sequences(tf.constant(["one two three", "", "ÉÉ"]), 2).numpy()
    assert b"_two_" in several[0].split() and b"thr" not in several[0] and several[1] == b""
    assert several[2].decode().split() == ["_éé", "éé_", "_éé_"]


@pytest.mark.parametrize("encoder", ["characters", "terms"])
def test_the_encoder_keeps_the_contract_and_is_served_from_strings(tmp_path, encoder):
    text = mm.Text("words", encoder=encoder)
    df = pd.DataFrame({"words": TEXTS * 8, "kind": ["lamp", "lamp", "chair", "chair", "other", "chair"] * 8})
    mm.testing.check_encoder(text, df)
    pipe = mm.Pipeline([text], mm.MultiClass("kind"), units=8)
    pipe.fit(df, epochs=12, learning_rate=1e-2, validation_data=False, verbose=0)
    typos = pd.DataFrame(
        {"words": ["lammp", "olld chairr"] if encoder == "characters" else ["a lovely lamp", "old chairs"]}
    )
    assert pipe.predict_labels(typos).tolist() == ["lamp", "chair"]
    pipe.save(tmp_path / "model")
    np.testing.assert_allclose(mm.load(tmp_path / "model").predict(typos), pipe.predict(typos), atol=1e-6)
    pipe.export(tmp_path / "served")
    served = tf.saved_model.load(tmp_path / "served").signatures["serve"](words=tf.constant(typos["words"]))
    np.testing.assert_allclose(next(iter(served.values())), pipe.predict(typos), atol=1e-5)


def test_texts_without_a_word_are_refused():
    with pytest.raises(ValueError, match=r"learnt from words of the training rows. Received: columns \['words'\]"):
        TEXT.adapt(pd.DataFrame({"words": ["", " "]}))
