"""Probabilities that mean what they say, and sets that hold the truth as often as they should."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from scipy.special import expit, softmax

import mmkeras as mm
from mmkeras.evaluation import calibration
from mmkeras.evaluation.calibration import calibration_section, learn_calibration, learn_lines, uncalibrated
from mmkeras.evaluation.conformal import bound, kept_scores
from mmkeras.serving.answers import Part, signatures


def said_and_true(rows, classes, temperature, seed=0):
    """(probabilities that are too sure by a factor, classes drawn from the true ones)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (rows, classes))
    true = softmax(logits / temperature, axis=1)
    drawn = (true.cumsum(axis=1) > rng.random((rows, 1))).argmax(axis=1)
    return softmax(logits, axis=1), np.eye(classes)[drawn] > 0


def labels_said_and_true(rows, slope, shift, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1, 2, (rows, len(slope)))
    return expit(logits), rng.random(logits.shape) < expit(slope * logits + shift)


# === what is learnt ===


def test_a_temperature_is_found():
    said, truth = said_and_true(4000, 5, 2.0)
    learnt = learn_calibration("log_probabilities", truth, said)
    assert learnt["slope"] == [pytest.approx(0.5, abs=0.03)]
    assert learnt["after"] < learnt["before"]
    assert learnt["rows"] == 4000


def test_of_labels_each_has_a_slope_and_a_shift():
    slope, shift = np.array([0.5, 1.0, 2.0]), np.array([0.5, 0.0, -1.0])
    learnt = learn_calibration("log_odds", *labels_said_and_true(8000, slope, shift)[::-1])
    np.testing.assert_allclose(learnt["slope"], slope, rtol=0.1)
    np.testing.assert_allclose(learnt["shift"], shift, atol=0.12)


def test_a_rare_label_is_drawn_to_the_others():
    said, truth = labels_said_and_true(400, np.array([0.5, 0.5]), np.array([0.0, 0.0]))
    said[:, 1] = np.clip(said[:, 1], 1e-4, 0.02)  # hardly a row that tells anything
    truth[:, 1] = False
    truth[0, 1] = True
    alone = calibration._platt(truth[:, 1:], calibration._logits("log_odds", said[:, 1:]))
    beside = learn_calibration("log_odds", truth, said)
    assert 0.3 < beside["slope"][1] < 1.5
    assert np.isfinite(alone).all()


def test_gradients_of_the_loss_are_right(monkeypatch):
    from scipy import optimize

    def checked(loss, start, **settings):
        spot = np.random.default_rng(0).normal(0, 0.3, len(start))
        numeric = optimize.approx_fprime(spot, lambda x: loss(x)[0], 1e-6)
        np.testing.assert_allclose(loss(spot)[1], numeric, rtol=1e-3, atol=1e-3)
        return real(loss, start, **settings)

    real = optimize.minimize
    monkeypatch.setattr(optimize, "minimize", checked)
    said, truth = labels_said_and_true(60, np.ones(3), np.zeros(3))
    calibration._platt(truth, calibration._logits("log_odds", said))


def test_what_is_true_already_stays_and_few_rows_teach_nothing():
    said, truth = said_and_true(1000, 4, 1.0)
    assert learn_calibration("log_probabilities", truth, said) is None
    said, truth = said_and_true(39, 4, 5.0)
    assert learn_calibration("log_probabilities", truth, said) is None


@pytest.mark.parametrize("scale", ["log_probabilities", "log_odds"])
def test_certainty_that_is_wrong_stays_finite(scale):
    said = np.tile([1.0, 0.0], (100, 1))
    truth = np.eye(2)[np.arange(100) % 2] > 0
    learnt = learn_calibration(scale, truth, said)
    assert np.isfinite([learnt["before"], learnt["after"], *learnt["slope"], *learnt["shift"]]).all()


