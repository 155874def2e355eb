"""Texts of every script: cells to strings, words of `lexical`, of "scratch", of captions and of their scores."""

import subprocess
import sys
import unicodedata

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mmkeras as mm
from mmkeras.data.texts import texts
from mmkeras.evaluation.linear import Linear
from mmkeras.evaluation.sentences import words
from mmkeras.layers import CaptionText, CaptionTokens, SpaceCharacters, TermWeights, count_words, learn_vocabulary
from mmkeras.layers.scripts import compose, first_words, plain_text, valid
from mmkeras.modalities.encoders.lexical import learn_terms
from mmkeras.modalities.encoders.scratch import learn_tokenizer
from mmkeras.tasks.caption import sentences_of

QUICK = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
MARKS = "\u0300\u0301\u0302\u0303\u0308\u030a\u030c\u0323\u0327\u0328\u031b\u0345\u3099\u309a\u093c\u05bc\u0651\u064e"
MARKED = st.text(st.sampled_from("aeiouAEIOUcnsSdοιαυωΙΩΑЖйЙхはかウदफשب각가한ᄒ\u1161\u11ab ß" + MARKS), max_size=12)
ANY = st.text(st.characters(codec="utf-8"), max_size=30)
ANYTHING = st.one_of(
    ANY, MARKED, st.binary(max_size=30), st.lists(st.sampled_from("&#;x1fA9amp lt"), max_size=20).map("".join)
)


@pytest.fixture(scope="module")
def plain():
    """Words of a list of texts, by a function of the graph that is made once."""
    function = tf.function(plain_text, input_signature=[tf.TensorSpec([None], tf.string)])
    return lambda rows: [text.decode().split() for text in function(tf.constant(rows)).numpy()]


@pytest.fixture(scope="module")
def composed():
    function = tf.function(compose, input_signature=[tf.TensorSpec([None], tf.string)])
    return lambda rows: [text.decode() for text in function(tf.constant(rows)).numpy()]


# === Cells ===


def objects(*cells):
    return pd.Series(cells, dtype=object, name="t")


@pytest.mark.parametrize(("cells", "wanted"), [
    (objects("a", b"caf\xc3\xa9", bytearray(b"b"), np.str_("c"), np.bytes_(b"d")), ["a", "café", "b", "c", "d"]),
    (objects(3, 3.0, np.float32(0.1), 2.5, 1e20, True), ["3", "3", "0.1", "2.5", "1e+20", "True"]),
    (objects(None, np.nan, pd.NA, pd.NaT, ""), [""] * 5),
    (objects("\ud83d\ude00", "a\ufffd"), ["😀", "a\ufffd"]),
    (objects(np.datetime64("2020-01-02"), pd.Timestamp("2020-01-02")), ["2020-01-02 00:00:00"] * 2),
])  # fmt: skip
def test_texts_of_cells(cells, wanted):
    got = texts(cells)
    assert got.tolist() == wanted and {type(text) for text in got} == {str}


@pytest.mark.parametrize("dtype", ["object", "str", "string", "string[pyarrow]", "category"])
def test_texts_are_the_same_in_any_dtype_of_strings(dtype):
    assert texts(pd.Series(["é", None, "b", "é"]).astype(dtype)).tolist() == ["é", "", "b", "é"]


@pytest.mark.parametrize("dtype", ["float64", "Int64", "Float32", "int64[pyarrow]", "object", "category"])
def test_whole_numbers_are_the_same_in_any_dtype(dtype):
    assert texts(pd.Series([3, None]).astype(dtype)).tolist() == ["3", ""]


def test_what_is_no_unicode_is_told():
    with pytest.warns(UserWarning, match=r"'t': 2 values are not valid Unicode \(for example b'caf\\xe9'\).*latin-1"):
        assert texts(objects("a", b"caf\xe9", "\ud800")).tolist() == ["a", "caf\ufffd", "\ufffd"]


