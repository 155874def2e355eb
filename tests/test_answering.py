"""Questions: answers alike by rules, accuracy by hand, choosing and writing, rivals, keeping and serving, what cannot be answered."""

import re

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras.cli.commands import main
from mmkeras.evaluation.answers import (
    WHOLE,
    PriorByKind,
    credit,
    credits_of,
    first_words,
    kinds_section,
    plain_answer,
    shares,
)
from mmkeras.evaluation.looking import looked_at
from mmkeras.tasks.answer import Answers, people_of
from mmkeras.trunk.store import open_store

QUICK = {"epochs": 25, "batch_size": 32, "learning_rate": 1e-2, "verbose": 0}
WORDS = ["red", "green", "blue"]


def rows(count=240, seed=0):
    """What a number and a question together tell: the colour of the number, or whether it has a colour."""
    rng = np.random.default_rng(seed)
    number, asked, kind = rng.integers(0, 3, count), rng.integers(0, 3, count), rng.integers(0, 2, count)
    questions = [f"is it {WORDS[a]}?" if k else "what colour is it?" for a, k in zip(asked, kind, strict=True)]
    answers = [("yes" if n == a else "no") if k else WORDS[n] for n, a, k in zip(number, asked, kind, strict=True)]
    return pd.DataFrame({"hue": number.astype(float), "question": questions, "answer": answers})


def modalities(words="lexical"):
    text = {"pooling": None, "sequence_length": 8} if words == "scratch" else {}
    return [mm.Text("question", encoder=words, name="question", **text), mm.Tabular(categorical=["hue"], name="thing")]


def answerer(words="lexical", task=None, **head):
    head = head or {"fusion": "bilinear", "units": 64, "dropout": 0.0}
    return mm.Pipeline(modalities(words), task or mm.Answer("answer"), **head)


@pytest.fixture(scope="module")
def fitted():
    pipe = answerer()
    pipe.fit(rows(), **QUICK)
    return pipe, rows(60, seed=1)


def test_the_usual_fusion_is_that_of_what_the_modalities_give():
    task, tokens = mm.Answer("answer"), mm.Text("question", "gru", pooling=None)
    vector, whole = mm.Text("question", "gru"), mm.Image("image", "scratch")
    patches = mm.Image("image", "scratch", pooling=None)
    more = mm.Image("more", "scratch", pooling=None, name="more")
    for given, fusion in (
        ([tokens, patches], "word_attention"), ([vector, patches], "film"), ([vector, whole], "bilinear"), ([vector], "concat"),
        ([vector, patches, more], "film"), ([patches, more, tokens], "word_attention"),  # patches are no words
    ):  # fmt: skip
        assert task.usual_fusion(given) == fusion == mm.Pipeline(given, task).fusion


# --- answers


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Yes", "yes"),
        (" A  Dog! ", "dog"),
        ("none", "0"),
        ("Ten", "10"),
        ("1,000", "1000"),
        ("3.5", "3.5"),
        ("St. John's", "st john's"),
        ("black/white", "black white"),
        ("dont", "don't"),
        ("\tblue\n", "blue"),
        ("t-shirt", "t shirt"),
        ("红色", "红色"),
        (".5", ".5"),  # a point in front of a digit is decimal
        ("$.50.", "$.50"),
        ("2:50 p.m.", "2:50 pm"),
        ("red, white,blue", "red whiteblue"),  # a sign beside a blank goes without a trace, wherever it stands
        ("1,000 t-shirts", "1000 tshirts"),  # beside a number with a comma all signs do
        ("neednt", "needn't"),
        ("Oclock", "o'clock"),
        ("youdve", "youdve"),
        ("youd've", "you'd've"),
        ("couldnt've", "couldn't've"),
        ("whore", "whore"),  # no short form of "who are"
        ("mights", "mights"),
        ("yall", "y'all"),
        ("?", "?"),  # nothing would be left
        ("A", "a"),
        ("", ""),
        (1, "1"),
        (1.0, "1"),
        (np.float32(2.5), "2.5"),
        (float("inf"), "inf"),
        (b"No!", "no"),
        ("\ud800x", "\ufffdx"),  # which files cannot hold
    ],
)
def test_answers_are_written_alike(text, plain):
    assert plain_answer(text) == plain
    assert plain_answer(plain) == plain


