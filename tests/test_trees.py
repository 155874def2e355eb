"""The rival of boosted trees: its arrays by hand, its predictions against scikit-learn's, and through `evaluate`."""

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor

import mmkeras as mm
from mmkeras.evaluation.rivals import Bench
from mmkeras.evaluation.trees import NEVER, SETTINGS, Trees
from mmkeras.trunk.trunk import Rows, Trunk

NUMBERS = mm.Tabular(numeric=["x", "z"], categorical="kind", name="table")
KNOWN = {**SETTINGS, "n_estimators": 100, "random_state": 0}


@pytest.fixture(scope="module")
def df():
    rng = np.random.default_rng(0)
    x, kind = rng.normal(size=160), rng.choice(["old", "new"], 160)
    price = 10 * np.abs(x) + 5 * (kind == "old") + rng.normal(size=160)
    labels = np.where(x > 0, "right", "left") + np.where(kind == "old", "|old", "")
    z = np.where(rng.random(160) < 0.2, np.nan, rng.normal(size=160))
    form = np.where(price > 12, "dear", np.where(price > 6, "fair", "cheap"))
    return pd.DataFrame({"x": x, "z": z, "kind": kind, "price": price, "labels": labels, "form": form})


def bench_of(task, df, modalities=(NUMBERS,)):
    task = task.adapt(df)
    trunk = Trunk([modality.adapt(df) for modality in modalities])
    return Bench(task, trunk.modalities, Rows(df, task.target(df)), trunk)


def fitted(task, df):
    bench = bench_of(task, df)
    (rival,) = Trees.fit(bench).values()
    rival.task = bench.task
    return rival, bench.trunk


def table_of(rival, trunk, df):
    return trunk.outputs(rival.model, df)["table"]


def test_leaves_by_hand():
    """Output 0 starts at 1 and adds by two trees; output 1 starts at -1 and has a tree of one leaf."""
    rival = Trees(
        {
            "feature": np.array([1, 0, 0, 0, 0, 0, 0]), "threshold": np.array([0.5, 0, 0, 2.0, 0, 0, 0]),
            "left": np.array([1, 1, 2, 4, 4, 5, 6]), "right": np.array([2, 1, 2, 5, 4, 5, 6]),
            "value": np.array([0, 10.0, 20.0, 0, 0.1, 0.2, 5.0]), "roots": np.array([0, 3, 6]),
            "output": np.array([0, 0, 1]), "start": np.array([1.0, -1.0]),
        },
        None,
    )  # fmt: skip
    table = np.array([[2.0, 0.5], [2.1, 0.6]])
    np.testing.assert_allclose(rival.values(table), [[1 + 10 + 0.1, 4], [1 + 20 + 0.2, 4]])


def test_numbers_are_those_of_scikit_learn(df):
    rival, trunk = fitted(mm.Regression("price", transform="none"), df)
    table, price = table_of(rival, trunk, df), df["price"].to_numpy()
    scaled = (price - price.mean()) / price.std()
    known = GradientBoostingRegressor(**KNOWN).fit(table, scaled).predict(table) * price.std() + price.mean()
    np.testing.assert_allclose(rival.predict(trunk, df)[:, 0], known, rtol=1e-4)
    assert np.corrcoef(rival.predict(trunk, df)[:, 0], price)[0, 1] > 0.9


def test_chances_of_labels_and_classes_are_those_of_scikit_learn(df):
    labels, trunk = fitted(mm.MultiLabel("labels"), df)
    table, truth = table_of(labels, trunk, df), labels.task.encode(df)
    known = [GradientBoostingClassifier(**KNOWN).fit(table, y).predict_proba(table)[:, 1] for y in truth.T]
    np.testing.assert_allclose(labels.predict(trunk, df), np.stack(known, 1), atol=1e-5)
    classes, trunk = fitted(mm.MultiClass("form"), df)
    flags = classes.task.encode(df)[:, None] == np.arange(3)
    each = [GradientBoostingClassifier(**KNOWN).fit(table, y).predict_proba(table)[:, 1] for y in flags.T]
    np.testing.assert_allclose(classes.predict(trunk, df), np.stack(each, 1) / np.sum(each, axis=0)[:, None], atol=1e-5)


def test_a_label_that_no_row_has_is_never_told(df):
    rival, trunk = fitted(mm.MultiLabel("labels", classes=["left", "blue"]), df)
    assert (rival.predict(trunk, df)[:, 1] < 1e-8).all() and rival.arrays["start"][1] == NEVER


def test_there_are_none_without_a_table_and_of_what_is_no_mean(df):
    words = mm.Text("form", encoder="lexical", name="words")
    assert Trees.fit(bench_of(mm.MultiLabel("labels"), df, [words])) == {}
    assert Trees.fit(bench_of(mm.Regression("price", quantiles=(0.1, 0.5, 0.9)), df)) == {}


def test_every_evaluation_shows_them_and_they_are_saved(df, tmp_path):
    pipe = mm.Pipeline([NUMBERS], mm.MultiClass("form"), units=8)
    pipe.fit(df, epochs=1, verbose=0)
    mm.testing.check_rival(Trees, pipe, df)
    report = pipe.evaluate(df, verbose=0)
    assert "boosted trees" in report.baselines.index
    pipe.save(tmp_path / "model")
    again = mm.load(tmp_path / "model").evaluate(df, verbose=0)
    pd.testing.assert_frame_equal(again.baselines, report.baselines, atol=1e-6)
