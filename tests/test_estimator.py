"""The Estimator: scikit-learn's own checks, and what they do not ask."""

import pathlib
import pickle
import re
import warnings

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.inspection import permutation_importance
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

import mmkeras as mm

QUICK = {"epochs": 2, "units": 8, "dropout": 0.0, "learning_rate": 1e-2, "validation_data": False}
PAGE = pathlib.Path(__file__).parents[1] / "docs" / "validation.md"


def expected(estimator):
    """{check: why it fails}, of the page about validation."""
    return dict(re.findall(r"^\| `(check_\w+)` \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))


def checks():
    """scikit-learn's checks, each once: of a classifier, and what only regressors have. Each fit costs a second."""
    seen, every = set(), []
    classifier = mm.Estimator(task=mm.MultiClass, **{**QUICK, "epochs": 6, "learning_rate": 0.05, "batch_size": 512})
    regressor = mm.Estimator(task=mm.Regression("y", transform="none"), **{**QUICK, "epochs": 4, "batch_size": 16})
    for estimator in (classifier, regressor):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*does not inherit from `sklearn.base.BaseEstimator`")
            mark = parametrize_with_checks([estimator], expected_failed_checks=expected)
            for param in mark.args[1]:
                values = getattr(param, "values", param)
                name = mark.kwargs["ids"](values[1]).partition("(")[0]  # once, not again in read-only memory
                if name not in seen:
                    every.append(pytest.param(*values, marks=getattr(param, "marks", ())))
                seen.add(name)
    return {"argnames": mark.args[0], "argvalues": every, "ids": mark.kwargs["ids"]}


@pytest.mark.parametrize(**checks())
def test_scikit_learn_checks(estimator, check):
    tf.config.run_functions_eagerly(is_classifier(estimator))  # making a graph takes longer than a few steps
    try:
        check(estimator)
    finally:
        tf.config.run_functions_eagerly(False)


def films(count=60):
    return mm.samples.movies(count, seed=0).dropna(subset=["runtime"]).assign(
        long=lambda df: np.where(df["runtime"] > df["runtime"].median(), "long", "short")
    )  # fmt: skip


TABLE = [mm.Tabular(numeric=["budget", "popularity"])]


def numbers(count=60):
    X = np.random.default_rng(0).normal(size=(count, 3))
    return X, np.where(X[:, 0] > 0, "up", "down"), 3 * X[:, 0] + 10


def test_scikit_learn_knows_what_it_is():
    classifier, regressor, open_ = (mm.Estimator(task=task) for task in (mm.MultiClass, mm.Regression("price"), None))
    assert is_classifier(classifier) and not is_regressor(classifier) and hasattr(classifier, "predict_proba")
    assert is_regressor(regressor) and not is_classifier(regressor) and not hasattr(regressor, "predict_proba")
    assert not is_classifier(open_) and not is_regressor(open_)


def test_it_answers_as_its_pipeline_does():
    X, y, _ = numbers()
    estimator = mm.Estimator(task=mm.MultiClass, **QUICK).fit(X, y)
    rows = pd.DataFrame(X, columns=["0", "1", "2"])
    assert estimator.classes_.tolist() == ["down", "up"] and estimator.n_features_in_ == 3
    np.testing.assert_array_equal(estimator.predict_proba(X), estimator.pipeline_.predict(rows).to_numpy())
    assert estimator.predict(X).tolist() == estimator.pipeline_.predict_labels(rows).tolist()
    assert estimator.score(X, y) == accuracy_score(y, estimator.predict(X))
    heavy = np.where(y == "up", 3.0, 1.0)
    assert estimator.score(X, y, heavy) == pytest.approx(accuracy_score(y, estimator.predict(X), sample_weight=heavy))


def test_classes_are_sorted_as_scikit_learn_has_them():
    """ "item 10" stands before "item 2" there, but not among the outputs."""
    X = np.random.default_rng(0).normal(size=(60, 2))
    y = np.array(["item 2", "item 10"])[(X[:, 0] > 0).astype(int)]
    estimator = mm.Estimator(task=mm.MultiClass, **{**QUICK, "epochs": 20}).fit(X, y)
    assert estimator.classes_.tolist() == ["item 10", "item 2"]
    assert list(estimator.pipeline_.task.classes) == ["item 2", "item 10"]
    assert estimator.score(X, y) > 0.8
    assert cross_val_score(mm.Estimator(task=mm.MultiClass, **QUICK), X, y, cv=2, scoring="neg_log_loss").max() < 0


def test_the_task_is_chosen_by_y():
    X, labels, values = numbers()
    quick = mm.Estimator(**{**QUICK, "epochs": 1})
    assert type(clone(quick).fit(X, labels).pipeline_.task) is mm.MultiClass
    numbered = clone(quick).fit(X, values)
    assert type(numbered.pipeline_.task) is mm.Regression and is_regressor(numbered)
    assert numbered.score(X, values) == pytest.approx(r2_score(values, numbered.predict(X)))


def test_columns_of_a_table_are_read_as_suggested():
    df = films(120)
    X = df[["id", "overview", "budget", "release_date"]]
    estimator = mm.Estimator(task=mm.Regression, **{**QUICK, "epochs": 1}).fit(X, df["runtime"])
    names = [name for modality in estimator.pipeline_.modalities for name in modality.all_columns]
    assert sorted(names) == ["budget", "overview", "release_date"] and "id" in estimator.suggestion_.columns.index
    assert estimator.feature_names_in_.tolist() == list(X.columns)
    assert estimator.predict(X).shape == (len(df),)


def test_labels_and_several_columns_are_answers_too():
    df = films()
    estimator = mm.Estimator(TABLE, mm.MultiLabel("genres"), **{**QUICK, "epochs": 1}).fit(df, df["genres"])
    assert isinstance(estimator.predict(df)[0], list) and 0 < estimator.score(df, df["genres"]) < 1
    X, flags = df[["budget", "popularity"]], np.stack([df["budget"] > 0, df["popularity"] > 5], 1).astype(int)
    flagged = mm.Estimator(TABLE, mm.MultiLabel(["rich", "known"]), **{**QUICK, "epochs": 1}).fit(X, flags)
    assert {name for names in flagged.predict(X) for name in names} <= {"rich", "known"}
    with pytest.raises(ValueError, match=r"a column for each of \['rich', 'known'\]. Received: 3 columns"):
        flagged.fit(X, np.zeros((len(X), 3)))


def test_settings_are_kept_cloned_and_searched():
    estimator = mm.Estimator(TABLE, mm.Regression, dropout=0.1)
    assert estimator.get_params() == {"modalities": TABLE, "task": mm.Regression, "target": "target", "dropout": 0.1}
    assert clone(estimator).set_params(dropout=0.2, epochs=3).get_params()["dropout"] == 0.2
    assert estimator.get_params()["dropout"] == 0.1
    assert repr(estimator).endswith("task=Regression, dropout=0.1)")
    df = films()
    with pytest.raises(ValueError, match="droput"):
        clone(estimator).set_params(droput=0.3).fit(df, df["runtime"])


def test_grid_search_finds_a_setting_and_keeps_the_model():
    X, _, y = numbers()
    estimator = mm.Estimator(task=mm.Regression, **QUICK)
    search = GridSearchCV(estimator, {"epochs": [1, 30]}, cv=2).fit(X, y)
    assert search.best_params_ == {"epochs": 30} and search.best_estimator_.score(X, y) > 0.5
    copy = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(copy.predict(X), search.predict(X))


def test_importance_of_columns():
    df = films().assign(runtime=lambda df: df["budget"].rank() + 100)
    X, y = df[["popularity", "budget"]], df["runtime"]
    estimator = mm.Estimator(TABLE, mm.Regression, **{**QUICK, "epochs": 30}).fit(X, y)
    found = permutation_importance(estimator, X, y, n_repeats=2, random_state=0).importances_mean
    assert found[1] > 0.3 > abs(found[0])


def test_a_call_that_fails_changes_nothing():
    X, y, _ = numbers()
    estimator = mm.Estimator(task=mm.MultiClass, **QUICK).fit(X, y)
    before = estimator.predict_proba(X)
    with pytest.raises(ValueError):
        estimator.fit(X[:, :2], [None, *y[1:]])
    np.testing.assert_array_equal(estimator.predict_proba(X), before)
    assert estimator.n_features_in_ == 3


@pytest.mark.parametrize(("act", "error", "message"), [
    (lambda e, df: e.predict(df), NotFittedError, "not fitted yet"),
    (lambda e, df: e.fit(df[["budget", "popularity"]], df["runtime"]).predict(df[["budget"]]), ValueError, "popularity"),
    (lambda e, df: e.fit(df[["budget", "popularity"]], df["runtime"]).predict(df), ValueError, "unseen at fit time"),
    (lambda e, df: e.fit(df, df["runtime"].where(df["budget"] > 0)), ValueError, "y contains NaN"),
    (lambda e, df: e.set_params(task=mm.MultiClass).fit(df, [None, *["a", "b"] * 28, "a"]), ValueError, "Received: 1 missing classes"),
    (lambda e, df: e.fit(df[["overview"]].to_numpy("str"), df["runtime"]), ValueError, "Give texts in a DataFrame"),
    (lambda e, df: e.fit(df, None), ValueError, "the target y is None"),
    (lambda e, df: e.fit(df, df["runtime"].head(5)), ValueError, "inconsistent numbers of samples"),
    (lambda e, df: e.fit(df.assign(target=1.0), df["runtime"]), ValueError, "Received: another column 'target'"),
    (lambda e, df: e.fit(df[["popularity"]], df["runtime"]), KeyError, "needs the column 'budget'"),
    (lambda e, df: e.set_params(task=mm.MultiClass).fit(df, df["runtime"] + 0.5), ValueError, "Unknown label type"),
])  # fmt: skip
def test_what_cannot_work_is_refused(act, error, message):
    with pytest.raises(error, match=message), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        act(mm.Estimator(TABLE, mm.Regression, **{**QUICK, "epochs": 1}), films())
