"""Drawn scenes with questions: true answers, and nothing to be learnt from questions alone."""

import re

import numpy as np
import pandas as pd
import pytest

from mmkeras import samples
from mmkeras.samples import scenes
from mmkeras.samples.questions import ask

KINDS = ["count", "presence", "colour", "shape", "relation", "place"]
SIDES = {"left": 0, "top": 0, "right": 1, "bottom": 1}
NAMES = {name: shape for shape, names in scenes.SHAPES.items() for name in names}
KIND = re.compile(rf"({'|'.join(scenes.COLOURS)}) ({'|'.join(NAMES)})")
TURNED = {"right": ("left of", 1), "below": ("above", 1), "under": ("above", 1), "left": ("left of", 0),
          "above": ("above", 0), "over": ("above", 0)}  # fmt: skip


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("questions")
    return samples.questions(60, seed=2, directory=folder), folder


@pytest.fixture(scope="module")
def asked():
    """Questions of 2,000 scenes that nobody draws, with their number."""
    rows = []
    for number in range(2000):
        rng = np.random.default_rng(number)
        rows += [{"scene": number, **question} for question in ask(rng, scenes.scene(rng))]
    return pd.DataFrame(rows)


def truth(content, question, kind):
    """The answer, looked up in the content of a scene."""
    groups = list(zip(*(content[name].split("|") for name in ("colours", "shapes", "counts")), strict=True))
    told = [(colour, NAMES[name]) for colour, name in KIND.findall(question)]
    kinds = [(colour, shape) for colour, shape, _ in groups]
    if kind == "count":
        return {(colour, shape): count for colour, shape, count in groups}.get(told[0], "0")
    if kind == "presence":
        return "yes" if told[0] in kinds else "no"
    words = re.findall(r"\w+", question)
    if kind == "relation":
        relation, side = next(TURNED[word] for word in words if word in TURNED)
        assert relation == content["relation"] and set(told) == set(kinds)
        return "yes" if kinds.index(told[0]) == side else "no"
    if kind == "place":
        (group,) = (groups[SIDES[word]] for word in words if word in SIDES)
        return group["colour" not in words]
    if kind == "colour":
        shape = next(NAMES[w.removesuffix("s")] for w in words if w.removesuffix("s") in NAMES)
        (answer,) = (c for c, s in kinds if s == shape)
    else:
        colour = next(word for word in words if word in scenes.COLOURS)
        (answer,) = (s for c, s in kinds if c == colour)
    return answer


def test_questions_are_deterministic_and_a_larger_sample_begins_with_the_smaller(drawn, tmp_path):
    df, folder = drawn
    again = samples.questions(3, seed=2, directory=tmp_path)
    pd.testing.assert_frame_equal(again.drop(columns="image"), df.head(len(again)).drop(columns="image"))
    for one, two in zip(again["image"], df["image"], strict=False):
        with open(one, "rb") as first, open(two, "rb") as second:
            assert first.read() == second.read()
    other = samples.questions(3, seed=3, directory=tmp_path)
    assert not set(other["image"]) & set(again["image"]) and not set(other["question"]) <= set(again["question"])
    assert df["image"].nunique() == 60 == len(list(folder.iterdir())) and df.columns.tolist() == list(again.columns)


def test_every_answer_is_true(drawn, asked):
    df, _ = drawn
    contents = {
        row: scenes.scene(np.random.default_rng([2, row])) for row in range(60)
    }  # what is drawn first of each row
    for image, question, answer, kind in df.itertuples(index=False):
        assert truth(contents[int(image[-10:-4])], question, kind) == answer, question
    for number, question, answer, kind in asked.head(4000).itertuples(index=False):
        assert truth(scenes.scene(np.random.default_rng(number)), question, kind) == answer, question


def test_what_a_question_names_is_drawn(drawn):
    """Of a colour that is answered some pixels are in the picture."""
    import tensorflow as tf

    df, _ = drawn
    for image, answer in df[df["kind"] == "colour"].head(20)[["image", "answer"]].itertuples(index=False):
        pixels = tf.io.decode_image(tf.io.read_file(image)).numpy().astype(float)
        near = np.abs(pixels - scenes.COLOURS[answer]).max(axis=-1) < 45
        assert near.sum() > 15, (image, answer)


def test_each_scene_has_one_question_of_each_kind_that_it_can_answer(asked):
    counts = asked.groupby("scene")["kind"].agg(list)
    assert all(len(set(kinds)) == len(kinds) and {"count", "presence"} <= set(kinds) for kinds in counts)
    assert set(asked["kind"]) == set(KINDS) and 5 < len(asked) / 2000 < 5.5
    alone = ask(np.random.default_rng(0), {"colours": "red", "shapes": "star", "counts": "2", "relation": ""})
    assert [question["kind"] for question in alone] == KINDS[:4]
    alike = {"colours": "red|blue", "shapes": "star|star", "counts": "2|1", "relation": "above"}
    kinds = [question["kind"] for question in ask(np.random.default_rng(0), alike)]
    assert kinds == ["count", "presence", "shape", "relation", "place"]  # no colour: there are stars of two


def test_answers_of_every_form_of_question_are_balanced(asked):
    form = asked["question"].str.replace(KIND, "#", regex=True)
    form = form.str.replace(rf"\b({'|'.join([*NAMES, *(f'{n}s' for n in NAMES), *scenes.COLOURS])})\b", "#", regex=True)
    sizes = {"count": 4, "presence": 2, "colour": 6, "shape": 4, "relation": 2}
    for (kind, words), answers in asked.groupby(["kind", form])["answer"]:
        size = sizes[words.split()[1] if kind == "place" else kind]
        shares = answers.value_counts(normalize=True)
        spread = 4 * np.sqrt(1 / size * (1 - 1 / size) / len(answers))
        assert len(shares) == size and (abs(shares - 1 / size) < spread).all(), (words, shares.to_dict())


def test_questions_alone_tell_nothing(asked):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    train, test = asked[asked["scene"] < 1600], asked[asked["scene"] >= 1600]
    terms = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\w+").fit(train["question"])
    model = LogisticRegression(max_iter=50).fit(terms.transform(train["question"]), train["answer"])
    right = pd.Series(model.predict(terms.transform(test["question"])) == test["answer"], index=test.index)
    assert right.mean() < 0.4
    for kind, chance in {
        "count": 0.25,
        "presence": 0.5,
        "colour": 1 / 6,
        "shape": 0.25,
        "relation": 0.5,
        "place": 5 / 24,
    }.items():
        some = right[test["kind"] == kind]
        assert some.mean() < chance + 4 * np.sqrt(chance * (1 - chance) / len(some)), kind


def test_questions_need_a_number_a_seed_a_size_and_a_folder(tmp_path):
    with pytest.raises(ValueError, match="`n` must be a positive int. Received: 0"):
        samples.questions(0, directory=tmp_path)
    with pytest.raises(ValueError, match="`seed` must be an int of at least 0. Received: -1"):
        samples.questions(1, seed=-1, directory=tmp_path)
    with pytest.raises(ValueError, match="`size` must be an int of at least 32. Received: 16"):
        samples.questions(1, directory=tmp_path, size=16)
    with pytest.raises(ValueError, match="`directory` must name a folder for the pictures. Received: None"):
        samples.questions(1)