def test_short_forms_are_those_of_the_public_evaluation():
    """Its list has 113 that change, of each apostrophe that a form has one that lacks it."""
    assert len(WHOLE) == 113
    assert all(plain_answer(short) == whole == plain_answer(whole) for short, whole in WHOLE.items())


def test_accuracy_of_vqa_by_hand():
    # Of ten people three said it: leaving out one of them two are left, 2/3; leaving out another three, 1.
    assert credit(["pink"], ["pink"] * 3 + ["red"] * 7) == pytest.approx([0.3 * 2 / 3 + 0.7])
    assert credit(["pink"], ["pink"] + ["red"] * 9) == pytest.approx([0.9 / 3])
    assert credit(["red", "pink"], ["red", "red"]) == [1.0, 0.0]  # of two, the other must agree
    right, same = credits_of(np.array(["pink", "red"]), [["pink"] * 3 + ["red"] * 7] * 2)
    assert right == pytest.approx([0.9, 1.0])
    assert same.tolist() == [0.0, 1.0]


def test_targets_are_shares_of_people():
    assert shares(["red"]) == {"red": 1.0}
    assert shares(["red"] * 8 + ["pink", "rose"]) == pytest.approx({"red": 0.6, "pink": 0.2, "rose": 0.2})
    df = pd.DataFrame({"answer": [["red"] * 8 + ["pink"] * 2, "pink", "mauve", "red"], "n": 1.0})
    task = mm.Answer("answer", min_count=2)
    units = task.units(df, [mm.Tabular(numeric=["n"])])
    with pytest.warns(
        UserWarning, match="1 of 4 rows have answers that are none of the 2 to choose from: they teach nothing"
    ):
        task = task.adapt(units)
    assert task.classes == ("pink", "red")
    target = task.target(units)
    np.testing.assert_allclose(target.take(np.arange(4))[1], [[0.4, 0.6], [1, 0], [0, 0], [0, 1]], atol=1e-6)
    assert target.values.tolist() == [1, 0, -1, 1]


def test_cells_of_many_forms():
    cells = ["Yes", ["yes", "No"], ("a", "yes"), [{"answer": "Two", "answer_confidence": "maybe"}], "['yes', \"no\"]", 2, 2.0, True, b"no", None, [], "[unclear"]  # fmt: skip
    want = [
        ["yes"],
        ["yes", "no"],
        ["a", "yes"],
        ["2"],
        ["yes", "no"],
        ["2"],
        ["2"],
        ["true"],
        ["no"],
        [],
        [],
        ["unclear"],
    ]
    assert people_of(pd.Series(cells, dtype=object)) == want


def test_lists_of_many_forms():
    cells = [[b"Yes", b"no"], np.array(["yes", "no"]), np.array([b"yes", b"no"], object), "['Yes' 'no']", "['yes', nan, None]",
             {"no", "yes"}, "[1, 2.0]", "[laughs] yes", '{"answer": "no"}', "[]", ["", None, "?"], [np.str_("no")]]  # fmt: skip
    want = [["yes", "no"]] * 4 + [["yes"], ["no", "yes"], ["1", "2"], ["laughs yes"], ["no"], [], ["?"], ["no"]]
    assert people_of(pd.Series(cells, dtype=object)) == want
    with pytest.raises(ValueError, match="Cells of 'answer' must be answers or lists of answers"):
        people_of(pd.Series(["[['yes']]"], name="answer"))


def test_what_most_people_said_is_the_answer_of_a_row():
    answers = Answers(
        {"yes": 0, "no": 1, "odd": 2}, [["yes"] * 4 + ["no"] * 6, ["mauve"] * 6 + ["no"] * 4, ["mauve"]], {}
    )
    assert answers.values.tolist() == [1, 1, -1]  # though both answers of the first teach by a half
    np.testing.assert_allclose(answers.take([0, 2])[1], [[0.5, 0.5, 0], [0, 0, 0]])


def test_kinds_are_first_words():
    assert first_words("What colour is the bus?") == "what colour"
    assert first_words("") == ""


# --- choosing


