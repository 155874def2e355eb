"""Explanations: Shapley values against a definition of their own, gradients against models solved by hand, and pictures of both."""

import dataclasses
import itertools
import logging
import math

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras.evaluation.shapley import shapley
from mmkeras.inspection.deletion import deletion
from mmkeras.inspection.sanity import sanity
from mmkeras.modalities.encoders.transformer import words_of


@pytest.fixture(scope="module")
def films():
    df = mm.samples.movies(80, seed=0)
    texts = [mm.Text("overview", encoder="lexical", name="words"), mm.Text("title", "scratch", 16, pooling="mean")]
    table = mm.Tabular(numeric=["budget", "runtime"], categorical="title", datetime="release_date")
    pipe = mm.Pipeline([*texts, table], mm.MultiLabel("genres"))
    pipe.fit(df, epochs=3, verbose=0)
    return pipe, df


@pytest.fixture(scope="module")
def explained(films):
    pipe, df = films
    return mm.explain(pipe, df.head(6))


def test_a_loaded_model_explains_as_it_did(films, explained, tmp_path):
    pipe, df = films
    pipe.save(tmp_path / "model")
    again = mm.explain(mm.load(tmp_path / "model"), df.head(6))
    assert again.notes == explained.notes
    assert list(sanity(mm.load(tmp_path / "model"), df.head(6), again).index) == ["words", "text", "tabular"]
    assert again.pieces.keys() == explained.pieces.keys()
    for name, rows in explained.pieces.items():
        for row, other in zip(rows, again.pieces[name], strict=True):
            assert [piece for piece, _ in row] == [piece for piece, _ in other]
            np.testing.assert_allclose([value for _, value in row], [value for _, value in other], atol=1e-5)


# === Shapley values ===


def game(names, seed=0):
    rng, worths = np.random.default_rng(seed), {}
    return lambda there: worths.setdefault(frozenset(there), rng.normal(size=3))


@pytest.mark.parametrize("players", [1, 2, 4])
def test_values_are_means_over_all_orders(players):
    names = "abcd"[:players]
    worth, expected = game(names), np.zeros((players, 3))
    for order in itertools.permutations(range(players)):
        for place, player in enumerate(order):
            before, after = ([names[other] for other in order[:end]] for end in (place, place + 1))
            expected[player] += (worth(after) - worth(before)) / math.factorial(players)
    values, errors = shapley(list(names), worth)
    np.testing.assert_allclose(values, expected, atol=1e-12)
    assert errors is None
    np.testing.assert_allclose(values.sum(axis=0), worth(names) - worth(()), atol=1e-12)


def test_of_many_players_orders_are_drawn_with_their_error():
    names = [f"p{number}" for number in range(12)]
    weights = np.arange(12.0)

    def worth(there):
        places = [names.index(name) for name in there]
        return np.array(weights[places].sum() + 3.0 * ("p0" in there and "p1" in there))

    values, errors = shapley(names, worth)
    assert values.sum() == pytest.approx(weights.sum() + 3.0)
    np.testing.assert_allclose(values[2:], weights[2:])  # nothing of it depends on the order
    np.testing.assert_allclose(values[:2], weights[:2] + 1.5)  # each pair of orders gives half of it to each
    assert errors.max() < 1e-9
    assert np.array_equal(values, shapley(names, worth)[0])


def test_modalities_add_up_and_an_absent_one_gives_nothing(films):
    pipe, df = films
    rows = df.head(5).copy()
    rows.loc[rows.index[2], "overview"] = ""
    explanation = mm.explain(pipe, rows, "Drama", inside=False)
    p = pipe.predict(rows)["Drama"].to_numpy()
    np.testing.assert_allclose(explanation.worth, np.log(p / (1 - p)), atol=1e-4)
    total = explanation.nothing + explanation.modalities.sum(axis=1)
    np.testing.assert_allclose(total, explanation.worth, atol=1e-5)
    assert np.ptp(explanation.nothing) < 1e-6  # of nothing, the model says the same of every row
    assert explanation.modalities["words"].iloc[2] == pytest.approx(0, abs=1e-6)
    assert abs(explanation.modalities["words"]).iloc[0] > 1e-4
    assert explanation.outcomes == ("Drama",) * 5 and explanation.pieces == {} and explanation.missed is None