def test_captions_of_cells():
    cells = objects("a dog", None, [b"a cat", np.str_("cats"), None], np.array(["x"]), pd.NA, np.nan, b"y", ())
    assert sentences_of(cells) == [["a dog"], [], ["a cat", "cats"], ["x"], [], [], ["y"], []]
    for cell in (0.5, {"a": 1}, [["a"]], [1]):
        with pytest.raises(ValueError, match="must be captions or lists of captions"):
            sentences_of(objects(cell))


@QUICK
@given(st.text(max_size=20))
def test_any_str_becomes_one_that_tensors_hold(text):
    assert valid(text).encode().decode() == valid(text)
    assert valid(valid(text)) == valid(text)


# === Words ===


@pytest.mark.parametrize(("text", "wanted"), [
    ("It's a well-known dog, isn't it?", ["it's", "a", "well-known", "dog,", "isn't", "it?"]),  # ASCII is left as it is
    ("ЖИЗНЬ Жизнь", ["жизнь"] * 2),
    ("ΟΔΟΣ οδος ΟΔΌΣ", ["οδοσ", "οδοσ", "οδόσ"]),
    ("STRASSE Straße", ["strasse"] * 2),
    ("caf\u00e9 CAFE\u0301", ["café"] * 2),
    ("\u1112\u1161\u11ab\u1100\u1173\u11af 한글", ["한글"] * 2),
    ("dog\u2019s ‘dog’", ["dog's", "'dog'"]),
    ("one\u2014two\u2026three «four»\u3001five", ["one", "two", "three", "four", "five"]),
    ("a\u200bb c\u200dd\u200e e\u00adf \ufeffg \u202bh\u202c", ["a", "b", "cd", "ef", "g", "h"]),
    ("a\u00a0b\u2003c\u3000d\u2028e", ["a", "b", "c", "d", "e"]),
    ("R&amp;B &lt;b&gt; &quot;x&quot; &#39;y&apos; a&nbsp;b", ["r&b", "<b>", '"x"', "'y'", "a", "b"]),
    ("&#233;T&#xC9; &#8217; &#146; &#x1F600;", ["été", "'", "'", "😀"]),
    (
        "&amp;lt; &unknown; & &#; &#xfdd0; &#0; &#9999999; AT&T",
        ["&lt;", "&unknown;", "&", "&#;", "\ufffd", "\ufffd", "\ufffd", "at&t"],
    ),
    ("好电影，真的！", ["好", "电", "影", "真", "的"]),
    ("東京タワー2019年", ["東", "京", "タ", "ワ", "ー", "2019", "年"]),
    ("ดีมาก", ["ดี", "ม", "า", "ก"]),
    ("မြန်မာ ខ្មែរ ລາວ", ["မြ", "န်", "မာ", "ខ្", "មែ", "រ", "ລ", "າ", "ວ"]),
    ("great👍🏽👍 ❤️ ❤", ["great", "👍🏽", "👍", "❤", "❤"]),
    ("ＡＢＣ １２ ｶﾞ", ["abc", "12", "ガ"]),
    ("שלום עולם צה״ל", ["שלום", "עולם", "צה'ל"]),
    ("नमस्ते दुनिया।", ["नमस्ते", "दुनिया"]),
    ("", []),
])  # fmt: skip
def test_plain_text(plain, text, wanted):
    assert plain(["x", text, "é", text]) == [["x"], wanted, ["é"], wanted]


def test_bytes_that_are_no_text_do_no_harm(plain):
    assert plain([b"caf\xe9 \xff\xc0\x80", "ok", b"\xed\xa0\x80 b"])[1] == ["ok"]
    assert plain([b"caf\xe9 x"]) == [["caf\ufffd", "x"]]