def test_it_answers(fitted):
    pipe, test = fitted
    report = pipe.evaluate(test, verbose=0)
    assert report.metrics["vqa_accuracy"] == report.metrics["accuracy"] > 0.9
    rivals = report.baselines["vqa_accuracy"]
    assert set(rivals.index) >= {"label prior", "prior by kind of question", "question alone", "thing alone"}
    assert rivals.max() < 0.75
    kinds = report.table("kinds")
    assert kinds["questions"].sum() == len(test)
    assert set(kinds.index) == {"what colour", "is it"}
    assert set(report.table("asked").columns) == {"question", "answered", "people said", "probability"}
    assert set(report.confusion.index) == {*WORDS, "yes", "no"}


def test_prior_by_kind_by_hand(fitted):
    pipe, test = fitted
    rival = PriorByKind(pipe.task, {"": np.full(5, 0.2), "is it": np.eye(5)[3]})
    units = pipe.task.units(test, pipe.modalities)
    predictions = rival.predict(None, units)
    asks = test["question"].str.startswith("is it").to_numpy()
    np.testing.assert_array_equal(predictions[asks], np.tile(np.eye(5)[3], (asks.sum(), 1)))
    np.testing.assert_array_equal(predictions[~asks], 0.2)


@pytest.mark.usefixtures("no_graphs")
def test_kinds_of_a_column():
    df = rows().assign(sort=pd.Categorical(["first", "second"] * 120))
    df.loc[0, "sort"] = None
    pipe = answerer(task=mm.Answer("answer", question_kind="sort"))
    pipe.fit(df, **{**QUICK, "epochs": 1})
    assert set(pipe.evaluate(df, verbose=0).table("kinds").index) == {"first", "second", ""}
    assert len(pipe.predict(df.drop(columns=["answer", "sort"]))) == len(df)  # which only reports need


def test_kinds_are_one_whatever_their_dtype():
    task, told = mm.Answer("answer", question_kind="sort"), [mm.Tabular(categorical=["hue"])]
    for sort in ([1, 2], [1.0, 2.0], ["1", " 2"], pd.Categorical([1, 2])):
        assert task.kinds(task.units(rows(2).assign(sort=sort), told)).tolist() == ["1", "2"]
    gaps = task.units(rows(3).assign(sort=[1, None, np.nan]), told)
    assert task.kinds(gaps).tolist() == ["1", "", ""]


def test_intervals_of_a_kind_draw_the_questions_of_a_picture_together():
    right, people, kinds = np.repeat([0.0, 1.0], 20), [["yes"]] * 40, np.array(["what"] * 40)
    apart, pictures = (kinds_section(kinds, people, right, together=x).table for x in (None, np.repeat([0, 1], 20)))
    assert apart["low"].item() > 0.2 and (pictures["low"].item(), pictures["high"].item()) == (0.0, 1.0)


def test_answers_that_cannot_be_chosen_are_wrong_in_training_too():
    """Targets of zeros, whose largest is the first answer, are not right where that is chosen."""
    (metric,) = mm.Answer("answer", classes=["red", "blue"]).metrics()
    metric.update_state(np.array([[0, 0], [1, 0], [0.4, 0.6]]), np.array([[0.9, 0.1]] * 3))
    assert metric.name == "accuracy" and float(metric.result()) == pytest.approx(1 / 3)


@pytest.mark.usefixtures("no_graphs")
def test_rivals_without_a_modality_join_the_others_as_they_can(tmp_path):
    """Of a question, an image and a table, "without image" leaves one sequence, which words cannot attend to."""
    tf.io.write_file(str(tmp_path / "a.png"), tf.io.encode_png(np.zeros((32, 32, 3), "uint8")))
    text = mm.Text("question", encoder="scratch", pooling=None, sequence_length=8, name="question")
    image = mm.Image("image", encoder="scratch", image_size=(32, 32), pooling=None, augment=False)
    df = rows(40).assign(image=str(tmp_path / "a.png"))
    pipe = mm.Pipeline([text, image, mm.Tabular(categorical=["hue"], name="thing")], mm.Answer("answer"), units=8)
    pipe.fit(df, **{**QUICK, "epochs": 1}, validation_data=False)
    names = pipe.evaluate(df.head(8), verbose=0).baselines.index
    assert pipe.fusion == "word_attention" and {"without image", "without question", "thing alone"} <= set(names)