# === Inside a modality ===


def test_pieces_add_up_to_the_difference(explained):
    assert explained.missed.max() <= 0.02 and explained.steps >= 16 and explained.notes == []
    assert list(explained.pieces) == ["words", "text", "tabular"] and explained.texts == ("text",)
    assert all(len(rows) == 6 for rows in explained.pieces.values())


def test_linear_models_are_told_exactly():
    rng = np.random.default_rng(0)
    df = pd.DataFrame({"a": rng.normal(size=200), "b": rng.normal(size=200)})
    df["y"] = 3 * df["a"] - 2 * df["b"]
    pipe = mm.Pipeline([mm.Tabular(numeric=["a", "b"])], mm.Regression("y"), depth=1, dropout=0.0)
    pipe.fit(df, validation_data=False, epochs=60, learning_rate=1e-2, verbose=0)
    explanation = mm.explain(pipe, df.head(20))
    given = pd.DataFrame([dict(row) for row in explanation.pieces["tabular"]])
    truth = df.head(20)
    assert np.corrcoef(given["a"], truth["a"])[0, 1] > 0.98 and np.corrcoef(given["b"], -truth["b"])[0, 1] > 0.98
    assert np.polyfit(truth["a"], given["a"], 1)[0] == pytest.approx(3, abs=0.5)
    assert deletion(pipe, truth, explanation, "tabular", draws=20).loc["difference", "low"] > 0  # a matters more
    with pytest.raises(
        ValueError, match="`probability` goes with log-odds. Received: an explanation of the prediction"
    ):
        deletion(pipe, truth, explanation, "tabular", probability=True)
    with pytest.raises(ValueError, match="needs an explanation with pieces"):
        sanity(pipe, truth, mm.explain(pipe, truth, inside=False))


@pytest.fixture(scope="module", params=["lexical", "scratch"])
def judge(request):
    """(name of the encoder, a model of texts of which one word decides, the texts)."""
    rng = np.random.default_rng(0)
    filler = ["the", "old", "house", "stands", "near", "a", "river"]
    texts = [" ".join([*rng.permutation(filler)[:5], ("splendid" if n % 2 else "awful")]) for n in range(160)]
    df = pd.DataFrame({"text": texts, "kind": ["good" if n % 2 else "bad" for n in range(160)]})
    text = mm.Text("text", encoder=request.param, sequence_length=16, pooling="mean")
    pipe = mm.Pipeline([text], mm.MultiClass("kind"), units=16, dropout=0.0)
    epochs = 12 if request.param == "lexical" else 30
    pipe.fit(df, validation_data=False, epochs=epochs, batch_size=16, learning_rate=2e-3, verbose=0)
    assert (pipe.predict_labels(df) == df["kind"]).all()
    return request.param, pipe, df


def test_the_word_that_decides_has_the_most_weight(judge):
    _, pipe, df = judge
    for row, pieces in enumerate(mm.explain(pipe, df.head(6), "good").pieces["text"]):
        word, value = max(pieces, key=lambda piece: abs(piece[1]))
        told = "splendid" if row % 2 else "awful"
        assert word.split()[-1] == told and (value > 0) == bool(row % 2), (row, pieces)


