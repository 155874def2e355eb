"""Retrieval: losses and ranks by hand, groups, both sides, keeping and serving, zero-shot and linear probes."""

import re

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras.data.batches import plan_batches
from mmkeras.evaluation import metrics
from mmkeras.evaluation.matching import LinearMap, SharedWords
from mmkeras.evaluation.ranks import first_ranks, recalls
from mmkeras.trunk.chunks import InChunks

QUICK = {"epochs": 20, "batch_size": 64, "learning_rate": 3e-3, "verbose": 0}


def pairs(rows=160, each=1, seed=0):
    """Numbers of two sides that say the same: `each` rows of a left side for one right side."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(rows // each, 4))
    left = np.repeat(hidden, each, axis=0) + 0.05 * rng.normal(size=(rows, 4))
    right = np.repeat(hidden @ rng.normal(size=(4, 5)), each, axis=0)
    columns = {**{f"a{i}": left[:, i] for i in range(4)}, **{f"b{i}": right[:, i] for i in range(5)}}
    return pd.DataFrame({**columns, "thing": np.repeat(np.arange(rows // each), each)})


def sides():
    left = mm.Tabular(numeric=[f"a{i}" for i in range(4)], name="left")
    return [left, mm.Tabular(numeric=[f"b{i}" for i in range(5)], name="right")]


def pipeline(modalities=None, **settings):
    task = mm.Retrieval(**{"query": "left", "items": "right", "width": 16, **settings})
    return mm.Pipeline(modalities or sides(), task, units=32, dropout=0.0)


@pytest.fixture(scope="module")
def fitted():
    train, test = mm.split_frame(pairs(), 0.25, seed=0)
    pipe = pipeline()
    pipe.fit(train, **QUICK)
    return pipe, test


# --- losses


def test_infonce_by_hand():
    logits = np.array([[2.0, 1.0], [0.0, 3.0]])
    ways = [np.log(1 + np.exp(1 - 2)), np.log(1 + np.exp(0 - 3)), np.log(1 + np.exp(0 - 2)), np.log(1 + np.exp(1 - 3))]
    assert float(mm.losses.InfoNCE()(np.array([0, 1]), logits)) == pytest.approx(sum(ways) / 4, abs=1e-6)


@pytest.mark.parametrize("loss", [mm.losses.InfoNCE(), mm.losses.PairwiseSigmoid(), mm.losses.HardestTriplet()])
def test_rows_of_one_group_are_never_set_against_each_other(loss):
    """How alike two rows of a group are found changes no loss by way of the negatives: raising it never costs."""
    groups, logits = np.array([7, 7, 8]), np.random.default_rng(0).normal(size=(3, 3)).astype("float32")
    more = logits.copy()
    more[0, 1] += 5.0
    more[1, 0] += 5.0
    assert float(loss(groups, more)) <= float(loss(groups, logits)) + 1e-6
    apart = logits.copy()
    apart[0, 2] += 5.0
    assert float(loss(groups, apart)) > float(loss(groups, logits)) + 0.1


def test_a_batch_of_one_group_teaches_nothing():
    logits = np.random.default_rng(0).normal(size=(4, 4)).astype("float32")
    assert float(mm.losses.InfoNCE()(np.zeros(4), logits)) == pytest.approx(0.0, abs=1e-6)


def test_the_hardest_counts_from_the_second_epoch():
    loss, cosines = mm.losses.HardestTriplet(margin=0.2), np.array([[0.5, 0.4, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.5]])
    first = float(loss(np.arange(3), cosines))
    loss.hardest.assign(1.0)
    assert first == pytest.approx(2 * (0.1 / 2) / 3, abs=1e-6)
    assert float(loss(np.arange(3), cosines)) == pytest.approx(2 * 0.1 / 3, abs=1e-6)


def test_duplicates_are_found_among_others_of_their_group():
    """With `apart`, a row without another of its group takes no part."""
    loss, logits = mm.losses.InfoNCE(apart=True), np.zeros((3, 3))
    assert float(loss(np.array([0, 0, 1]), logits)) == pytest.approx(2 * np.log(2) / 3, abs=1e-6)


# --- ranks


def test_ranks_and_recalls_by_hand():
    queries = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    items = np.array([[0.8, 0.6], [0.0, 1.0]])
    ranks, precision = first_ranks(queries, items, np.array([0, 1, 0]), np.array([0, 1]))
    assert ranks.tolist() == [1, 1, 1] and precision.tolist() == [1, 1, 1]
    ranks, precision = first_ranks(queries, items, np.array([1, 0, 5]), np.array([0, 1]))
    assert ranks.tolist()[:2] == [2, 2] and precision.tolist()[:2] == [0.5, 0.5] and np.isnan(ranks[2])
    scores = recalls(ranks, precision, np.array([[1.0, 0.0, 9.0], [1.0, 1.0, 9.0]]))
    assert scores["recall_1"].tolist() == [0, 0] and scores["recall_5"].tolist() == [1, 1]
    assert scores["median_rank"].tolist() == [2, 2]


def test_average_precision_of_several():
    items = np.array([[1.0, 0.0], [0.9, 0.1], [0.8, 0.2]])
    ranks, precision = first_ranks(np.array([[1.0, 0.0]]), items, np.array([0]), np.array([0, 1, 0]))
    assert ranks.tolist() == [1] and precision.tolist() == pytest.approx([(1 + 2 / 3) / 2])


def test_equal_vectors_are_worth_no_more_than_chance():
    same = np.tile([[1.0, 0.0]], (100, 1))
    ranks, _ = first_ranks(same, same, np.arange(100), np.arange(100))
    assert set(ranks) == {50.5}


def test_resamples_draw_groups():
    """Ten rows that say the same are one thing: the interval is that of the things."""
    together, values = np.repeat(np.arange(20), 10), np.repeat(np.arange(20) % 2, 10)

    def mean(weights):
        return {"mean": weights @ values / weights.sum(axis=1)}

    spans = []
    for groups in (None, together):
        low, high = metrics.interval(metrics.bootstrap(mean, 200, together=groups)[1]["mean"])
        spans.append(high - low)
    assert spans[1] > 2 * spans[0]


def test_groups_share_batches():
    together = np.repeat(np.arange(12), 3)
    plan = plan_batches(36, 6, rng=np.random.default_rng(0), together=together)
    assert sorted(np.concatenate(plan)) == list(range(36))
    assert all(len(set(together[rows])) == 2 for rows in plan)


# --- a Pipeline


def test_it_finds_what_belongs_together(fitted):
    pipe, test = fitted
    report = pipe.evaluate(test, verbose=0)
    assert report.metrics["recall_5"] > 0.9 and report.metrics["back_recall_5"] > 0.9
    assert set(report.baselines.index) == {"chance", "linear map of features"}
    assert (
        report.baselines.loc["chance", "mean_recall"]
        < 0.3
        < report.baselines.loc["linear map of features", "mean_recall"]
    )
    assert len(report.hits) == 12 and {"query", "rank", "its own", "1", "5"} <= set(report.hits)


def test_vectors_of_a_side_need_its_columns_alone(fitted):
    pipe, test = fitted
    left = mm.embed(pipe, test[[f"a{i}" for i in range(4)]], side="query")
    right = mm.embed(pipe, test[[f"b{i}" for i in range(5)]], side="items")
    assert left.shape == right.shape == (len(test), 16)
    assert np.allclose(np.linalg.norm(left, axis=1), 1, atol=1e-5)
    assert np.allclose((left * right).sum(axis=1), pipe.predict(test)["similarity"], atol=1e-5)
    assert np.allclose(mm.embed(pipe, test), np.concatenate([left, right], axis=1), atol=1e-6)


def test_saved_and_served_it_gives_the_same_vectors(fitted, tmp_path):
    pipe, test = fitted
    pipe.save(tmp_path / "model")
    vectors = mm.embed(pipe, test, side="items")
    assert np.allclose(mm.embed(mm.load(tmp_path / "model"), test, side="items"), vectors, atol=1e-6)
    pipe.export(tmp_path / "served")
    served = tf.saved_model.load(str(tmp_path / "served"))
    given = {f"b{i}": tf.constant(test[f"b{i}"].to_numpy("float32")) for i in range(5)}
    assert np.allclose(served.signatures["embed_items"](**given)["items"], vectors, atol=1e-5)
    assert set(served.signatures) >= {"serve", "embed_query", "embed_items"}


def test_it_keeps_the_contract_of_a_task():
    mm.testing.check_task(mm.Retrieval(query="left", items="right", width=8), pairs(80), sides())


@pytest.mark.parametrize("rival", [LinearMap])
def test_rivals_keep_their_contract(rival, fitted):
    pipe, test = fitted
    test = pipe.task.units(test, pipe.modalities)
    mm.testing.check_rival(rival, pipe, test)


def test_equal_items_are_one_thing():
    """Four rows of one right side are one item, found by each of them, and stay on one side of a split."""
    df = pairs(160, each=4)
    pipe = pipeline()
    pipe.fit(df, validation_data=0.25, **QUICK)
    held = pipe.check_fitted().validation.df
    learnt = pipe.check_fitted().rows.df
    assert len(held) == 40 and not set(held["b0"]) & set(learnt["b0"])
    task = pipe.task
    target = task.target(task.units(df, pipe.modalities))
    assert len(set(target.distinct["items"])) == 40 and len(set(target.distinct["query"])) == 160
    report = pipe.evaluate(df, verbose=0)
    assert report.metrics["back_recall_1"] > 0.8
    named = mm.Retrieval(query="left", items="right", group="thing")
    assert named.target(named.units(df, pipe.modalities)).values.tolist() == target.values.tolist()


@pytest.mark.parametrize("loss", ["sigmoid", "triplet"])
def test_other_losses_learn(loss):
    train, test = mm.split_frame(pairs(), 0.25, seed=0)
    pipe = pipeline(loss=loss)
    pipe.fit(train, **QUICK)
    assert pipe.evaluate(test, verbose=0).metrics["recall_5"] > 0.8


def test_one_model_of_both_sides_finds_duplicates():
    df = pairs(160, each=2)
    pipe = mm.Pipeline(
        sides()[:1], mm.Retrieval(query="left", items="left", group="thing", width=8), units=32, dropout=0.0
    )
    pipe.fit(df, validation_data=0.25, **QUICK)
    report = pipe.evaluate(df, verbose=0)
    assert report.metrics["recall_5"] > 0.8
    assert np.allclose(mm.embed(pipe, df, side="query"), mm.embed(pipe, df, side="items"))
    assert not (report.hits["query"] == report.hits["1"]).any()


def test_several_modalities_on_a_side_and_none_of_them_there():
    df = pairs(100)
    df["colour"] = ["red", "blue"] * 50
    df.loc[:4, [f"a{i}" for i in range(4)]] = np.nan
    df.loc[:4, "colour"] = None
    modalities = [*sides(), mm.Tabular(categorical=["colour"], name="colour")]
    pipe = pipeline(modalities, query=["left", "colour"])
    pipe.fit(df, **{**QUICK, "epochs": 2})
    vectors = mm.embed(pipe, df, side="query")
    assert np.isfinite(vectors).all() and np.allclose(vectors[:5], vectors[0], atol=1e-5)
    report = pipe.evaluate(df, verbose=0)
    assert any("5 of 100 rows have nothing on the side 'query'" in note for note in report.notes)


def test_words_that_both_sides_share_are_a_rival():
    rng = np.random.default_rng(0)
    words = [" ".join(rng.choice(["sun", "moon", "star", "rain", "snow", "wind", "hill"], 4)) for _ in range(60)]
    df = pd.DataFrame({"first": words, "second": [text[::-1] + " " + text for text in words]})
    modalities = [
        mm.Text("first", name="first", encoder="scratch"),
        mm.Text("second", name="second", encoder="scratch"),
    ]
    pipe = mm.Pipeline(modalities, mm.Retrieval(query="first", items="second", width=8), units=8)
    pipe.fit(df, **{**QUICK, "epochs": 1})
    table = pipe.evaluate(df, verbose=0).baselines
    assert table.loc["TF-IDF of shared words", "recall_1"] > 0.8
    mm.testing.check_rival(SharedWords, pipe, pipe.task.units(df, pipe.modalities))


def test_classes_by_prompts_and_by_a_linear_probe():
    rng = np.random.default_rng(0)
    df = pd.DataFrame({"kind": rng.integers(2, size=120)})
    df["words"] = [
        f"{name} {n}" for name, n in zip(np.array(["cold snow", "warm sun"])[df["kind"]], range(120), strict=True)
    ]
    df["heat"] = df["kind"] + 0.1 * rng.normal(size=120)
    df["season"] = np.array(["winter", "summer"])[df["kind"]]
    modalities = [mm.Text("words", encoder="lexical"), mm.Tabular(numeric=["heat"], name="heat")]
    pipe = mm.Pipeline(
        modalities, mm.Retrieval(query="text", items="heat", group="kind", width=8), units=16, dropout=0.0
    )
    pipe.fit(df, validation_data=False, **{**QUICK, "epochs": 15})
    table = mm.zero_shot(pipe, df[["heat"]], {"winter": ["cold snow", "snow"], "summer": "warm sun"})
    assert table.index.equals(df.index) and np.allclose(table.sum(axis=1), 1, atol=1e-5)
    assert (table.idxmax(axis=1) == df["season"]).mean() > 0.95
    train, test = mm.split_frame(df, 0.25, seed=0)
    for judged in (None, test):
        report = mm.linear_probe(pipe, train, mm.MultiClass("season"), judged, side="items")
        assert report.metrics["accuracy"] > 0.95 and report.intervals["accuracy"][0] > 0.85
        assert report.rows == (90 if judged is None else 30)


def test_a_large_batch_in_parts_learns_the_same():
    """The loss sets all rows of the batch against each other, whatever goes through the layers at once."""
    rng, weights = np.random.default_rng(0), []
    x, groups = {"x": rng.normal(size=(64, 4)).astype("float32")}, np.arange(64.0, dtype="float32")
    for rows in (None, 24):
        keras.utils.set_random_seed(0)
        read, given = keras.Input((4,), name="x"), {side: keras.Input((3,), name=side) for side in ("query", "items")}
        unit = keras.layers.UnitNormalization()
        vectors = keras.Model({"x": read}, {side: unit(keras.layers.Dense(3)(read)) for side in given})
        after = keras.Model(given, {"similarity": mm.layers.Similarity()(*given.values(), every=True)})
        model = InChunks(vectors, after, rows, batch_size=64)
        model.compile(keras.optimizers.SGD(0.1), loss={"similarity": mm.losses.InfoNCE()})
        losses = model.fit(x, {"similarity": groups}, batch_size=64, epochs=3, verbose=0).history["loss"]
        assert losses[-1] < losses[0]
        weights.append(model.get_weights())
    assert all(np.allclose(one, two, atol=1e-5) for one, two in zip(*weights, strict=True))


def test_gaps_of_dropout_are_the_same_the_second_time():
    """With dropout, parts of a batch see gaps of their own, and learning still goes on."""
    pipe = mm.Pipeline(
        sides(), mm.Retrieval(query="left", items="right", width=8, rows_at_once=16), units=16, dropout=0.3
    )
    losses = pipe.fit(pairs(64), validation_data=False, **{**QUICK, "batch_size": 64}).history["loss"]
    assert losses[-1] < losses[0] / 2


# --- bad input


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"query": []}, "`query` of Retrieval must name modalities"),
        ({"items": ["right", "right"]}, "`items` of Retrieval must name modalities"),
        ({"width": 0}, "`width` of Retrieval must be a positive int. Received: 0"),
        ({"loss": "cosine"}, "`loss` of Retrieval must be one of"),
        ({"items": "left"}, "`group` must name the column"),
        ({"items": "image"}, "Every modality must be of a side"),
    ],
)
def test_settings_that_cannot_work(settings, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        pipeline(**settings)


def test_rows_that_cannot_work():
    df = pairs(40)
    with pytest.raises(ValueError, match="at least two rows"):
        pipeline().fit(df.head(1), **QUICK)
    with pytest.raises(ValueError, match="rows of at least two groups"):
        pipeline(group="thing").fit(df.assign(thing=1), validation_data=False, **QUICK)
    with pytest.raises(ValueError, match="`batch_size` must be at least 2 for Retrieval"):
        pipeline().fit(df, **{**QUICK, "batch_size": 1})
    with pytest.raises(ValueError, match="Folds and subsets"):
        mm.cross_validate(sides(), mm.Retrieval(query="left", items="right"), df, 2, verbose=0)


def test_prompts_that_cannot_work(fitted):
    pipe, test = fitted
    with pytest.raises(ValueError, match="must read one column of words"):
        mm.zero_shot(pipe, test, {"a": ["x"], "b": ["y"]})
    other = mm.Pipeline(sides()[:1], mm.Regression("b0"), units=8)
    other.fit(test, **{**QUICK, "epochs": 1})
    with pytest.raises(ValueError, match="takes a Pipeline for Retrieval"):
        mm.zero_shot(other, test, {"a": ["x"], "b": ["y"]})
    with pytest.raises(ValueError, match="Only a Pipeline for Retrieval has sides"):
        mm.embed(other, test, side="query")


def test_labels_need_prompts():
    from mmkeras.inference.zero_shot import _prompts

    for labels in ({"dog": [], "cat": ["a cat"]}, {"dog": ["a dog"]}, {"dog": [" "], "cat": ["a cat"]}):
        with pytest.raises(ValueError, match="at least two classes, each with a prompt"):
            _prompts(labels)


def test_the_dual_encoder_is_a_plain_graph():
    model = mm.build_dual_encoder(image_encoder="MobileNetV2", width=16, image_size=(64, 64))
    rows = {key: np.ones((2, 64), "int32") for key in ("token_ids", "padding_mask", "segment_ids")}
    outputs = model.predict({**rows, "image": np.zeros((2, 64, 64, 3), "float32")}, verbose=0)
    assert outputs["logits"].shape == (2, 2) and np.allclose(np.linalg.norm(outputs["text"], axis=1), 1, atol=1e-5)
    model.compile("adam", {"text": None, "image": None, "logits": mm.losses.InfoNCE()})
    assert isinstance(model, keras.Model)
    with pytest.raises(ValueError, match="`width` must be a positive int"):
        mm.build_dual_encoder(width=0)