def test_answers_out_of_the_list_count_as_wrong(fitted):
    pipe, test = fitted
    strange = test.assign(answer="mauve")
    report = pipe.evaluate(strange, verbose=0)
    assert report.metrics == {"vqa_accuracy": 0.0, "accuracy": 0.0}
    assert any("60 of 60 rows have answers that are none of the 5" in note for note in report.notes)


def test_sets_of_answers_hold_the_truth(fitted):
    pipe, test = fitted
    held = rows(200, seed=2)
    held.loc[:9, "answer"] = "mauve"
    pipe.conformalize(held)
    sets = pipe.predict_sets(test)
    assert np.mean([answer in some for answer, some in zip(test["answer"], sets, strict=True)]) > 0.85
    assert pipe.evaluate(held.head(10), verbose=0).sets.loc["coverage", "value"] == 0.0  # answers that no set can hold


def test_saved_and_served_it_answers_the_same(fitted, tmp_path):
    pipe, test = fitted
    said = pipe.predict_labels(test)
    pipe.save(tmp_path / "model")
    assert mm.load(tmp_path / "model").predict_labels(test).equals(said)
    pipe.export(tmp_path / "served")
    serve = tf.saved_model.load(tmp_path / "served").signatures["serve"]
    served = serve(
        question=tf.constant(test["question"].tolist()), hue=tf.constant(test["hue"].map("{:g}".format).tolist())
    )
    assert [answer.decode() for answer in served["answer"].numpy()] == said.tolist()
    np.testing.assert_allclose(served["probability"], pipe.predict(test).max(axis=1), atol=1e-5)


def test_explained(fitted):
    pipe, test = fitted
    explanation = mm.explain(pipe, test.head(3), "yes")
    assert explanation.modalities.shape == (3, 2)


@pytest.mark.usefixtures("no_graphs")
def test_rows_of_one_picture_are_held_out_together(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(20)]
    for number, path in enumerate(paths):
        path.write_bytes(tf.io.encode_png(np.full((8, 8, 3), 12 * number, "uint8")).numpy())
    df = pd.DataFrame({"image": [str(path) for path in paths for _ in range(5)], "question": "bright?"})
    df["answer"] = ["yes" if number >= 50 else "no" for number in range(100)]
    df.loc[:4, "image"] = ""  # nothing is shown: each of them is by itself
    image = mm.Image("image", encoder="scratch", image_size=(8, 8))
    units = mm.Answer("answer").units(df, [mm.Text("question", encoder="lexical"), image])
    numbers = units["answer: picture"]
    assert numbers[5:].nunique() == 19
    assert numbers[:5].nunique() == 5
    pipe = mm.Pipeline([mm.Text("question", encoder="lexical"), image], mm.Answer("answer"), units=8)
    pipe.fit(df, epochs=1, verbose=0)
    held = pipe.check_fitted().validation.df["image"]
    assert not set(held[held != ""]) & set(pipe.check_fitted().rows.df["image"])
    absent = df.head(3).assign(image="")
    assert len(pipe.predict_labels(absent)) == 3  # the question alone answers
    notes = pipe.evaluate(pd.concat([absent, df.tail(9)]), verbose=0).notes
    assert "3 of 12 rows show nothing: the question alone answers." in notes
    strange = df.head(4).assign(question=[" ", "?", "zzz", "是红色的吗"])
    notes = pipe.evaluate(strange, verbose=0).notes
    assert "2 of 4 rows ask nothing." in notes
    assert "2 of 4 rows ask in words of which no training question has one." in notes


# --- writing


@pytest.fixture(scope="module")
def writer():
    pipe = answerer("scratch", mm.Answer("answer", free=True), width=64, heads=4, dropout=0.0)
    pipe.fit(rows(320), **{**QUICK, "epochs": 24, "learning_rate": 3e-3})
    return pipe, rows(60, seed=1)


def test_it_writes_answers(writer):
    pipe, test = writer
    report = pipe.evaluate(test, verbose=0)
    assert report.metrics["accuracy"] > 0.9
    rivals = report.baselines["vqa_accuracy"]
    assert set(rivals.index) == {"most frequent answer", "prior by kind of question", "question alone", "thing alone"}
    assert rivals.max() < 0.75
    assert list(pipe.predict(test).columns) == ["answer", "probability"]
    assert pipe.predict(test)["probability"].between(0, 1).all()


