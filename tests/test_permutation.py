"""Permutation importance: a naive loop over permuted DataFrames, columns that decide everything and nothing, and settings that cannot work."""

import numpy as np
import pandas as pd
import pytest

import mmkeras as mm
from mmkeras.evaluation.report import scores

ROWS = 160


def table(rows=ROWS, seed=0):
    rng = np.random.default_rng(seed)
    df = pd.DataFrame(
        {"sign": rng.normal(size=rows), "noise": rng.normal(size=rows), "name": rng.choice(["a", "b"], rows)}
    )
    df["text"] = np.where(rng.random(rows) < 0.5, "a good lamp", "an old chair")
    df["price"] = 10 * df["sign"] + 5 * (df["text"] == "a good lamp") + rng.normal(size=rows) / 10
    return df


@pytest.fixture(scope="module")
def fitted():
    modalities = [mm.Tabular(["sign", "noise"], "name"), mm.Text("text", encoder="lexical", name="words")]
    pipe = mm.Pipeline(modalities, mm.Regression("price"), dropout=0.0)
    pipe.fit(table(), epochs=25, learning_rate=3e-2, validation_data=False, verbose=0)
    return pipe, table(seed=1)


@pytest.fixture(scope="module")
def importance(fitted):
    return mm.permutation_importance(*fitted, repeats=2, seed=3)


def test_it_equals_a_loop_over_permuted_tables(fitted, importance):
    pipe, df = fitted
    metric = importance["metric"].iloc[0]
    whole = scores(pipe.task, pipe.task.target(df), pipe._fitted.predict(df), samples=1)[0][metric]
    columns = {"": ["sign", "noise", "name"], "sign": ["sign"], "noise": ["noise"], "name": ["name"]}
    lines = {("tabular", column): names for column, names in columns.items()} | {("words", ""): ["text"]}
    assert set(importance.index) == set(lines)
    sign = -1 if metric in pipe.task.smaller_is_better else 1
    for line, names in lines.items():
        falls = []
        for number in range(2):
            order = np.random.default_rng([3, number]).permutation(ROWS)
            permuted = df.assign(**{name: df[name].to_numpy()[order] for name in names})
            target = pipe.task.target(permuted)
            point, _ = scores(pipe.task, target, pipe._fitted.predict(permuted), samples=1)
            falls.append(sign * (whole - point[metric]))
        assert importance.loc[line, "fall"] == pytest.approx(np.mean(falls), abs=1e-6)


def test_what_decides_everything_falls_and_noise_does_not(importance):
    assert importance.index.tolist()[:2] == [("tabular", ""), ("tabular", "sign")]  # a modality, then its columns
    assert importance.loc[("tabular", "sign"), "low"] > 10 * abs(importance.loc[("tabular", "noise"), "fall"])
    assert importance.loc[("words", ""), "low"] > 0
    assert (importance["low"] <= importance["fall"]).all()
    assert (importance["fall"] <= importance["high"]).all()


def test_rows_are_read_once_and_a_column_once_for_each_repeat(fitted, importance, monkeypatch):
    pipe, df = fitted
    again = mm.permutation_importance(pipe, df.set_index(np.arange(ROWS) * 2), repeats=2, seed=3)
    pd.testing.assert_frame_equal(again, importance)  # whatever the index
    read = []
    outputs = type(pipe.trunk).outputs

    def told(trunk, model, df, **settings):
        read.append(sorted({key.partition(".")[0] for key in model.input}))
        return outputs(trunk, model, df, **settings)

    monkeypatch.setattr(type(pipe.trunk), "outputs", told)
    mm.permutation_importance(pipe, df, repeats=2)
    assert read == [["tabular", "words"], *[["tabular"]] * 6]  # all once, then three columns twice


def test_a_task_with_sides_falls_to_chance():
    df = table(40)
    sides = [mm.Text("text", encoder="lexical", name="words"), mm.Tabular("price")]
    pipe = mm.Pipeline(sides, mm.Retrieval(query=["words"], items=["tabular"]))
    pipe.fit(df, epochs=1, validation_data=False, verbose=0)
    importance = mm.permutation_importance(pipe, df, repeats=1)
    assert importance["metric"].unique().tolist() == [pipe.task.primary]
    assert set(importance.index) == {("words", ""), ("tabular", "")}


def test_settings_that_cannot_work(fitted):
    pipe, df = fitted
    for repeats in (0, 2.5, True):
        with pytest.raises(
            ValueError, match=rf"`repeats` must be an int of at least 1. Received: {repeats}. Use for example 5."
        ):
            mm.permutation_importance(pipe, df, repeats=repeats)
    with pytest.raises(KeyError, match="needs the column 'price'"):
        mm.permutation_importance(pipe, df.drop(columns="price"))
