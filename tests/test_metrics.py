"""Metrics against scikit-learn and by hand, bootstrap intervals, thresholds, and the sentences of a report."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)

from mmkeras import MultiClass, MultiLabel, Regression
from mmkeras.data.targets import Values
from mmkeras.evaluation import metrics
from mmkeras.evaluation.metrics import roc_auc
from mmkeras.evaluation.report import Judgement, scores
from mmkeras.evaluation.sections import confusion_section, label_section
from mmkeras.evaluation.thresholds import tune_thresholds

ONES = np.ones((1, 60))


def random_labels(seed, ties=False, rows=60, classes=4):
    generator = np.random.default_rng(seed)
    target = generator.random((rows, classes)) < [0.5, 0.3, 0.1, 0.05][:classes]
    target[0] = True  # every label has a row
    values = np.clip(0.4 * target + 0.6 * generator.random((rows, classes)), 0, 1)
    return target, np.round(values, 1) if ties else values


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_scikit_learns(seed, ties):
    target, values = random_labels(seed, ties)
    for label in range(4):
        got = metrics.average_precision(target[:, label], values[:, label], ONES)
        assert got[0] == pytest.approx(average_precision_score(target[:, label], values[:, label]), abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_with_weights_is_scikit_learns(ties):
    target, values = random_labels(3, ties)
    weights = np.random.default_rng(9).integers(0, 4, (5, 60)).astype(float)
    got = metrics.average_precision(target[:, 1], values[:, 1], weights)
    expected = [average_precision_score(target[:, 1], values[:, 1], sample_weight=row) for row in weights]
    np.testing.assert_allclose(got, expected, atol=1e-12)


def test_average_precision_by_hand():
    positive, values = np.array([True, False, True, False]), np.array([0.9, 0.8, 0.7, 0.1])
    got = metrics.average_precision(positive, values, np.array([[1.0, 1, 1, 1], [1, 0, 1, 0], [0, 1, 0, 1]]))
    np.testing.assert_allclose(got[:2], [0.5 * 1 + 0.5 * 2 / 3, 1.0])
    assert np.isnan(got[2])


@pytest.mark.parametrize("seed", range(3))
def test_multilabel_is_scikit_learns(seed):
    target, values = random_labels(seed, ties=True)
    decisions = values >= 0.5
    got = {name: value[0] for name, value in metrics.multilabel(target, values, decisions, ONES).items()}
    assert got["map"] == pytest.approx(average_precision_score(target, values, average="macro"))
    assert got["micro_f1"] == pytest.approx(f1_score(target, decisions, average="micro"))
    assert got["macro_f1"] == pytest.approx(f1_score(target, decisions, average="macro", zero_division=0))


def test_labels_without_rows_stay_out_of_the_macro_averages():
    target, values = random_labels(1)
    wider = np.hstack([target, np.zeros((60, 1), bool)])
    more = np.hstack([values, np.ones((60, 1))])
    one = metrics.multilabel(target, values, values >= 0.5, ONES)
    two = metrics.multilabel(wider, more, more >= 0.5, ONES)
    assert two["map"] == one["map"] and two["macro_f1"] == one["macro_f1"]
    assert two["micro_f1"] < one["micro_f1"]  # its false claims count there


def test_multiclass_is_scikit_learns():
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 3, 60)
    values = generator.dirichlet([1, 1, 1], 60) + np.eye(3)[truth] * 0.3
    picked = values.argmax(axis=1)
    got = metrics.multiclass(np.eye(3)[truth], values, np.eye(3)[picked], ONES)
    assert got["accuracy"][0] == pytest.approx(accuracy_score(truth, picked))
    assert got["macro_f1"][0] == pytest.approx(f1_score(truth, picked, average="macro"))


def test_regression_is_scikit_learns():
    generator = np.random.default_rng(0)
    truth, predictions = generator.normal(size=60), generator.normal(size=60)
    got = metrics.regression(truth, predictions, ONES)
    assert got["r2"][0] == pytest.approx(r2_score(truth, predictions))
    assert got["rmse"][0] == pytest.approx(root_mean_squared_error(truth, predictions))
    assert got["mae"][0] == pytest.approx(np.abs(truth - predictions).mean())
    assert np.isnan(metrics.regression(np.ones(3), np.arange(3.0), np.ones((1, 3)))["r2"][0])


def test_f1_by_hand():
    tp, fp, fn = np.array([2.0, 0.0, 0.0]), np.array([1.0, 0.0, 5.0]), np.array([1.0, 0.0, 0.0])
    np.testing.assert_allclose(metrics.f1(tp, fp, fn), [4 / 6, 0, 0])


# === Bootstrap ===


def mean_of(values):
    return lambda weights: {"mean": weights @ values / weights.sum(axis=1)}


def test_bootstrap_is_deterministic():
    values = np.random.default_rng(0).normal(size=100)
    point, drawn = metrics.bootstrap(mean_of(values), 100, samples=50, seed=1)
    again = metrics.bootstrap(mean_of(values), 100, samples=50, seed=1)
    other = metrics.bootstrap(mean_of(values), 100, samples=50, seed=2)
    assert point["mean"] == pytest.approx(values.mean()) and drawn["mean"].shape == (50,)
    np.testing.assert_array_equal(drawn["mean"], again[1]["mean"])
    assert (drawn["mean"] != other[1]["mean"]).any()


def test_bootstrap_of_many_rows_keeps_the_number_of_samples():
    rows = 1_000_000  # drawn in parts of two resamples
    point, drawn = metrics.bootstrap(lambda w: {"n": w.sum(axis=1)}, rows, samples=5)
    assert point["n"] == rows and drawn["n"].tolist() == [rows] * 5


def test_bootstrap_interval_of_a_mean():
    values = np.random.default_rng(0).normal(size=400)
    _, drawn = metrics.bootstrap(mean_of(values), 400, samples=2000)
    low, high = metrics.interval(drawn["mean"])
    error = values.std() / 20  # of the mean of 400
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.1)
    assert (low + high) / 2 == pytest.approx(values.mean(), abs=0.3 * error)


def test_interval_by_hand():
    values = np.append(np.arange(101.0), [np.nan, np.inf])
    assert metrics.interval(values, level=0.9) == pytest.approx((5.0, 95.0))
    assert np.isnan(metrics.interval(np.array([np.nan]))).all()


# === Thresholds ===


def test_roc_auc_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    positive, scores = rng.random(80) < 0.3, rng.random(80).round(1)  # many are equal
    weights = np.stack([np.ones(80), rng.integers(0, 4, 80)])
    expected = [roc_auc_score(positive, scores, sample_weight=each) for each in weights]
    np.testing.assert_allclose(roc_auc(positive, scores, weights), expected)
    assert np.isnan(roc_auc(np.ones(80, bool), scores, weights)).all()


def test_two_classes_have_a_roc_auc_and_three_have_none():
    flags, weights = np.eye(2)[[0, 1, 1]], np.ones((1, 3))
    scores = np.array([[0.9, 0.1], [0.4, 0.6], [0.95, 0.05]])
    assert metrics.multiclass(flags, scores, flags, weights)["roc_auc"].tolist() == [0.5]
    assert "roc_auc" not in metrics.multiclass(np.eye(3), np.eye(3), np.eye(3), weights)


def test_thresholds_by_hand():
    target = np.array([[1], [1], [0], [1], [0]])
    values = np.array([[0.9], [0.8], [0.6], [0.5], [0.1]])
    # Claiming the first 2: F1 0.8; the first 4: 2·3 / (4 + 3) = 0.857, between 0.5 and 0.1.
    np.testing.assert_allclose(tune_thresholds(target, values), [0.3])


def test_thresholds_of_rare_labels_are_drawn_to_the_common_one():
    target = np.array([[1, 0], [1, 0], [0, 1], [0, 0]])
    values = np.array([[0.9, 0.2], [0.8, 0.2], [0.2, 0.7], [0.1, 0.1]])
    # Own: (0.8 + 0.2) / 2 and (0.7 + 0.2) / 2; all together (0.7 + 0.2) / 2. Trust: 2/3 and 1/2 for strength 1.
    np.testing.assert_allclose(tune_thresholds(target, values, strength=1), [2 / 3 * 0.5 + 1 / 3 * 0.45, 0.45])


def test_threshold_of_a_label_without_rows_is_the_common_one():
    target = np.array([[1, 0], [1, 0], [0, 0]])
    values = np.array([[0.9, 0.2], [0.7, 0.6], [0.1, 0.3]])
    common = (0.7 + 0.6) / 2
    # The first label's own is 0.4, below its 2 rows; half way to the common one, it would be told of fewer.
    np.testing.assert_allclose(tune_thresholds(target, values, strength=2), [0.4, common])
    np.testing.assert_array_equal(tune_thresholds(np.zeros((3, 2)), values), [0.5, 0.5])


def test_rare_labels_are_told_of_as_many_rows_as_have_them():
    """Their scores are seldom as high as those by which common labels are told."""
    target, values = random_labels(1)
    target[:, 0], values[:, 0] = 0, values[:, 0] * 0.1
    target[:3, 0] = 1
    told = (values >= tune_thresholds(target, values)).sum(axis=0)
    assert (told >= target.sum(axis=0)).all()


def test_a_threshold_never_parts_equal_scores():
    target = np.array([[1], [0], [0], [1]])
    values = np.array([[0.5], [0.5], [0.5], [0.2]])
    # Claiming the three: F1 2/5; all four: 2·2 / (4 + 2) = 2/3.
    np.testing.assert_allclose(tune_thresholds(target, values), [0.1])


def test_thresholds_see_only_the_rows_they_are_given():
    target, values = random_labels(0)
    validation = slice(0, 30)
    before = tune_thresholds(target[validation], values[validation])
    others, kept = values.copy(), values.copy()
    others[30:] = 1 - others[30:]
    np.testing.assert_array_equal(tune_thresholds(target[validation], others[validation]), before)
    assert (tune_thresholds(target, others) != before).any()
    np.testing.assert_array_equal(values, kept)


def test_thresholds_improve_f1_on_their_own_rows():
    target, values = random_labels(2)
    shrunk = values * 0.3  # probabilities far below one half
    tuned = f1_score(target, shrunk >= tune_thresholds(target, shrunk), average="micro")
    assert tuned > 0.5 > f1_score(target, shrunk >= 0.5, average="micro", zero_division=0)


# === Report ===

TASK = MultiLabel("genres", classes=["A", "B"])


def labels_and_guesses():
    generator = np.random.default_rng(0)
    target = (generator.random((200, 2)) < 0.4).astype("float32")
    good = np.clip(0.6 * target + 0.4 * generator.random((200, 2)), 0, 1)
    return target, good, generator.random((200, 2))


def report_of(task, target, predictions, rivals, samples=200, **settings):
    """The report of predictions beside {name: predictions of a rival}."""
    judgement = Judgement(task, Values(target), predictions, samples=samples)
    return judgement.report(rivals={name: (task, values) for name, values in rivals.items()}, **settings)


def test_report_of_a_model_that_beats_its_baselines():
    target, good, bad = labels_and_guesses()
    baselines = {"chance": bad, "label prior": np.full((200, 2), 0.4)}
    report = report_of(TASK, target, good, baselines, notes=["First."])
    assert report.notes[0] == "First."
    best = report.baselines.index[0]
    assert f"The model beats its best baseline, {best!r}, beyond the interval: map 1.000 against" in report.notes[-1]
    assert "NOT" not in report.notes[-1]
    assert set(report.baselines.index) == {"chance", "label prior"}
    assert report.baselines["map"].is_monotonic_decreasing
    assert report.baselines.loc["chance", "map"] == pytest.approx(average_precision_score(target, bad, average="macro"))
    assert list(report.metrics) == ["map", "micro_f1", "macro_f1"] and report.rows == 200
    assert report.metrics["map"] == pytest.approx(average_precision_score(target, good, average="macro"))
    low, high = report.intervals["micro_f1"]
    assert low <= report.metrics["micro_f1"] <= high
    low, value, high = report.baselines.loc["chance", ["low", "map", "high"]]
    assert low < value < high < low + 0.3
    assert report.to_frame().index[0] == "this model" and str(report).startswith("Evaluation of 'genres' on 200 rows")


def test_report_of_a_model_that_does_not():
    target, good, bad = labels_and_guesses()
    report = report_of(TASK, target, bad, {"better": good, "prior": good * 0})
    assert "The model does NOT beat its best baseline, 'better', beyond the interval" in report.notes[-1]
    assert "difference -" in report.notes[-1] and "Prefer the simpler one" in report.notes[-1]
    equal = report_of(TASK, target, good, {"same": good}, samples=100)
    assert "does NOT beat" in equal.notes[-1] and "difference +0.000 [+0.000, +0.000]" in equal.notes[-1]


def test_a_rival_is_judged_by_its_own_thresholds():
    """Each decides by what it was tuned to: the same probabilities, other decisions."""
    target, good, _ = labels_and_guesses()
    judgement = Judgement(TASK, Values(target), good, samples=20)
    generous = TASK.learn(thresholds=[0.0, 0.0])
    report = judgement.report(rivals={"same": (TASK, good), "generous": (generous, good)})
    everything = f1_score(target, np.ones((200, 2)), average="micro")
    assert report.baselines.loc["same", "micro_f1"] == report.metrics["micro_f1"]
    assert report.baselines.loc["generous", "micro_f1"] == pytest.approx(everything)
    assert report.baselines.loc["generous", "map"] == report.metrics["map"]


def test_less_is_better_where_the_task_says_so():
    class Error(Regression):
        primary = "mae"

    target = np.linspace(0.0, 1.0, 50)[:, None]
    rivals = {"far": target + 1.0, "near": target + 0.1}
    report = report_of(Error("y"), target, target + 0.01, rivals, samples=50)
    assert report.baselines.index.tolist() == ["near", "far"]
    assert "The model beats its best baseline, 'near', beyond the interval: mae 0.010 against 0.100" in report.notes[-1]
    worse = report_of(Error("y"), target, target + 0.5, rivals, samples=50)
    assert "does NOT beat its best baseline, 'near'" in worse.notes[-1]


def test_report_notes_labels_without_rows():
    task = MultiLabel("genres", classes=["A", "B", "C"])
    target, good, _ = labels_and_guesses()
    wider = np.hstack([target, np.zeros((200, 1), "float32")])
    report = report_of(task, wider, np.hstack([good, good[:, :1]]), {}, samples=50)
    assert report.notes == ["No evaluated row has ['C']: left out of the macro averages."]
    assert report.labels.loc["C", "rows"] == 0 and np.isnan(report.labels.loc["C", "ap"])
    assert report.baselines.empty and len(report.to_frame()) == 1


def test_report_is_deterministic():
    target, good, bad = labels_and_guesses()
    first, second = (report_of(TASK, target, good, {"chance": bad}, samples=100) for _ in range(2))
    assert str(first) == str(second) and first.intervals == second.intervals


def test_groups_are_scored_as_if_alone():
    """Scores and intervals of a subgroup are those of an evaluation of its rows only."""
    target, good, _ = labels_and_guesses()
    noisy = np.clip(good + np.random.default_rng(1).normal(0, 0.3, good.shape), 0, 1)
    groups = np.array(["big"] * 120 + ["small"] * 60 + [None] * 20, dtype=object)
    judgement = Judgement(TASK, Values(target), noisy, samples=100)
    section = judgement.groups(groups, "size")
    assert section.name == "groups" and section.table.index.name == "size"
    assert section.table.index.tolist() == ["big", "small", "(missing)"]  # most rows first
    assert section.table["rows"].tolist() == [120, 60, 20]
    report = judgement.report(rivals={}, sections=[section])
    pd.testing.assert_frame_equal(report.groups, section.table)
    assert "By size" in str(report)
    for name, rows in (("big", slice(0, 120)), ("small", slice(120, 180)), ("(missing)", slice(180, None))):
        alone = report_of(TASK, target[rows], noisy[rows], {}, samples=100)
        for metric, value in alone.metrics.items():
            assert report.groups.loc[name, metric] == pytest.approx(value), (name, metric)
        assert tuple(report.groups.loc[name, ["low", "high"]]) == pytest.approx(alone.intervals["map"]), name


def test_subsets_of_modalities_are_a_section():
    target, good, bad = labels_and_guesses()
    judgement = Judgement(TASK, Values(target), good, samples=20)
    report = judgement.report(rivals={}, sections=[judgement.missing({"text + image": good, "text": bad})])
    assert report.missing.index.tolist() == ["text + image", "text"]
    assert report.missing.loc["text + image", "map"] == report.metrics["map"]
    assert report.missing.loc["text", "map"] == pytest.approx(average_precision_score(target, bad, average="macro"))
    assert report.groups.empty and report.confusion.empty and report.gallery.empty


def test_label_section_by_hand():
    target = np.array([[1, 0], [1, 1], [0, 1], [0, 0]])
    values = np.array([[0.9, 0.6], [0.3, 0.7], [0.6, 0.8], [0.1, 0.2]])
    thresholds = np.array([0.5, 0.65])
    table = label_section(["A", "B"], target, values, decisions=values >= thresholds, thresholds=thresholds).table
    assert table["rows"].tolist() == [2, 2] and table["threshold"].tolist() == [0.5, 0.65]
    assert table["precision"].tolist() == [0.5, 1.0] and table["recall"].tolist() == [0.5, 1.0]
    assert table["f1"].tolist() == [0.5, 1.0]
    np.testing.assert_allclose(table["ap"], [0.5 * 1 + 0.5 * 2 / 3, 1.0])
    assert table.index.tolist() == ["A", "B"]


def test_confusion_section_by_hand():
    table = confusion_section(["a", "b", "c"], np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0])).table
    assert table.to_numpy().tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
    assert (table.index.name, table.columns.name) == ("true", "predicted")


def test_scores_of_the_other_tasks():
    classes = MultiClass("y", classes=["a", "b"])
    point, _ = scores(classes, Values([0, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]]), samples=5)
    assert point["accuracy"] == pytest.approx(2 / 3)
    target, predictions = Values(np.array([[1.0], [2.0]])), np.array([[1.0], [4.0]])
    point, drawn = scores(Regression("y"), target, predictions, samples=5)
    assert point["mae"] == 1.0 and point["r2"] == pytest.approx(1 - 4 / 0.5) and len(drawn["mae"]) == 5
    assert report_of(Regression("y"), target.values, predictions, {}, samples=5).labels.empty


def test_report_of_unknown_classes_counts_them_as_wrong():
    task = MultiClass("y", classes=["a", "b"])
    point, _ = scores(task, Values([0, -1]), np.array([[0.9, 0.1], [0.9, 0.1]]), samples=5)
    assert point["accuracy"] == 0.5


def test_report_shows_examples():
    target, good, _ = labels_and_guesses()
    examples = pd.DataFrame({"overview": ["x"]})
    assert report_of(TASK, target, good, {}, examples=examples, samples=10).examples is examples