@pytest.mark.usefixtures("no_graphs")
def test_the_share_that_is_left_out_holds_for_what_the_fusion_joins_too():
    pipe = answerer(task=mm.Answer("answer", free=True), width=8, heads=2, dropout=0.0)
    pipe.fit(rows(40), epochs=1, verbose=0, validation_data=False)
    drops = {layer.name: layer.rate for layer in pipe.head.layers if layer.name.endswith("_drop")}
    assert "fuse_question_drop" in drops and set(drops.values()) == {0.0}


def test_written_answers_are_kept_and_served(writer, tmp_path):
    pipe, test = writer
    said = pipe.predict_labels(test)
    pipe.evaluate(test, verbose=0)  # rivals are kept, too
    pipe.save(tmp_path / "model")
    loaded = mm.load(tmp_path / "model")
    assert loaded.predict_labels(test).equals(said)
    pd.testing.assert_frame_equal(
        loaded.evaluate(test, verbose=0).baselines, pipe.evaluate(test, verbose=0).baselines, rtol=1e-6
    )
    pipe.export(tmp_path / "served")
    serve = tf.saved_model.load(tmp_path / "served").signatures["serve"]
    served = serve(
        question=tf.constant(test["question"].tolist()), hue=tf.constant(test["hue"].map("{:g}".format).tolist())
    )
    assert [answer.decode() for answer in served["answer"].numpy()] == said.tolist()
    np.testing.assert_allclose(served["probability"], pipe.predict(test)["probability"], atol=1e-5)


def test_signs_that_words_leave_out_are_written_as_people_spell_them(tmp_path):
    """The decoder writes words: "2 50" is the time that people spell "2:50"."""
    said = ["2:50", "1.5", "红色", "don't know", "50%", "1:5"]
    df = pd.DataFrame({"question": [f"what is {'abcd'[n % 4]}?" for n in range(80)], "hue": 1.0})
    df["answer"] = [said[n % 4] for n in range(80)]
    df.loc[:7, "answer"] = ["50%", "50%", "1:5", "1:5", "?", "?", "50%", "very very long " * 9]
    task = mm.Answer("answer", free=True)
    with pytest.warns(UserWarning):
        learnt = task.adapt(task.units(df, modalities()))
    assert learnt.state["spellings"] == {"2 50": "2:50", "1 5": "1.5", "50": "50%"}  # of "1 5" the more frequent
    times = pd.DataFrame({"question": "what time is it?", "hue": 1.0, "answer": ["2:50"] * 76 + ["1.5"] * 4})
    pipe = answerer("scratch", task, width=32, heads=2, dropout=0.0)
    pipe.fit(times, **{**QUICK, "epochs": 12}, validation_data=False)
    assert (pipe.predict_labels(times) == "2:50").all()
    pipe.export(tmp_path / "served")
    serve = tf.saved_model.load(tmp_path / "served").signatures["serve"]
    assert serve(question=tf.constant(["what time is it?"]), hue=tf.constant(["1"]))["answer"].numpy() == [b"2:50"]


def test_nothing_is_no_answer():
    """Even a model that knows nothing writes a word, greedily or by a beam."""
    assert mm.Answer("answer", free=True, decoding={"method": "beam"}).decode_settings["min_length"] == 1
    pipe = answerer("scratch", mm.Answer("answer", free=True), width=8, heads=2)
    pipe.fit(rows(40), epochs=1, verbose=0)
    assert (pipe.predict_labels(rows(20, seed=3)) != "").all()


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.usefixtures("no_graphs")
def test_it_keeps_the_contract_of_a_task(free):
    mm.testing.check_task(mm.Answer("answer", free=free), rows(80), modalities())


# --- what cannot be answered


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"top": 1}, "`top` of Answer must be an int of at least 2. Received: 1"),
        ({"min_count": 0}, "`min_count` of Answer must be an int of at least 1. Received: 0"),
        ({"free": "yes"}, "`free` must be True or False. Received: 'yes'"),
    ],
)
def test_settings_that_cannot_work(settings, message):
    with pytest.raises(ValueError, match=message):
        mm.Answer("answer", **settings)