def test_words_that_are_said_to_matter_matter(judge):
    encoder, pipe, df = judge
    rows = df.head(12)
    explanation = mm.explain(pipe, rows)
    if encoder == "lexical":  # terms, among them pairs of words, are no words in their order
        with pytest.raises(ValueError, match="`modality` must be one whose pieces are the words .*: 'text'; there are"):
            deletion(pipe, rows, explanation, "text")
        return
    table = deletion(pipe, rows, explanation, "text")
    assert table.loc["difference", "low"] > 0.1
    chances = deletion(pipe, rows, explanation, "text", probability=True)
    assert 0.02 < chances.loc["difference", "low"] < chances.loc["said", "area"] <= 1
    assert table.loc["said", "area"] - table.loc["random", "area"] == pytest.approx(table.loc["difference", "area"])
    for others in (df.head(3), df.tail(12)):
        with pytest.raises(
            ValueError, match=rf"`df` must hold the 12 rows of the explanation. Received: {len(others)} rows"
        ):
            deletion(pipe, others, explanation, "text")
        with pytest.raises(ValueError, match=f"of the rows that are given. Received: .* and {len(others)} rows"):
            sanity(pipe, others, explanation)
    with pytest.raises(ValueError, match="`draws` must be 1 or more. Received: 0"):
        deletion(pipe, rows, explanation, "text", draws=0)


def test_pixels_of_the_shape_that_decides_weigh_more_than_paper():
    rng = np.random.default_rng(0)

    def picture(colour, at):
        pixels = np.full((32, 32, 3), 230, "uint8")
        pixels[at[0] : at[0] + 10, at[1] : at[1] + 10] = colour
        return tf.io.encode_png(pixels).numpy()

    places = rng.integers(2, 20, size=(120, 2))
    colours = [(220, 30, 30), (30, 30, 220)]
    df = pd.DataFrame({"picture": [picture(colours[n % 2], at) for n, at in enumerate(places)]})
    df["kind"] = ["red" if n % 2 == 0 else "blue" for n in range(120)]
    image = mm.Image("picture", encoder="scratch", image_size=(32, 32), augment=False)
    pipe = mm.Pipeline([image], mm.MultiClass("kind"), units=16)
    pipe.fit(df, validation_data=False, epochs=8, learning_rate=3e-3, verbose=0)
    explanation = mm.explain(pipe, df.head(8))
    shares = []
    for heat, at in zip(explanation.pieces["image"], places, strict=False):
        assert heat.shape == (32, 32)
        inside = np.abs(heat)[at[0] : at[0] + 10, at[1] : at[1] + 10].sum()
        shares.append(inside / np.abs(heat).sum() / (100 / 32**2))
    assert np.mean(shares) > 3  # times the share of the area
    assert explanation.plot(0).axes[1].images  # the picture, with its map
    assert deletion(pipe, df.head(8), explanation, "image", draws=3).loc["difference", "low"] > 0
    before = pipe.predict(df.head(8))
    table = sanity(pipe, df.head(8), explanation)
    assert table.loc["image", "high"] < 0.8 and table.loc["image", "rows"] == 8
    pd.testing.assert_frame_equal(pipe.predict(df.head(8)), before)
    assert explanation.pictures["image"] == [(cell,) for cell in df["picture"].head(8)]


def test_what_is_not_differentiable_is_told_as_a_whole_and_why(tmp_path):
    rng = np.random.default_rng(0)
    df = pd.DataFrame({"a": rng.normal(size=60), "v": list(rng.normal(size=(60, 3)))})
    df["y"] = df["a"] + df["v"].str[0]
    for modalities, told in (([mm.Tabular(numeric="a"), mm.Vector("v")], ["tabular"]), ([mm.Vector("v")], [])):
        pipe = mm.Pipeline(modalities, mm.Regression("y"))
        pipe.fit(df, validation_data=False, epochs=1, verbose=0)
        explanation = mm.explain(pipe, df.head(3))
        total = explanation.nothing + explanation.modalities.sum(axis=1)
        np.testing.assert_allclose(total, explanation.worth, atol=1e-5)
        assert list(explanation.pieces) == told and explanation.missed.max() <= 0.02
        why = "Not differentiable, so that only what they gave as a whole is told: vector."
        assert explanation.notes == [why] and why in explanation.to_html(tmp_path / "why.html").read_text()


def test_parts_of_words_become_words():
    assert words_of(["</s>", "▁New", "▁Yor", "k", "</s>"], [1, 2, 3, 4, 5.0]) == [
        ("</s>", 1), ("New", 2), ("York", 7), ("</s>", 5),
    ]  # fmt: skip
    assert words_of(["<s>", "old", "Ġhou", "se"], [0, 1, 2, 3.0]) == [("<s>", 0), ("old", 1), ("house", 5)]
    assert words_of([], []) == []