@pytest.mark.parametrize("scale", ["log_probabilities", "log_odds"])
def test_the_layer_undoes_what_is_undone(scale):
    said = said_and_true(50, 3, 1.0)[0]
    learnt = {"slope": [0.6], "shift": [0.3 if scale == "log_odds" else 0.0]}
    layer = mm.layers.Calibration(**learnt, scale=scale)
    np.testing.assert_allclose(uncalibrated(scale, learnt, layer(said).numpy()), said, atol=1e-5)
    assert not layer.trainable_weights


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (([0.0], [0.0], "log_odds"), "`slope` must be numbers above 0"),
        (([1.0], [0.0, 1.0], "log_odds"), "as many numbers"),
        (([1.0], [0.0], "predictions"), "`scale` must be"),
    ],
)
def test_the_layer_refuses(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        mm.layers.Calibration(*settings)


def too_low(rows, seed=0):
    """((n, 1) numbers of heavy tails, (n, 1) what the mean of their logarithms says)."""
    said, noise = np.random.default_rng(seed).normal(size=(2, rows))
    return np.exp(said + noise)[:, None], np.exp(said)[:, None]


def test_a_line_brings_numbers_to_their_means():
    truth, said = too_low(20_000)
    learnt = learn_lines(truth, said, [0])
    assert learnt["slope"][0] == pytest.approx(np.exp(0.5), rel=0.05)  # the mean of a log-normal number
    assert learnt["bias"][0] == pytest.approx((said - truth).mean()) and learnt["rows"] == 20_000
    below = learn_lines(truth, said + 0.2, [0])  # a line that may have a shift would begin below 0
    assert below["shift"] == [0.0] and below["slope"][0] > 1
    assert learn_lines(truth - 5, said - 4.8, [0])["shift"][0] != 0
    new, told = too_low(20_000, seed=1)
    assert abs(learnt["slope"][0] * told.mean() + learnt["shift"][0] - new.mean()) < 0.1 < new.mean() - told.mean()


def test_each_column_has_a_line_of_its_own_and_gaps_teach_nothing():
    truth, said = too_low(400)
    alone = learn_lines(truth, said, [0])
    gaps = np.concatenate([truth, np.full((50, 1), np.nan)]), np.concatenate([said, np.ones((50, 1))])
    assert learn_lines(*gaps, [0])["bias"] == alone["bias"]
    both = learn_lines(np.hstack([said, truth]), np.hstack([said, said]), [0, 1])
    for name, kept in (("slope", 1.0), ("shift", 0.0), ("bias", 0.0)):
        assert both[name] == [kept, *alone[name]]
    assert learn_lines(np.hstack([truth, truth]), np.hstack([said, said]), [1])["slope"][0] == 1.0


@pytest.mark.parametrize("case", ["right", "few", "the same", "backwards"])
def test_no_line_is_learnt_where_it_does_not_help(case):
    truth, said = too_low(39 if case == "few" else 400)
    said = {"right": truth, "few": said, "the same": np.ones_like(said), "backwards": truth.max() - truth}[case]
    truth = np.ones_like(truth) if case == "the same" else truth
    assert learn_lines(truth, said, [0]) is None


# === what a report shows ===


def test_figures_are_those_of_a_definition_of_their_own():
    said, truth = said_and_true(300, 3, 2.0)
    table = calibration_section("log_probabilities", truth, said, None).table["value"]
    assert table["log_loss"] == pytest.approx(-np.log(said[truth]).mean())
    assert table["brier"] == pytest.approx(((said - truth) ** 2).sum(axis=1).mean())
    top, error = said.max(axis=1), 0.0
    for part in range(15):
        rows = (top >= part / 15) & (top < (part + 1) / 15)
        right = truth[np.arange(300), said.argmax(axis=1)][rows]
        error += abs(top[rows].sum() - right.sum()) / 300
    assert table["ece"] == pytest.approx(error)


def test_true_probabilities_reach_what_is_told_of_them():
    said, truth = said_and_true(10_000, 4, 1.0)
    table = calibration_section("log_probabilities", truth, said, None).table
    np.testing.assert_allclose(table["value"], table["if_true"], atol=0.02)


def test_before_and_after_stand_beside_each_other():
    said, truth = labels_said_and_true(500, np.array([0.4, 0.4]), np.zeros(2))
    learnt = learn_calibration("log_odds", truth, said)
    section = calibration_section(
        "log_odds",
        truth,
        expit(np.array(learnt["slope"]) * calibration._logits("log_odds", said) + learnt["shift"]),
        learnt,
    )
    assert section.table.loc["ece", "value"] < section.table.loc["ece", "value_before"]
    assert section.table.loc["ece", "low"] <= section.table.loc["ece", "value"] <= section.table.loc["ece", "high"]
    assert section.figure().axes
    assert "500 validation rows" in section.notes[0]


# === bounds ===


@pytest.mark.parametrize(("count", "coverage", "expected"), [(9, 0.9, 9), (19, 0.9, 18), (8, 0.9, np.inf), (1, 0.5, 1)])
def test_a_bound_is_the_score_that_enough_rows_do_not_exceed(count, coverage, expected):
    assert bound(list(range(1, count + 1)), coverage) == expected


def test_sets_of_exchangeable_rows_hold_the_truth():
    rng, held = np.random.default_rng(0), []
    for _ in range(400):
        scores = rng.normal(size=50)
        held.append((rng.normal(size=20) <= bound(kept_scores(scores), 0.9)).mean())
    assert np.mean(held) == pytest.approx(46 / 51, abs=0.01)  # ⌈51 · .9⌉ of 51 places


# === in a Pipeline ===


@pytest.fixture(scope="module")
def rows():
    """Two classes of which a model of little data is too sure: numbers with noise."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(700, 6))
    chance = expit(x[:, 0])
    kind = np.where(rng.random(700) < chance, "yes", np.where(rng.random(700) < 0.5, "no", "never"))
    frame = pd.DataFrame(x, columns=list("abcdef")).assign(kind=kind, size=10 * x[:, 1] + rng.normal(size=700))
    return frame.iloc[:300], frame.iloc[300:500], frame.iloc[500:]


@pytest.fixture(scope="module")
def classifier(rows):
    pipe = mm.Pipeline([mm.Tabular(numeric=list("abcdef"))], mm.MultiClass("kind"), dropout=0.0)
    pipe.fit(rows[0], validation_data=0.4, epochs=25, learning_rate=2e-2, early_stopping=False, verbose=0)
    return pipe


def test_a_fit_that_is_too_sure_is_calibrated_and_kept(classifier, rows, tmp_path):
    learnt = classifier.task.state["calibration"]
    assert learnt["slope"][0] < 0.8
    table = classifier.evaluate(rows[2], verbose=0).calibration
    assert table.loc["log_loss", "value"] < table.loc["log_loss", "value_before"]
    classifier.save(tmp_path / "model")
    loaded = mm.load(tmp_path / "model")
    pd.testing.assert_frame_equal(loaded.predict(rows[2]), classifier.predict(rows[2]), atol=1e-6)
    pd.testing.assert_frame_equal(loaded.evaluate(rows[2], verbose=0).calibration, table, atol=1e-5)
    raw = mm.chain(classifier.encode, classifier.head).output["kind"]
    assert raw.shape == (None, 3)


def test_a_fit_says_what_validation_rows_were_for(rows, capfd):
    pipe = mm.Pipeline([mm.Tabular(numeric=["a"])], mm.MultiClass("kind"))
    pipe.fit(rows[0], epochs=1, verbose=2)
    assert "30 validation rows taught no calibration" in capfd.readouterr().out
    pipe.fit(rows[0], validation_data=False, epochs=1, verbose=2)
    assert "No validation rows" in capfd.readouterr().out
    assert pipe.task.calibration("x") is None
    assert "as the model gives them" in str(pipe.evaluate(rows[2], verbose=0))


def test_another_head_has_no_calibration(classifier):
    pipe = mm.Pipeline.of(classifier.check_fitted().__class__(**vars(classifier.check_fitted())))
    pipe.head = classifier.head
    assert pipe.task.calibration("x") is None
    assert classifier.task.calibration("x") is not None


def test_an_ensemble_is_calibrated_as_a_whole(classifier, rows):
    other = mm.Pipeline([mm.Tabular(numeric=list("abcdef"))], mm.MultiClass("kind"), units=8)
    other.fit(rows[0], validation_data=0.4, epochs=5, verbose=0)
    both = mm.Ensemble([classifier, other])
    np.testing.assert_allclose(both.predict(rows[2]).sum(axis=1), 1.0, atol=1e-5)


@pytest.fixture(scope="module")
def with_sets(classifier, rows):
    classifier.conformalize(rows[1], 0.8)
    return classifier


def test_sets_of_classes_hold_the_truth_and_the_likeliest(with_sets, rows):
    sets, likely = with_sets.predict_sets(rows[2]), with_sets.predict_labels(rows[2])
    assert sets.index.equals(rows[2].index)
    assert all(one in some for one, some in zip(likely, sets, strict=True))
    held = np.mean([one in some for one, some in zip(rows[2]["kind"], sets, strict=True)])
    assert held == pytest.approx(0.8, abs=0.08)
    wide = with_sets.predict_sets(rows[2], np.float32(0.97))
    assert wide.map(len).mean() > sets.map(len).mean()
    report = with_sets.evaluate(rows[2], verbose=0)
    assert report.table("sets").loc["coverage", "value"] == pytest.approx(held)
    assert report.table("sets").loc["size", "value"] == pytest.approx(sets.map(len).mean())


def test_sets_are_saved_and_served(with_sets, rows, tmp_path):
    with_sets.save(tmp_path / "model")
    expected = with_sets.predict_sets(rows[2])
    pd.testing.assert_series_equal(mm.load(tmp_path / "model").predict_sets(rows[2]), expected)
    with_sets.export(tmp_path / "served")
    served = tf.saved_model.load(tmp_path / "served").signatures["predict_sets"]
    cells = {name: tf.constant(rows[2][name].to_numpy("float32")) for name in "abcdef"}
    inside = served(**cells)["kind_set"].numpy()
    names = np.array(with_sets.task.classes)
    assert [list(names[row]) for row in inside] == expected.tolist()


def test_a_server_answers_with_sets(with_sets, rows):
    answers = signatures(with_sets)["predict_sets"]
    part = Part(rows[2].iloc[:2][list("abcdef")].to_dict("list"), 2)
    assert answers.one(part).table == {"kind": with_sets.predict_sets(rows[2].iloc[:2]).tolist()}
    assert "probability of 0.8" in answers.about


@pytest.mark.parametrize("quantiles", [None, (0.1, 0.9)])
def test_intervals_of_numbers_hold_the_truth(rows, quantiles):
    pipe = mm.Pipeline([mm.Tabular(numeric=list("abcdef"))], mm.Regression("size", quantiles=quantiles))
    pipe.fit(rows[0], epochs=4, verbose=0)
    pipe.conformalize(rows[1], 0.9)
    ends = pipe.predict_sets(rows[2])
    assert list(ends) == ["size_low", "size_high"]
    held = ((rows[2]["size"] >= ends["size_low"]) & (rows[2]["size"] <= ends["size_high"])).mean()
    assert held == pytest.approx(0.9, abs=0.06)
    assert pipe.evaluate(rows[2], verbose=0).table("sets").loc["coverage", "value"] == pytest.approx(held)


def test_an_interval_that_is_shortened_does_not_turn_round(rows):
    pipe = mm.Pipeline([mm.Tabular(numeric=list("abcdef"))], mm.Regression("size", quantiles=(0.01, 0.99)))
    pipe.fit(rows[0], epochs=4, verbose=0)
    pipe.conformalize(rows[1], 0.9)
    for coverage in (0.02, 0.5, 0.999):
        ends = pipe.predict_sets(rows[2], coverage)
        assert (ends["size_low"] <= ends["size_high"]).all()


def test_sets_of_labels_hold_each_label():
    df = mm.samples.movies(500, seed=0)
    pipe = mm.Pipeline([mm.Text("overview", encoder="lexical", name="words")], mm.MultiLabel("genres"))
    pipe.fit(df.iloc[:200], epochs=4, verbose=0)
    pipe.conformalize(df.iloc[200:400], 0.9)
    sets = pipe.predict_sets(df.iloc[400:])
    pairs = [
        name in some
        for cell, some in zip(df["genres"].iloc[400:], sets, strict=True)
        for name in cell.split("|")
        if name
    ]
    assert 0.85 < np.mean(pairs) <= 1


@pytest.mark.parametrize("coverage", [0, 1, -0.1, True, "much"])
def test_a_coverage_lies_between_0_and_1(with_sets, rows, coverage):
    with pytest.raises(ValueError, match="`coverage` must lie between 0 and 1"):
        with_sets.predict_sets(rows[2], coverage)
    before = with_sets.task.sets
    with pytest.raises(ValueError, match="`coverage` must lie between 0 and 1"):
        with_sets.conformalize(rows[1], coverage)
    assert with_sets.task.sets is before


def test_what_has_no_sets_says_so(rows, tmp_path):
    pipe = mm.Pipeline([mm.Tabular(numeric=["a"])], mm.MultiClass("kind"))
    pipe.fit(rows[0], epochs=1, verbose=0)
    with pytest.raises(ValueError, match="Call `pipe.conformalize"):
        pipe.predict_sets(rows[2])
    with pytest.raises(ValueError, match="at least 10 held-out rows"):
        pipe.conformalize(rows[1].head(9))
    with pytest.warns(UserWarning, match="taught the model nothing"):
        pipe.conformalize(rows[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipe.conformalize(rows[1])
    few = pipe.predict_sets(rows[2], 0.999)  # of so few rows nothing can be left out
    assert few.map(len).eq(3).all()
    pipe.save(tmp_path / "model")
    manifest = json.loads((tmp_path / "model" / "pipeline.json").read_text())
    manifest["state"]["sets"]["scores"][0][0] = float("nan")
    (tmp_path / "model" / "pipeline.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="sets"):
        mm.load(tmp_path / "model")