def test_targets_that_cannot_work():
    few = rows(40)
    with pytest.raises(
        ValueError, match="at least two answers that occur in 2 rows each. Received: 36 different answers in 36 rows"
    ):
        answerer().fit(few.assign(answer=[f"answer {n}" for n in range(40)]), **QUICK)
    with pytest.raises(ValueError, match="known in every row. Received: 2 rows without an answer"):
        answerer().fit(few.assign(answer=[[], None, *few["answer"][2:]]), **QUICK)
    with pytest.raises(ValueError, match="must be answers or lists of answers. Received"):
        answerer().fit(few.assign(answer=[[["yes"]], *few["answer"][1:]]), **QUICK)


def test_answers_to_choose_from_are_plain_too():
    assert mm.Answer("answer", classes=["The Dog", "Two"]).classes == ("dog", "2")
    assert mm.Answer("answer", classes=["A", "?", 1.0]).classes == ("a", "?", "1")  # as cells are read
    with pytest.raises(ValueError, match="must be different names"):
        mm.Answer("answer", classes=["a dog", "Dog"])
    with pytest.raises(ValueError, match="at least two answers to choose from. Received: \\('dog',\\)"):
        mm.Answer("answer", classes=["dog"])
    task = mm.Answer("answer", classes=["mauve", "red"])
    with pytest.raises(ValueError, match=r"at least two of the given `classes` .*Received: \['red'\] in 40 rows"):
        task.adapt(task.units(rows(40), modalities()))


def test_answers_that_differ_in_case_only_are_one():
    df = rows(40)
    df["answer"] = [answer.upper() if number % 2 else f"{answer}." for number, answer in enumerate(df["answer"])]
    task = mm.Answer("answer")
    assert set(task.adapt(task.units(df, modalities())).classes) <= {*WORDS, "yes", "no"}


@pytest.mark.parametrize("question", ["", "zzz qqq", "这是什么颜色？", None])
def test_questions_without_a_known_word_are_answered(fitted, question):
    pipe, test = fitted
    said = pipe.predict_labels(test.head(2).assign(question=question))
    assert set(said) <= {*WORDS, "yes", "no"}


# --- what counted


@pytest.mark.parametrize("fusion", ["film", "stacked_attention", "cross_attention"])
def test_a_report_shows_what_of_a_picture_counted(tmp_path, fusion):
    paths = [str(tmp_path / f"{number}.png") for number in range(24)]
    for number, path in enumerate(paths):
        pixels = np.zeros((64, 64, 3), "uint8")
        pixels[40:60, 40:60] = [255, 0, 0] if number % 2 else [0, 0, 255]
        tf.io.write_file(path, tf.io.encode_png(pixels))
    df = pd.DataFrame({"image": paths * 4, "question": "what colour is it?", "answer": ["blue", "red"] * 48})
    image = mm.Image("image", encoder="scratch", image_size=(64, 64), pooling=None, augment=False)
    words = (
        {"encoder": "scratch", "pooling": None, "sequence_length": 8}
        if fusion == "cross_attention"
        else {"encoder": "lexical"}
    )
    pipe = mm.Pipeline([mm.Text("question", **words), image], mm.Answer("answer"), fusion, units=16)
    pipe.fit(df, **{**QUICK, "epochs": 2})
    weights = looked_at(pipe.trunk, pipe.head, df)
    assert weights.shape == (96, 4, 4)
    np.testing.assert_allclose(weights.sum(axis=(1, 2)), 1.0, atol=1e-5)
    shown = pipe.evaluate(df, verbose=0).table("asked")["image"]
    assert all(tf.io.decode_png(picture).shape[1] == 128 for picture in shown)  # as it is, and what counted
    absent = looked_at(pipe.trunk, pipe.head, df.assign(image=""))
    np.testing.assert_array_equal(absent, 0)


def test_what_does_not_look_shows_nothing(fitted):
    pipe, test = fitted
    assert looked_at(pipe.trunk, pipe.head, test) is None