def test_several_choices_are_as_each_by_itself(films):
    pipe, df = films
    rows = df.head(3)
    both = mm.explain(pipe, rows, ["Drama", "War"])
    assert both.outcomes == ("Drama",) * 3 + ("War",) * 3
    for part, name in enumerate(["Drama", "War"]):
        alone = mm.explain(pipe, rows, name)
        pd.testing.assert_frame_equal(alone.modalities, both.modalities.iloc[3 * part : 3 * part + 3], atol=1e-5)
        assert alone.pieces["words"][0] == [
            (term, pytest.approx(value, abs=1e-4)) for term, value in both.pieces["words"][3 * part]
        ]
    pd.testing.assert_frame_equal(
        both.to_frame().tail(3), mm.explain(pipe, rows, "War", inside=False).to_frame(), atol=1e-5
    )
    with pytest.raises(ValueError, match="an empty list"):
        mm.explain(pipe, rows, [])


@pytest.mark.parametrize("task", [mm.MultiClass("kind"), mm.MultiLabel("kind")])
def test_a_prediction_that_is_sure_is_explained_all_the_same(task):
    rng = np.random.default_rng(0)
    df = pd.DataFrame({"a": rng.normal(size=120)}).assign(kind=lambda rows: np.where(rows["a"] > 0, "up", "down"))
    pipe = mm.Pipeline([mm.Tabular(numeric="a")], task, units=8, dropout=0.0)
    pipe.fit(df, validation_data=False, epochs=3, verbose=0)
    probabilities = pipe.predict(df.head(1))["up"].to_numpy()
    usual = mm.explain(pipe, df.head(1), "up").worth
    np.testing.assert_allclose(usual, np.log(probabilities / (1 - probabilities)), rtol=1e-4)
    layer = pipe.head.get_layer("logits_0")
    layer.set_weights([weight * 300 for weight in layer.get_weights()])
    sure = mm.explain(pipe, df.sort_values("a").tail(3), "up")
    assert (pipe.predict(df.sort_values("a").tail(3))["up"] > 1 - 1e-5).all() and (sure.worth > 11).all()
    assert (sure.missed <= 0.02).all() and all(abs(pieces[0][1]) > 1 for pieces in sure.pieces["tabular"])


def test_many_rows_are_explained_in_parts():
    rng = np.random.default_rng(0)
    df = pd.DataFrame({"a": rng.normal(size=10_000)}).assign(kind=lambda rows: np.where(rows["a"] > 0, "up", "down"))
    pipe = mm.Pipeline([mm.Tabular(numeric="a")], mm.MultiClass("kind"), units=4)
    pipe.fit(df.head(200), validation_data=False, epochs=2, verbose=0)
    explanation = mm.explain(pipe, df, inside=False)
    assert len(explanation) == 10_000 and np.isfinite(explanation.worth).all()
    assert len(mm.explain(pipe, df.head(500)).pieces["tabular"]) == 500


# === What is told ===


def test_frames_pictures_and_pages(explained, tmp_path):
    frame = explained.to_frame()
    assert list(frame.columns) == ["outcome", "log-odds", "nothing", "words", "text", "tabular"] and len(frame) == 6
    figure = explained.plot(2)
    assert len(figure.axes) == 4
    page = explained.to_html(tmp_path / "why.html", most=2).read_text()
    assert page.count("data:image/png") == 2 and "What decided 2 of 6 rows" in page and "<span style=" in page


def test_a_frame_has_a_line_for_each_row_whatever_names_there_are(explained):
    shares = explained.modalities.rename(columns={"words": "nothing"}).set_axis([0, 1, 1, 2, 2, 2])
    frame = dataclasses.replace(explained, modalities=shares, index=shares.index).to_frame()
    assert list(frame.columns) == ["outcome", "log-odds", "nothing", "nothing", "text", "tabular"]
    assert frame.index.tolist() == [0, 1, 1, 2, 2, 2]
    np.testing.assert_array_equal(frame[["text", "tabular"]], explained.modalities[["text", "tabular"]])