@QUICK
@given(st.lists(MARKED, min_size=1, max_size=6))
def test_composition_is_that_of_unicode(composed, rows):
    for form in ("NFC", "NFD", "NFKD"):
        got = composed([unicodedata.normalize(form, text) for text in rows])
        assert got == [unicodedata.normalize("NFC", unicodedata.normalize(form, text)) for text in rows]


@QUICK
@given(st.lists(ANYTHING, min_size=1, max_size=4))
def test_composed_and_taken_apart_are_the_same_words(plain, rows):
    rows = [row if isinstance(row, str) else row.decode("utf-8", "replace") for row in rows]
    assert plain([unicodedata.normalize("NFC", row) for row in rows]) == plain(
        [unicodedata.normalize("NFD", row) for row in rows]
    )


CASED = "aäàâåbcçdeéêfßgğhiîïjłñoöøősştuüžșțабвгдеёжйіїєґџљαάβγδεέζηήιίϊΐσςυύϋΰωώաբգևﬁﬃſ"


@QUICK
@given(st.text(st.sampled_from(CASED + CASED.upper() + " -'"), max_size=20))
def test_capitals_are_the_same_words(plain, text):
    lower, upper = text.lower(), text.upper()
    if unicodedata.normalize("NFC", lower.casefold()) == unicodedata.normalize("NFC", upper.casefold()):
        first, second = plain([lower, upper])
        assert first == second


@QUICK
@given(st.text(st.sampled_from("abcDEF .,'-!?\t\n(){}_&;:\"0129"), max_size=60))
def test_english_words_are_those_of_before(text):
    if "&" in text and ";" in text:
        return  # may be an entity
    assert first_words(tf.constant([text]), 5).numpy()[0].decode().split() == text.lower().split()[:5]


def test_the_first_words_are_counted_after_characters_stand_apart():
    got = first_words(tf.constant(["好电影 a b", "a — b c d", "a b c d e"]), 4).numpy()
    assert [text.decode().split() for text in got] == [
        ["好", "电", "影", "a"],
        ["a", "b", "c", "d"],
        ["a", "b", "c", "d"],
    ]


def terms(rows, **settings):
    state = learn_terms(rows, 50)
    return TermWeights(state["vectorizer"], state["idf"], 50, **settings)


def test_terms_are_pairs_of_characters():
    layer = terms(["好电影", "Ein Film"], unicode=True)
    names = layer.vectorizer.get_vocabulary()
    assert {"电影", "好 电", "电 影", "电", "ein film"} - set(names) == {"电影"}
    got = layer(tf.constant(["电影", "EIN", "？"]))
    assert [{names[i] for i in row if i} for row in got["term_ids"].numpy()] == [{"电", "影", "电 影"}, {"ein"}, set()]


def test_layers_of_before_read_as_before():
    vectorizer = keras.layers.TextVectorization(output_mode="count", sparse=True, vocabulary=["да", "dogs"])
    config = TermWeights(vectorizer, [1.0, 1.0, 1.0]).get_config()
    del config["unicode"]
    old = TermWeights.from_config({**config, "vectorizer": vectorizer})
    assert not old.unicode
    assert old(tf.constant(["ДА dog's", "dog’s"]))["term_ids"].numpy().tolist() == [[2], [0]]
    new = TermWeights(vectorizer, [1.0, 1.0, 1.0], unicode=True)
    assert new(tf.constant(["ДА dog's", "dog’s"]))["term_ids"].numpy().tolist() == [[1, 2], [2, 0]]


@pytest.fixture(scope="module")
def layers():
    """Every layer that reads texts, as functions of the graph."""
    tokenizer = learn_tokenizer(["a dog", "好电影", "ดีมาก", "жизнь"], 16)
    made = {
        "terms": terms(["a dog", "好电影"], unicode=True),
        "old terms": terms(["a dog", "好电影"]),
        "captions": CaptionTokens(learn_vocabulary(["a dog", "好电影"]), 8),
        "tokens": mm.layers.Tokenize(tokenizer, tokenizer.cls_token_id, tokenizer.sep_token_id, sequence_length=16),
        "characters": SpaceCharacters(16),
    }
    shape = [tf.TensorSpec([None], tf.string)]
    return {name: tf.function(layer, input_signature=shape) for name, layer in made.items()}