def test_the_answerer_is_a_plain_graph():
    model = mm.build_question_answerer(5, 20, "scratch", None, (32, 32), width=8, fusion="stacked_attention")
    said = model({"image": np.zeros((2, 32, 32, 3)), "question": np.array([[3, 4, 0], [5, 0, 0]])})["answer"]
    np.testing.assert_allclose(np.sum(said, axis=1), 1.0, atol=1e-6)
    longer = model({"image": np.zeros((1, 32, 32, 3)), "question": np.array([[5, 0, 0, 0, 0]])})["answer"]
    np.testing.assert_allclose(longer[0], said[1], atol=1e-6)  # padding changes nothing
    with pytest.raises(ValueError, match="`fusion` must be one of"):
        mm.build_question_answerer(5, 20, "scratch", None, (32, 32), fusion="concat")
    with pytest.raises(ValueError, match="`num_answers` must be an int of at least 2. Received: 1"):
        mm.build_question_answerer(1, 20, "scratch", None, (32, 32))


def test_the_command_answers(fitted, tmp_path, capsys):
    pipe, _ = fitted
    words = mm.Pipeline([mm.Text("question", encoder="lexical")], mm.Answer("answer"), units=16)
    words.fit(rows(), **{**QUICK, "epochs": 2})
    words.save(tmp_path / "model")
    assert main(["answer", str(tmp_path / "model"), "", "is it red?", "what colour is it?"]) == 0
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert len(lines) == 2 and "No image" not in told.err  # it reads none
    assert re.fullmatch(r"is it red\? (yes|no) \(0\.\d\d\)", lines[0])
    pipe.save(tmp_path / "other")
    assert main(["answer", str(tmp_path / "other"), "", "is it red?"]) == 2
    assert "takes a model that answers by one text and one picture" in capsys.readouterr().err


def test_the_command_tells_what_was_not_there(tmp_path, capsys):
    path = str(tmp_path / "a.png")
    tf.io.write_file(path, tf.io.encode_png(np.zeros((8, 8, 3), "uint8")))
    image = mm.Image("image", encoder="scratch", image_size=(8, 8))
    pipe = mm.Pipeline([mm.Text("question", encoder="lexical"), image], mm.Answer("answer"), units=8)
    pipe.fit(rows(40).assign(image=path), **{**QUICK, "epochs": 1})
    pipe.save(tmp_path / "model")
    assert main(["answer", str(tmp_path / "model"), "", "is it red?", "zzz"]) == 0
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 2 and "No image: the question alone answers." in told.err
    assert "'zzz' has no word of the training questions: nothing answers." in told.err
    assert "'is it red?'" not in told.err
    assert main(["answer", str(tmp_path / "model"), path, ""]) == 0
    assert "'' has no word of the training questions: the image answers." in capsys.readouterr().err


def test_many_questions_about_an_image_cost_one_pass_of_a_frozen_tower(tmp_path):
    pixels = keras.Input((16, 16, 3))
    tower = keras.Model(pixels, keras.layers.Conv2D(4, 8, 8)(keras.layers.Rescaling(1 / 255)(pixels)))
    tower.save(tmp_path / "tower.keras")
    picture = tf.io.encode_jpeg(np.full((320, 200, 3), 90, "uint8")).numpy()
    df = pd.concat([rows(500), rows(500, seed=1)], ignore_index=True).assign(image=picture)
    image = mm.Image("image", encoder=tmp_path / "tower.keras", image_size=(16, 16), pooling=None)
    pipe = mm.Pipeline([mm.Text("question", encoder="lexical"), image], mm.Answer("answer"), units=8)
    pipe.fit(df, epochs=1, verbose=0, cache_dir=tmp_path / "features", validation_data=False)
    pipe.predict(df, cache=True)
    (told,) = open_store(tmp_path / "features").info()
    assert told["rows"] == 1


@pytest.mark.parametrize("tables", [["hue"], ["hue", "other"]])
def test_written_answers_of_unlike_lengths_are_learnt_beside_numbers_alone(tables):
    df = pd.DataFrame({"hue": np.arange(24.0), "other": 1.0, "answer": ["yes", "a dark red star", "two stars"] * 8})
    modalities = [mm.Tabular(numeric=name, name=name) for name in tables]
    pipe = mm.Pipeline(modalities, mm.Answer("answer", min_count=1, free=True), width=8, heads=2)
    pipe.fit(df, epochs=1, batch_size=8, verbose=0, validation_data=False)
    assert len(pipe.predict_labels(df)) == 24