def test_no_word_of_a_page_is_left_out_and_a_picture_counts_those_that_it_leaves_out(explained, tmp_path):
    pieces = {"text": [[(f"word{number}", 1.0) for number in range(160)]] * 6}
    long = dataclasses.replace(explained, pieces=pieces, texts=("text",))
    assert "word159</span>" in long.to_html(tmp_path / "long.html", most=1).read_text()
    told = [text.get_text() for text in long.plot(0).axes[1].texts]
    assert told[-2:] == ["word149", "… 10 more"]


def test_bars_of_columns_tell_what_they_held_and_drawn_values_their_error(films, explained):
    _, df = films
    assert list(explained.cells) == ["tabular"]
    rows = explained.cells["tabular"].assign(budget=[None, *df["budget"].iloc[1:6]])
    errors = explained.modalities * 0 + 0.25
    drawn = dataclasses.replace(explained, cells={"tabular": rows}, errors=errors)
    for row in range(2):
        axes = drawn.plot(row).axes
        names = [text.get_text() for text in axes[-1].get_yticklabels()]
        wanted = "missing" if row == 0 else f"{df['budget'].iloc[row]:.6g}"
        assert f"budget = {wanted}" in names and f"release_date = {df['release_date'].iloc[row]}" in names
        assert [text.get_text() for text in axes[0].get_yticklabels()] == [f"{n} (± 0.25)" for n in errors]


def test_pictures_of_several_columns_lie_below_their_own_parts_of_the_map(explained):
    def picture(level, width):
        return tf.io.encode_png(np.full((20, width, 3), level, "uint8")).numpy()

    heat = np.concatenate([np.zeros((8, 8)), np.ones((8, 8))], axis=1)
    cells = [(picture(50, 30), picture(200, 60)), (None, picture(200, 60)), *[(None, None)] * 4]
    drawn = dataclasses.replace(explained, pieces={"image": [heat] * 6}, pictures={"image": cells}, texts=())
    for row, levels, ends in ((0, [50, 200], [30, 60]), (1, [200], [60, 120]), (2, [], [8, 16])):
        *below, above = drawn.plot(row).axes[1].images
        assert [image.get_array().mean() for image in below] == levels
        assert above.get_extent()[1] == ends[1]
        assert all(image.get_extent()[1] in ends for image in below)


def test_explaining_row_by_row_warns_of_no_tracing():
    df = pd.DataFrame({"a": np.arange(40.0), "y": np.arange(40.0)})
    pipe = mm.Pipeline([mm.Tabular(numeric="a")], mm.Regression("y"), units=4)
    pipe.fit(df, validation_data=False, epochs=1, verbose=0)
    told, handler = [], logging.Handler()
    handler.emit = told.append
    logging.getLogger("tensorflow").addHandler(handler)
    try:
        for row in range(7):
            mm.explain(pipe, df.iloc[[row]])
    finally:
        logging.getLogger("tensorflow").removeHandler(handler)
    assert not told


def test_a_pair_of_retrieval_is_explained():
    df = pd.DataFrame({"a": np.arange(24.0), "b": -np.arange(24.0)})
    sides = [mm.Tabular(numeric="a", name="left"), mm.Tabular(numeric="b", name="right")]
    pipe = mm.Pipeline(sides, mm.Retrieval(query="left", items="right", width=4))
    pipe.fit(df, validation_data=False, epochs=1, verbose=0)
    explanation = mm.explain(pipe, df.head(4))
    np.testing.assert_allclose(explanation.worth, pipe.predict(df.head(4))["similarity"], atol=1e-5)
    assert explanation.outcomes is None and explanation.worth_name == "cosine"
    with pytest.raises(ValueError, match="`choice` must be None, as there is one thing to explain. Received: 'a'"):
        mm.explain(pipe, df, "a")