@QUICK
@given(st.lists(ANYTHING, min_size=1, max_size=4))
def test_no_text_stops_a_layer(layers, rows):
    rows = [valid(row) if isinstance(row, str) else row for row in rows]
    for name, layer in layers.items():
        for output in tf.nest.flatten(layer(tf.constant(rows))):
            assert len(output) == len(rows), name


@pytest.mark.parametrize("text", [b"a film ", "好".encode(), b"\x80", b" ", "e\u0301".encode(), b"&#39;", b"<b>"])
def test_only_the_beginning_of_a_huge_text_is_read(layers, text):
    huge = tf.constant([text * (10_000_000 // len(text)), b"a dog"])
    for name, layer in layers.items():
        if name != "characters":
            assert all(output.shape[1] <= 200 for output in tf.nest.flatten(layer(huge)))
    assert tf.strings.length(layers["characters"](huge)).numpy().max() <= 150_000


# === "scratch" ===


def test_scratch_learns_scripts_without_blanks():
    rows = ["หนังเรื่องนี้ดีมาก", "这部电影很好", "映画が好き", "Жизнь Кафе\u0301", "Café"] * 50
    tokenizer = learn_tokenizer(rows, 64)
    names = set(tokenizer.get_vocabulary())
    assert {"ดี", "นี้", "电", "が"} <= names
    spaced = SpaceCharacters()(tf.constant(["ЖИЗНЬ", "жизнь", "CAFÉ", "cafe", "ดี"]))
    tokens = [[int(number) for number in row] for row in tokenizer(spaced)]
    assert tokens[0] == tokens[1] and tokens[2] == tokens[3] and len(tokens[4]) == 1
    assert all(tokenizer.token_to_id("[UNK]") not in row for row in tokens)


# === Captions ===


@pytest.mark.parametrize(("caption", "count", "again"), [
    ("一个红色的方块，在中间。", 10, "一个红色的方块在中间"),
    ("红色的 iPhone 很大", 6, "红色的 iphone 很大"),
    ("映画が好き", 5, "映画が好き"),
    ("ดีมาก", 4, "ดีมาก"),
    ("Die STRASSE, die Straße", 4, "die strasse die straße"),
    ("Cafe\u0301 &amp; Bar", 2, "café bar"),
])  # fmt: skip
def test_captions_are_written_as_they_were_read(caption, count, again):
    assert count_words([caption]).tolist() == [count]
    vocabulary = learn_vocabulary([caption])
    tokens = CaptionTokens(vocabulary, 20)(tf.constant([caption]))
    assert 1 not in tokens.numpy()
    assert CaptionText(vocabulary)(tokens).numpy()[0].decode() == again


def test_a_vocabulary_of_longer_words_keeps_its_blanks():
    vocabulary = ["", "[unknown]", "[start]", "[end]", "一个", "红色", "的"]
    assert CaptionText(vocabulary)(np.array([[2, 4, 6, 6, 3]])).numpy()[0].decode() == "一个 的 的"


def test_words_of_a_caption_and_where_they_looked():
    from mmkeras.decoding.results import as_captions

    vocabulary = learn_vocabulary(["红色"])
    zeros = np.zeros((1, 4))
    decoded = {
        "tokens": np.array([[4, 5, 3, 0]]), "lengths": np.array([2]), "log_probabilities": zeros[:, 0],
        "step_log_probabilities": zeros, "attention": np.ones((1, 4, 6)),
    }  # fmt: skip
    captions = as_captions(decoded, vocabulary)
    assert captions.texts == ["红色"] and [word for word, _ in captions.in_order([0]).maps(0)] == ["红", "色"]


def test_scores_see_characters():
    scores = mm.score_captions(["一个红色的方块"], [["一个红色的方块很大。"]]).metrics
    assert scores["bleu_1"] == pytest.approx(np.exp(1 - 9 / 7)) and scores["rouge_l"] > 0.8
    assert words("Dog&#39;s 红") == ["dogs", "红"] and words("CAFE\u0301") == ["café"]


# === Whole pipelines ===


@pytest.fixture(scope="module")
def reviews():
    rng = np.random.default_rng(0)
    good, bad, tail = ["精彩", "好看", "感人"], ["难看", "无聊", "糟糕"], ["我推荐给朋友", "时间不长", "画面一般"]
    y = rng.choice(["neg", "pos"], 120)
    rows = [rng.choice(tail) + "真的" + rng.choice(good if v == "pos" else bad) + rng.choice(tail) for v in y]
    return pd.DataFrame({"t": rows, "y": y})


@pytest.fixture(scope="module")
def fitted(reviews):
    pipe = mm.Pipeline([mm.Text("t", encoder="lexical", sequence_length=32)], mm.MultiClass("y"))
    pipe.fit(reviews, epochs=2, batch_size=8, learning_rate=5e-2, validation_data=None, verbose=0)
    return pipe


def test_chinese_as_written_is_learnt(fitted, reviews):
    assert (fitted.predict_labels(reviews) == reviews["y"]).mean() > 0.95


def test_the_rival_of_words_learns_it_too(fitted, reviews, tmp_path):
    rival = Linear.fit(fitted_bench(fitted, reviews))["TF-IDF + linear model"]
    told = np.asarray(rival.predict(None, reviews))
    assert ((told[:, 1] > told[:, 0]) == (reviews["y"] == "pos")).mean() > 0.95
    assert rival.write(tmp_path / "rival")["unicode"]
    again = Linear.read(tmp_path / "rival", {"columns": ["t"], "unicode": True})
    again.task = rival.task
    np.testing.assert_allclose(again.predict(None, reviews), told, rtol=1e-5)


def fitted_bench(pipe, df):
    import types

    rows = types.SimpleNamespace(df=df, target=pipe.task.target(df))
    return types.SimpleNamespace(task=pipe.task, modalities=pipe.modalities, rows=rows)


SERVED = """
import sys, numpy, tensorflow as tf
rows = [bytes.fromhex(row) for row in sys.argv[2:]]
signature = tf.saved_model.load(sys.argv[1]).signatures["serve"]
(name,) = signature.structured_input_signature[1]
outputs = signature(**{name: tf.constant(rows)})
print(max(outputs.values(), key=lambda x: x.shape.rank).numpy().tolist())
"""


def test_a_served_model_reads_texts_by_the_same_code_and_without_imports(fitted, tmp_path):
    rows = ["这真的精彩", "CAFE\u0301 无聊&#33;", "好看\u200b！", "", "ＡＢ ß ς 糟糕"]
    wanted = fitted.predict(pd.DataFrame({"t": rows})).to_numpy(dtype="float64")
    fitted.export(str(tmp_path / "served"))
    run = [sys.executable, "-c", SERVED, str(tmp_path / "served"), *(row.encode().hex() for row in rows)]
    told = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    np.testing.assert_allclose(np.array(eval(told)), wanted, atol=1e-5)


def test_predictions_are_the_same_for_any_form_of_a_text(fitted):
    forms = [
        ["真的精彩 é"],
        [b"\xe7\x9c\x9f\xe7\x9a\x84\xe7\xb2\xbe\xe5\xbd\xa9 e\xcc\x81"],
        ["真的\u200d精彩 &eacute;".replace("&eacute;", "&#233;")],
    ]
    predictions = [fitted.predict(pd.DataFrame({"t": pd.Series(form, dtype=object)})).to_numpy() for form in forms]
    for other in predictions[1:]:
        np.testing.assert_array_equal(other, predictions[0])
