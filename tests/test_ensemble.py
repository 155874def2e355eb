"""Several models as one: the selection by hand, one graph for all, and what keeps members apart."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras.data.columns import raw_values
from mmkeras.search.selection import select

WORDS = mm.Text("overview", encoder="lexical", name="words")
NUMBERS = mm.Tabular(numeric=["budget", "runtime"], zero_is_missing=["budget"], name="numbers")
LONE = mm.Tabular(numeric="budget", name="lone")
GENRES = mm.MultiLabel("genres")


def fitted(df, modalities=(WORDS, NUMBERS), task=GENRES, fusion="concat", **settings):
    head = {name: settings.pop(name) for name in ("units", "dropout") if name in settings}
    pipe = mm.Pipeline(list(modalities), task, fusion, **head)
    pipe.fit(df, epochs=2, verbose=0, **settings)
    return pipe


@pytest.fixture(scope="module")
def rows():
    return mm.split_frame(mm.samples.movies(90, seed=3), 0.3, seed=0)


@pytest.fixture(scope="module")
def pipes(rows):
    return [
        fitted(rows[0], fusion="hybrid", units=16),
        fitted(rows[0], units=8),
        fitted(rows[0], [NUMBERS], units=16),
    ]


def shared(pipes, df, weights):
    """The weighted mean of probabilities, by hand."""
    return sum(pipe.predict(df) * weight for pipe, weight in zip(pipes, weights, strict=True)) / sum(weights)


# === Selection ===


def error(predictions, rows):
    return float(np.square(predictions[:, 0] - np.array([0.0, 1.0, 2.0, 3.0])[rows]).mean())


def test_models_whose_errors_cancel_are_drawn_alike():
    above, below = np.array([[1.0], [2.0], [3.0], [4.0]]), np.array([[-1.0], [0.0], [1.0], [2.0]])
    worse = np.array([[9.0], [0.0], [9.0], [0.0]])
    selection = select([worse, above, below], error, size=3, smaller=True)
    assert selection.counts.tolist() == [0, 1, 1] and selection.score == 0.0
    assert selection.alone.tolist() == [error(worse, np.arange(4)), 1.0, 1.0]
    np.testing.assert_allclose(selection.predictions[:, 0], [0, 1, 2, 3])


def test_one_model_may_be_drawn_often_and_size_bounds_the_different_ones():
    near, far = np.array([[0.5], [1.5], [2.5], [3.5]]), np.array([[-2.0], [-1.0], [0.0], [1.0]])
    drawn = select([near, far], error, size=2, smaller=True)
    assert drawn.counts.tolist() == [4, 1]  # (4 · ½ − 2) / 5 = 0
    assert select([near, far], error, size=1, smaller=True).counts.tolist() == [1, 0]


def test_the_scale_is_the_one_that_is_better_and_scores_that_are_no_numbers_lose():
    sure, unsure = np.array([[0.99], [0.01]]), np.array([[0.4], [0.6]])

    def score(predictions, rows):
        return float(-np.abs(predictions[:, 0] - [0.93, 0.07]).sum())

    assert select([sure, unsure], score, size=2, scales=("predictions", "log_odds")).scale in (
        "predictions",
        "log_odds",
    )
    means = {
        scale: select([sure, unsure], score, size=2, scales=(scale,)).score for scale in ("predictions", "log_odds")
    }
    both = select([sure, unsure], score, size=2, scales=tuple(means))
    assert both.score == max(means.values()) and means[both.scale] == both.score
    silent = select([sure, unsure], lambda p, rows: np.nan if p[0, 0] > 0.9 else 1.0, size=2)
    assert silent.counts.tolist() == [0, 1]


# === One model ===


@pytest.mark.parametrize("average", ["predictions", "logits"])
def test_it_predicts_the_weighted_mean_and_keeps_doing_so(pipes, rows, tmp_path, average):
    both = mm.Ensemble(pipes, weights=[1, 2, 3], average=average)
    if average == "predictions":
        want = shared(pipes, rows[1], [1, 2, 3])
    else:
        logits = [np.log(p / (1 - p)) for p in (pipe.predict(rows[1]) for pipe in pipes)]
        want = 1 / (1 + np.exp(-sum(x * w for x, w in zip(logits, (1, 2, 3), strict=True)) / 6))
    pd.testing.assert_frame_equal(both.predict(rows[1]), want, atol=1e-5, check_dtype=False)
    both.save(tmp_path / "model")
    loaded = mm.load(tmp_path / "model")
    pd.testing.assert_frame_equal(loaded.predict(rows[1]), want, atol=1e-5, check_dtype=False)
    assert loaded.notes == both.notes and "An ensemble of 3 members" in loaded.notes[0]
    assert mm.embed(loaded, rows[1]).shape[0] == len(rows[1])


def test_it_is_served_as_one_model_and_a_missing_modality_is_missing_for_all(pipes, rows, tmp_path):
    both = mm.Ensemble(pipes, weights=[2, 1, 1], average="predictions")
    both.export(tmp_path / "served")
    raw = {name: tf.constant(values) for name, values in raw_values(rows[1], both.modalities).items()}
    served = tf.saved_model.load(str(tmp_path / "served"))
    np.testing.assert_allclose(served.serve(raw)["genres"], shared(pipes, rows[1], [2, 1, 1]), atol=1e-5)
    report = both.evaluate(rows[1], verbose=0, missing=True)
    assert {"words + numbers", "words", "numbers"} == set(report.missing.index)
    assert "numbers alone" in report.to_frame().index and report.notes[0] == both.notes[0]


def test_weights_come_of_the_rows_that_all_were_validated_on(pipes, rows):
    both = mm.Ensemble(pipes)
    assert both.members["weight"].sum() == pytest.approx(1.0) and both.members["map"].notna().all()
    by_hand = [pipe.evaluate(rows[1], verbose=0).metrics["map"] for pipe in pipes]
    told = mm.Ensemble(pipes, validation_data=rows[1])
    np.testing.assert_allclose(told.members["map"], by_hand)
    score = told.evaluate(rows[1], verbose=0).metrics["map"]
    assert score >= max(by_hand) - 1e-6  # on the rows that chose it
    assert mm.Ensemble(pipes, validation_data=rows[1], size=1).members["weight"].max() == 1.0


def test_members_of_different_modalities_and_an_ensemble_of_ensembles(rows):
    words, numbers = fitted(rows[0], [WORDS]), fitted(rows[0], [NUMBERS])
    both = mm.Ensemble([words, numbers], weights=[1, 1], average="predictions")
    assert {modality.name for modality in both.modalities} == {"words", "numbers"}
    pd.testing.assert_frame_equal(both.predict(rows[1]), shared([words, numbers], rows[1], [1, 1]), atol=1e-5)
    more = mm.Ensemble([both, words], weights=[1, 1], average="predictions")
    pd.testing.assert_frame_equal(more.predict(rows[1]), shared([both, words], rows[1], [1, 1]), atol=1e-5)


def test_members_that_were_loaded(pipes, rows, tmp_path):
    words = fitted(rows[0], [WORDS])
    for number, pipe in enumerate([words, pipes[2]]):
        pipe.save(tmp_path / str(number))
    loaded = [mm.load(tmp_path / str(number)) for number in range(2)]
    with pytest.raises(ValueError, match="were loaded. Give `validation_data`, or `weights`"):
        mm.Ensemble(loaded)
    loaded[0].conformalize(rows[1])
    both = mm.Ensemble(loaded, weights=[1, 1], average="predictions")
    pd.testing.assert_frame_equal(both.predict(rows[1]), shared(loaded, rows[1], [1, 1]), atol=1e-5)
    assert both.task.sets is None and loaded[0].task.sets is not None  # what holds of a member does not of the whole


def test_a_frozen_tower_of_several_members_is_one_and_runs_once(rows, tiny_bert, tmp_path):
    text = mm.Text("overview", str(tiny_bert), sequence_length=16, pooling="mean")
    settings = {"cache_dir": tmp_path / "cache"}
    members = [fitted(rows[0], [text, NUMBERS], units=units, **settings) for units in (8, 16)]
    members.append(fitted(rows[0], [text], units=8, **settings))
    both = mm.Ensemble(members, weights=[1, 1, 2], average="predictions")
    tower = members[2].encode.count_params()
    assert both.model.count_params() == sum(member.model.count_params() for member in members) - 2 * tower
    pd.testing.assert_frame_equal(both.predict(rows[1]), shared(members, rows[1], [1, 1, 2]), atol=1e-5)


def test_numbers_and_classes(rows):
    for task in (mm.Regression("runtime"), mm.MultiClass("kind")):
        train, test = (df.dropna(subset="runtime") for df in rows)
        train, test = (df.assign(kind=np.where(df["runtime"] > 100, "long", "short")) for df in (train, test))
        two = [fitted(train, [LONE], task, units=units) for units in (8, 16)]
        both = mm.Ensemble(two, weights=[3, 1], average="predictions")
        got, want = both.predict(test), shared(two, test, [3, 1])
        np.testing.assert_allclose(got, want, rtol=1e-5)
        assert both.predict_labels(test).dtype == two[0].predict_labels(test).dtype
        assert mm.Ensemble(two).members["weight"].sum() == pytest.approx(1.0)


# === What cannot be ===


def test_what_is_no_list_of_fitted_pipelines_of_one_task(pipes, rows):
    for wrong, error, message in (
        (pipes[0], TypeError, "takes a list of fitted Pipelines"),
        ([1], TypeError, "takes a list of fitted Pipelines"),
        ([], ValueError, "needs a fitted Pipeline"),
        ([mm.Pipeline([NUMBERS], GENRES)], ValueError, "no model yet"),
        ([pipes[0], fitted(rows[0], [NUMBERS], mm.Regression("popularity"))], ValueError, "must answer the same"),
        ([pipes[0], fitted(rows[0][:40])], ValueError, "must answer the same|modality of one name alike"),
    ):
        with pytest.raises(error, match=message):
            mm.Ensemble(wrong, weights=[1] * len(wrong) if isinstance(wrong, list) else None)


def test_settings_that_cannot_be(pipes, rows):
    for settings, message in (
        ({"weights": [1, 2]}, "for each of 3 Pipelines"),
        ({"weights": [0, 0, 0]}, "not all 0"),
        ({"size": 0}, "`size` must be a positive int"),
        ({"average": "median"}, "`average` must be one of"),
        ({"objective": "r2"}, "`objective` must be one of"),
    ):
        with pytest.raises(ValueError, match=message):
            mm.Ensemble(pipes, **settings)
    with pytest.raises(ValueError, match="logits only of labels and classes"):
        mm.Ensemble([fitted(rows[0], [NUMBERS], mm.Regression("popularity"))], average="logits")
    with pytest.raises(KeyError, match="genres"):
        mm.Ensemble(pipes, validation_data=rows[1].drop(columns="genres"))


def test_modalities_of_one_name_that_learnt_other_rows(rows):
    task = mm.MultiLabel("genres", classes=GENRES.adapt(rows[0]).classes)
    other = fitted(rows[0][:50], task=task)
    with pytest.raises(ValueError, match="'words', which differs. Fit the members on the same rows"):
        mm.Ensemble([fitted(rows[0], task=task), other], weights=[1, 1])


# === The layer ===


def test_the_layer_by_hand_and_its_contract():
    a, b = np.array([[0.9, 0.1]], "float32"), np.array([[0.5, 0.5]], "float32")
    np.testing.assert_allclose(mm.layers.WeightedMean([3, 1])([a, b]), [[0.8, 0.2]], atol=1e-6)
    classes = np.exp((3 * np.log(a) + np.log(b)) / 4)
    np.testing.assert_allclose(
        mm.layers.WeightedMean([3, 1], "log_probabilities")([a, b]), classes / classes.sum(), atol=1e-6
    )
    odds = (3 * np.log(a / (1 - a)) + np.log(b / (1 - b))) / 4
    np.testing.assert_allclose(mm.layers.WeightedMean([3, 1], "log_odds")([a, b]), 1 / (1 + np.exp(-odds)), atol=1e-6)
    layer = mm.layers.WeightedMean([2, 1], "log_odds", dtype="float64")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config() and (again.shares, again.scale) == ([2.0, 1.0], "log_odds")
    inputs = [keras.Input((2,)), keras.Input((2,))]
    assert layer(inputs).shape == (None, 2) and layer([a, b]).dtype == "float64"


def test_the_layer_refuses_what_it_cannot_weigh():
    for shares, scale, message in (([0, 0], "predictions", "not all 0"), ([1], "cubes", "`scale` must be one of")):
        with pytest.raises(ValueError, match=message):
            mm.layers.WeightedMean(shares, scale)
    with pytest.raises(ValueError, match="an input for each of 2 shares"):
        mm.layers.WeightedMean([1, 1])([np.ones((1, 2))])
