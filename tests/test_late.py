"""Modalities that join a fitted model late."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import mmkeras as mm
from mmkeras.automl.late import Features, Rest

WIDTH = 6


def made(rows, seed=0, classes=("a", "b", "c")):
    """Rows whose label a number tells partly, and a vector the rest of it; a third of the rows has no vector."""
    rng = np.random.default_rng(seed)
    x, hidden = rng.normal(size=rows), rng.normal(size=(rows, WIDTH))
    logits = np.stack([x + hidden[:, 0], hidden[:, 1], -x + hidden[:, 2]], axis=1) * 2
    there = rng.random(rows) > 1 / 3
    return pd.DataFrame(
        {
            "x": x,
            "vector": [row.tolist() if some else None for row, some in zip(hidden, there, strict=True)],
            "noise": list(rng.normal(size=(rows, 40)).tolist()),
            "label": np.array(classes)[logits.argmax(axis=1)],
            "labels": ["|".join(np.array(classes)[row > 0]) for row in logits],
            "number": logits[:, 0] * 10 + 100,
            "there": there,
        }
    )


TASKS = {"label": mm.MultiClass("label"), "labels": mm.MultiLabel("labels"), "number": mm.Regression("number")}


def fitted(task, df):
    pipe = mm.Pipeline([mm.Tabular(numeric="x")], task, units=16)
    pipe.fit(df, epochs=4, seed=0, verbose=0)
    return pipe


@pytest.mark.parametrize("target", TASKS)
def test_what_explains_the_rest_is_added_and_kept(target, tmp_path):
    df, new = made(400), made(300, seed=1)
    pipe = fitted(TASKS[target], df)
    more = mm.add_modality(pipe, mm.Vector("vector"), df, folds=2, verbose=0)
    before, after = pipe.predict(new), more.predict(new)
    gone = ~new["there"].to_numpy()
    columns = before.select_dtypes("number").columns
    np.testing.assert_allclose(after.loc[gone, columns], before.loc[gone, columns], atol=1e-5, rtol=1e-5)
    assert not np.allclose(after.loc[~gone, columns], before.loc[~gone, columns], atol=1e-2)
    assert more.notes[0].startswith("'vector' was added with a penalty of ") and "without," in more.notes[0]
    primary = pipe.task.primary
    scores = [p.evaluate(new, verbose=0).metrics[primary] for p in (pipe, more)]
    assert scores[1] > scores[0] + 0.1, scores
    more.save(tmp_path / "model")
    np.testing.assert_allclose(mm.load(tmp_path / "model").predict(new)[columns], after[columns], atol=1e-5, rtol=1e-5)
    one = more.predict(new.iloc[3:4])[columns]
    np.testing.assert_allclose(one, after.iloc[3:4][columns], atol=1e-5, rtol=1e-4)


def test_sets_of_the_model_before_are_not_those_of_the_model_with_more():
    df = made(400)
    pipe = mm.Pipeline([mm.Tabular(numeric="x")], TASKS["number"], units=16)
    pipe.fit(df, epochs=4, validation_data=False, verbose=0)
    pipe.conformalize(made(100, seed=1))
    more = mm.add_modality(pipe, mm.Vector("vector"), df, folds=2, verbose=0)
    assert "vector" in [modality.name for modality in more.modalities]
    assert more.task.sets is None and pipe.task.sets is not None


def test_noise_is_not_added_and_the_pipeline_is_left_as_it_was():
    df = made(200)
    pipe = fitted(TASKS["number"], df)
    said = pipe.predict(df)
    more = mm.add_modality(pipe, mm.Vector("noise"), df, folds=2, verbose=0)
    assert more.notes[0].startswith(
        "'vector' was not added: no penalty explains rows left out better than nothing does ("
    )
    pd.testing.assert_frame_equal(more.predict(df), said)
    assert len(pipe.modalities) == 1 and not pipe.notes


def test_what_numbers_leave_is_a_ridge_regression():
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=(50, 3)), rng.normal(size=(50, 2)) * [1.0, 7.0]
    rest = Rest.of(mm.Regression("y"), target, np.zeros((50, 2)), None)
    features = Features(x, np.ones(50, bool), np.zeros(3), np.ones(3))
    kernel = rest.solve(features, features.there, 4.0)
    np.testing.assert_allclose(kernel, np.linalg.solve(x.T @ x + 4.0 * np.eye(3), x.T @ target), atol=1e-3)


@pytest.mark.parametrize("scale", ["predictions", "log_odds", "log_probabilities"])
def test_slopes_are_those_of_the_loss(scale):
    rng = np.random.default_rng(0)
    rest = Rest(np.eye(3)[[0, 2, 1]], rng.normal(size=(3, 3)), scale, np.ones(3), np.array([1.0, 2.0, 0.5]))
    moved, rows, step = rng.normal(size=(3, 3)), np.arange(3), 1e-6
    _, slopes = rest.loss(moved, rows)
    for i, j in np.ndindex(3, 3):
        nudged = moved.copy()
        nudged[i, j] += step
        assert (rest.loss(nudged, rows)[0] - rest.loss(moved, rows)[0]) / step == pytest.approx(slopes[i, j], abs=1e-4)


def test_what_cannot_be_added(tmp_path):
    df = made(60)
    pipe, vector = fitted(TASKS["label"], df), mm.Vector("vector")
    refused = [
        (ValueError, "features that need no training", mm.Text("label", "scratch", name="text"), df, {}),
        (ValueError, "Names of modalities must differ", dataclasses.replace(vector, name="tabular"), df, {}),
        (
            ValueError,
            "at least 20 training rows have it. Received: . of",
            vector,
            df.assign(vector=[[1.0, 2.0]] + [None] * 59),
            {},
        ),
        (ValueError, "whose index names each row once", vector, df.iloc[5:], {}),
        (ValueError, "`folds` must be an int of at least 2", vector, df, {"folds": 1}),
        (KeyError, "elsewhere", mm.Vector("elsewhere"), df, {}),
        (TypeError, "takes a modality. Received: str", "vector", df, {}),
    ]
    for error, message, modality, rows, settings in refused:
        with pytest.raises(error, match=message):
            mm.add_modality(pipe, modality, rows, verbose=0, **settings)
    pipe.save(tmp_path / "model")
    with pytest.raises(ValueError, match="Received: one that was loaded"):
        mm.add_modality(mm.load(tmp_path / "model"), vector, df)