@pytest.fixture(scope="module")
def captioner(tmp_path_factory):
    scenes = mm.samples.captions(24, 0, tmp_path_factory.mktemp("scenes"), size=32)
    scenes["n"] = np.arange(len(scenes)) % 7
    image = mm.Image("image", encoder="scratch", image_size=(32, 32), pooling=None, augment=False)
    task = mm.Caption("caption", sequence_length=20, min_count=1, decoding={"method": "greedy"})
    writer = mm.Pipeline([image, mm.Tabular(numeric="n")], task, width=16, heads=2)
    writer.fit(scenes, validation_data=False, epochs=20, learning_rate=3e-3, verbose=0)
    return writer, scenes


def test_captions_are_explained_by_word_and_as_a_whole(captioner):
    writer, scenes = captioner
    rows = scenes.drop_duplicates("image").head(3)
    said = writer.predict(rows)
    whole = mm.explain(writer, rows)
    assert whole.outcomes == tuple(said["caption"])
    np.testing.assert_allclose(whole.worth, said["score"], atol=1e-4)  # by another way: what the search summed
    np.testing.assert_allclose(whole.nothing + whole.modalities.sum(axis=1), whole.worth, atol=1e-5)
    assert whole.pieces["image"][0].shape == (32, 32)
    words = said["caption"].iloc[0].split()
    by_word = [mm.explain(writer, rows.head(1), word, inside=False).worth[0] for word in dict.fromkeys(words)]
    assert whole.worth[0] < sum(by_word) < 0  # all but the end
    rare = next((w for w in writer.task.vocabulary[4:] if w not in words), None)
    with pytest.raises(ValueError, match="which 1 of 1 lack"):
        mm.explain(writer, rows.head(1), rare)


def test_what_cannot_be_explained_is_told(films, captioner):
    pipe, df = films
    with pytest.raises(ValueError, match="`choice` must be one of .*'Drama'.* Received: 'Opera'"):
        mm.explain(pipe, df.head(2), "Opera")
    with pytest.raises(ValueError, match="needs at least one row"):
        mm.explain(pipe, df.head(0))
    with pytest.raises(KeyError, match="overview"):
        mm.explain(pipe, df.drop(columns="overview"))
    for row in (1, -1, 0.5, "a"):
        with pytest.raises(ValueError, match=f"`row` must be a number from 0 to 0. Received: {row!r}"):
            mm.explain(pipe, df.head(1), inside=False).plot(row)
    nothing = df.head(1).assign(overview="", title="", budget=np.nan, runtime=np.nan, release_date=None)
    explanation = mm.explain(pipe, nothing)
    np.testing.assert_allclose(explanation.modalities, 0, atol=1e-6)
    writer, scenes = captioner
    with pytest.raises(
        ValueError,
        match="`choice` must be None, for the whole caption, or a word that the model knows. Received: 'xyzzy'",
    ):
        mm.explain(writer, scenes.head(1), "xyzzy")


# === a report ===


def test_modalities_divide_the_score(films):
    pipe, df = films
    report = pipe.evaluate(df, verbose=0, explain=True, missing=True)
    names, earned = [modality.name for modality in pipe.modalities], report.earned
    assert list(earned.index) == ["nothing", *names, "all of them"]
    assert earned["map"]["nothing"] + earned["map"][names].sum() == pytest.approx(report.metrics["map"], abs=1e-9)
    assert earned["map"]["all of them"] == pytest.approx(report.metrics["map"])
    alone = report.missing["map"]
    by_hand = 0.0  # the words' own, over all orders of the three
    for order in itertools.permutations(names):
        before = [name for name in names if name in order[: order.index("words")]]
        after = [name for name in names if name in [*before, "words"]]
        worths = [alone[" + ".join(some)] if some else earned["map"]["nothing"] for some in (before, after)]
        by_hand += (worths[1] - worths[0]) / 6
    assert earned["map"]["words"] == pytest.approx(by_hand)
    assert (earned["low"] <= earned["map"]).all()
    assert (earned["map"] <= earned["high"]).all()
