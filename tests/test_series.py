"""Series: how their cells are read, what the layers make of them, and the whole way of a model of sensors."""

import argparse
import json
import re
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras import layers, testing
from mmkeras.data.columns import raw_values, row_keys
from mmkeras.data.sample import Sample
from mmkeras.data.series import SeriesColumn
from mmkeras.evaluation.rivals import Prior
from mmkeras.inspection.gradients import Gradients
from mmkeras.inspection.suggest import suggest
from mmkeras.layers.minirocket import WEIGHTS, dilations_of
from mmkeras.modalities.encoders import minirocket
from mmkeras.serving.answers import Answers, Part
from mmkeras.serving.hearing import all_warnings
from mmkeras.serving.limits import Limits, Refused
from mmkeras.serving.openapi import row_schema

NAN = float("nan")
LINES = pd.DataFrame(
    {
        "machine": ["b", "b", "b", "a", "a"],
        "second": [0, 1, 2, 0, 1],
        "speed": [1.0, 2.0, 3.0, 4.0, NAN],
        "heat": [5, 6, 7, 8, 9],
        "broken": ["yes", "yes", "yes", "no", "no"],
    }
)


def read(*cells):
    """([the steps of each row], sentences of warnings) of what a column of these cells gives."""
    series = pd.Series(list(cells), name="x", dtype=object)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        values = SeriesColumn().values(series)
    return [row.tolist() for row in values], [str(warning.message) for warning in told]


def table(rows=40, seed=0):
    """Slow and fast waves of different length, beside a channel that tells nothing."""
    rng, fast = np.random.default_rng(seed), np.arange(rows) % 2
    df = pd.DataFrame({"label": np.where(fast, "fast", "slow"), "other": rng.normal(size=rows)})
    lengths = rng.integers(12, 25, rows)
    df["x"] = [np.sin(np.arange(n) * (0.3 + 1.2 * f)).astype("float32") for n, f in zip(lengths, fast, strict=True)]
    df["y"] = [(1000 + rng.normal(size=n)).tolist() for n in lengths]
    return df


def features(modality, df):
    """{key: array} of an adapted modality."""
    raw = {name: tf.convert_to_tensor(values) for name, values in raw_values(df, [modality]).items()}
    prepare = mm.build_prepare([modality])
    return {key: np.array(value) for key, value in mm.build_encode([modality], prepare)(prepare(raw)).items()}


@pytest.fixture(scope="module", autouse=True)
def fewer_features():
    """A tenth of MiniRocket's features, which are as quick to make as they are few."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(minirocket, "FEATURES", 840)
        yield


# === Cells ===


@pytest.mark.parametrize(
    "cell",
    [
        [1, None, 3], (1.0, NAN, 3.0), np.array([1, NAN, 3]), [1, pd.NA, 3], np.array([1, pd.NA, 3], object),
        "[1, nan, 3]", "1, nan, 3", "[1.0, None, 3.0]", "[1, null, 3]", "[1 <NA> 3]",
    ],
)  # fmt: skip
def test_a_series_is_read_however_it_is_written(cell):
    rows, told = read(cell, [7.0])
    np.testing.assert_equal(rows, [[1, NAN, 3], [7]])
    assert told == []


@pytest.mark.parametrize(
    ("cell", "sentence"),
    [("broken", "no lists of numbers"), (3.5, "no lists of numbers"), ([[1.0], [2.0]], "no lists of numbers"), (["a"], "no lists of numbers"), ("[1, two]", "no lists of numbers"), ([pd.NA, "a"], "no lists of numbers")],
)  # fmt: skip
def test_a_cell_that_is_no_series_is_missing_and_told(cell, sentence):
    rows, (told,) = read(cell, [7.0])
    assert rows == [[], [7]] and sentence in told


def test_infinite_steps_are_missing_and_told():
    rows, (told,) = read([1.0, float("inf"), -1e300], [2.0])
    np.testing.assert_equal(rows, [[1, NAN, NAN], [2]])
    assert "2 steps are infinite and are treated as missing" in told


def test_no_steps_and_nothing_known_are_gaps_but_a_lone_step_is_none():
    values = SeriesColumn().values(pd.Series([[], None, [NAN, NAN], [3.0]], dtype=object))
    assert SeriesColumn().gaps(values).tolist() == [True, True, True, False]


def test_a_column_without_any_series_is_refused():
    with pytest.raises(
        ValueError, match=r"must hold lists of numbers. Received: 'x', without any \(for example 'broken'\)"
    ):
        SeriesColumn().adapt(pd.Series(["broken", [], [NAN]], name="x"))


def test_channels_of_a_row_must_be_of_one_length():
    df = pd.DataFrame({"x": [[1.0, 2.0], [1.0]], "y": [[1.0, 2.0], [1.0, 2.0]]}, index=["first", "second"])
    with pytest.raises(ValueError, match=re.escape("Received: {'x': 1, 'y': 2} in row 'second'; 1 of 2 rows are so")):
        mm.Series(["x", "y"]).adapt(df)
    adapted = mm.Series(["x", "y"]).adapt(df.head(1))
    with pytest.raises(ValueError, match="must have the same number of steps"):
        raw_values(df, [adapted])


def test_equal_rows_have_equal_keys_whatever_stands_beside_them():
    adapted = mm.Series("x").adapt(df := pd.DataFrame({"x": [[1.0, 2.0], [1.0, 2.0, 3.0], [1.0, 2.0]]}))
    first, second, third = row_keys(adapted, raw_values(df, [adapted]))
    assert first == third != second
    assert row_keys(adapted, raw_values(df.tail(1), [adapted])) == [first]


def test_a_drawing_has_a_line_for_each_stretch_and_nothing_of_nothing():
    column = SeriesColumn()
    drawing = column.html([0.0, 1.0, NAN, 1.0])
    assert (
        drawing.count("<polyline") == 2
        and "points='0.0,40.0 53.3,0.0'" in drawing
        and "4 steps, from 0 to 1" in drawing
    )
    assert column.html(None) == column.html([NAN]) == column.html("<b>") == "–"
    assert column.html([2.0, 2.0]).count("<polyline") == 1  # constant
    assert len(column.html(np.arange(1e6))) < 5_000


def test_means_that_training_never_saw_are_told():
    rng = np.random.default_rng(0)
    known = pd.Series([list(row) for row in rng.normal(size=(300, 5))])
    column = SeriesColumn().adapt(known).remember(known)
    assert column.drift(column.values(known)).findings == ()
    ((told, matters), *_) = column.drift(column.values(known.map(lambda row: [step + 50 for step in row]))).findings
    assert matters and "300 of 300 means of series lie outside the range of training" in told


def test_one_long_series_takes_its_own_memory_alone():
    cells = pd.Series([np.ones(100_000, "float32"), *[np.ones(5, "float32")] * 1_000])
    tracemalloc.start()
    column = SeriesColumn().adapt(cells).remember(cells)
    column.drift(column.values(cells))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6  # 400 MB, were they padded


def test_lists_of_different_length_are_suggested_as_series_and_equally_long_ones_are_not():
    rng = np.random.default_rng(0)
    lists = pd.Series([rng.normal(size=n).tolist() for n in rng.integers(10, 30, 40)])
    assert SeriesColumn().claim(Sample(lists)).reads == "series"
    assert SeriesColumn().claim(Sample(lists.map(lambda row: row[:10]))) is None
    df = pd.DataFrame({"shaking": lists, "label": ["a", "b"] * 20})
    assert mm.Series("shaking") in suggest(df, "label").modalities


# === Long tables ===


def test_lines_become_rows_that_keep_what_is_said_of_the_series():
    rows = mm.Series.rows(LINES, "machine", "second", ["speed", "heat"])
    assert rows.index.tolist() == ["b", "a"] and rows.columns.tolist() == ["broken", "speed", "heat"]
    np.testing.assert_equal(rows.loc["a", "speed"], np.array([4, NAN], "float32"))
    assert rows.loc["b", "heat"].tolist() == [5, 6, 7] and rows["broken"].tolist() == ["yes", "no"]


def test_lines_are_sorted_by_time_and_that_is_told():
    with pytest.warns(UserWarning, match="2 of 5 lines stood behind a later one of the same 'machine'"):
        rows = mm.Series.rows(LINES.iloc[::-1].iloc[[0, 1, 3, 4, 2]], "machine", "second", ["heat", "speed"])
    assert rows["heat"].map(list).to_dict() == {"a": [8, 9], "b": [5, 6, 7]}


def test_gaps_of_time_are_told():
    with pytest.warns(UserWarning, match="1 of 5 are more than 1.5 times as long as the usual one"):
        mm.Series.rows(pd.DataFrame({"id": 0, "t": [0, 1, 2, 3, 9, 10], "x": 1.0}), "id", "t", "x")


def test_moments_may_have_zones():
    lines = LINES.assign(second=pd.to_datetime(LINES["second"], unit="s", utc=True).dt.tz_convert("Asia/Kolkata"))
    assert mm.Series.rows(lines, "machine", "second", ["heat", "speed"]).loc["b", "heat"].tolist() == [5, 6, 7]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"second": [0, 1, 1, 0, 1]},
            "one line for each moment. Received: 1 repeated, the first second 1 of machine 'b'",
        ),
        (
            {"second": ["0", "1", "2", "0", "1"]},
            "`time` must be a column of numbers or of datetimes. Received: 'second'",
        ),
        ({"second": [0, 1, NAN, 0, 1]}, "must say in 'second' when it was measured. Received: 1 lines without"),
        ({"machine": ["b", None, "b", "a", "a"]}, "must say in 'machine' whose step it is"),
        ({"speed": list("12345")}, "A channel must be a column of numbers. Received: 'speed'"),
        ({"broken": ["yes", "no", "yes", "no", "no"]}, "Received: 'broken', with 'yes' and 'no' for machine 'b'"),
    ],
)
def test_lines_that_make_no_series_are_refused(change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        mm.Series.rows(LINES.assign(**change), "machine", "second", ["speed", "heat"])


def test_roles_must_be_different_columns():
    with pytest.raises(ValueError, match="must be different columns"):
        mm.Series.rows(LINES, "machine", "second", ["second"])


# === Layers ===


def test_gaps_are_lines_and_rows_end_at_their_last_known_step():
    x = [[NAN, 1, NAN, 5, NAN], [9, NAN, NAN, NAN, NAN], [NAN] * 5]
    y = [[NAN, NAN, 2, NAN, NAN], [NAN] * 5, [NAN] * 5]
    given = layers.JoinChannels(8, [1.0, 0.0], [2.0, 1.0])([np.array(x), np.array(y)])
    values, known = np.moveaxis(given["steps"].numpy(), -1, 0)
    assert values[0].T.tolist() == [[0, 0, 1, 2], [2, 2, 2, 2]]
    assert known[0].T.tolist() == [[0, 1, 0, 1], [0, 0, 1, 0]]
    assert values[1].T.tolist() == [[4, 0, 0, 0], [0, 0, 0, 0]]
    assert given["padding_mask"].numpy().tolist() == [[1, 1, 1, 1], [1, 0, 0, 0], [1, 0, 0, 0]]
    assert given["present"].numpy().ravel().tolist() == [1, 1, 0]


def test_longer_rows_keep_their_last_steps_and_wild_values_are_cut():
    given = layers.JoinChannels(2, [0.0], [1.0])([np.array([[1.0, 2, 3, 1e6], [4, NAN, NAN, NAN]])])
    assert given["steps"].numpy()[..., 0, 0].tolist() == [[3, 10], [4, 0]]


def test_pooling_reads_what_is_there():
    steps, mask = np.array([[[1.0, -2.0], [3.0, -4.0], [9.0, 9.0]], [[5.0, 5.0]] * 3]), np.array([[1, 1, 0], [0, 0, 0]])
    assert layers.PoolSteps()(steps, mask).numpy().tolist() == [[2, -3, 3, -2], [0, 0, 0, 0]]


def test_dilations_grow_to_the_length_and_share_the_features():
    assert dilations_of(33, 840) == [(1, 5), (2, 3), (3, 1), (4, 1)]
    assert dilations_of(1)[0][0] == dilations_of(9)[-1][0] == 1
    assert dilations_of(5_000)[-1][0] * 8 < 5_000
    assert {sum(count for _, count in dilations_of(length)) for length in (1, 50, 1_000, 5_000)} == {119}


def test_minirocket_counts_what_convolutions_by_hand_give():
    rng = np.random.default_rng(0)
    values, mask = rng.normal(size=(5, 40, 2)).astype("float32"), np.ones((5, 40))
    rocket = layers.MiniRocket(40, features=840)
    rocket.learn(values, mask)
    biases, channels = rocket.biases.numpy(), rocket.channels.numpy()
    given, start = rocket(values, mask).numpy()[3], 0
    for place, (dilation, count) in enumerate(rocket.dilations):
        edge = 4 * dilation
        padded = np.pad(np.round(values[3] * 8192) / 8192, [(edge, edge), (0, 0)])
        for kernel in range(84):
            taps = sum(WEIGHTS[kernel][tap] * padded[tap * dilation :][:40] for tap in range(9))
            signal = taps @ channels[place, :, kernel]
            signal = signal if (kernel + place) % 2 == 0 else signal[edge:-edge]
            at = start + kernel * count
            wanted = (signal[:, None] > biases[at : at + count]).mean(axis=0)
            np.testing.assert_allclose(given[at : at + count], wanted, atol=1e-6)
        start += 84 * count


def test_minirocket_is_the_same_in_every_batch_and_for_every_draw():
    rng = np.random.default_rng(1)
    values, mask = rng.normal(size=(6, 30, 3)).astype("float32"), np.arange(30) < rng.integers(5, 31, 6)[:, None]
    values *= mask[:, :, None]
    rockets = [layers.MiniRocket(30, features=840) for _ in range(2)]
    for rocket in rockets:
        rocket.learn(values, mask)
    whole = rockets[0](values, mask).numpy()
    np.testing.assert_array_equal(whole, rockets[1](values, mask))
    for row, length in enumerate(mask.sum(axis=1)):
        np.testing.assert_array_equal(rockets[0](values[[row], :length], mask[[row], :length]), whole[[row]])
    again = layers.MiniRocket.from_config(rockets[0].get_config())
    again.build(values.shape)
    again.set_weights(rockets[0].get_weights())
    np.testing.assert_array_equal(again(values, mask), whole)


# === Settings, scales ===


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"columns": []}, "`columns` of `Series` must name a column"),
        ({"columns": "x", "encoder": "minirokcet"}, "must be one of .*'minirocket'.* Received: 'minirokcet'"),
        ({"columns": "x", "length": 0}, "`length` must be an int of at least 1, or None. Received: 0"),
        ({"columns": "x", "windows": 0}, "`windows` must be an int from 1 to 1,000. Received: 0"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        mm.Series(**settings)


def test_the_command_line_makes_one_series_of_its_columns():
    parser = argparse.ArgumentParser()
    mm.Series.add_options(parser)
    options = parser.parse_args(["--series", "x,y", "--series-encoder", "gru"])
    assert mm.Series.from_options(options) == [mm.Series(["x", "y"], encoder="gru")]


def test_scales_come_from_what_is_known_of_training_rows():
    df = pd.DataFrame({"x": [[0.0, NAN, 4.0], [2.0]], "flat": [[7.0, 7.0, 7.0], [7.0]], "odd": [[1.0, 3.0, NAN], None]})
    state = mm.Series(["x", "flat", "odd"]).adapt(df).state
    np.testing.assert_allclose(state["mean"], [2, 7, 2], rtol=1e-6)
    np.testing.assert_allclose(state["deviation"], [np.sqrt(8 / 3), 1, 1], rtol=5e-3)
    glitch = pd.DataFrame({"x": [[*np.sin(np.arange(5_000.0)), 1e30]]})
    assert mm.Series("x").adapt(glitch).state["deviation"][0] < 1


def test_the_length_is_that_of_nearly_all_training_rows():
    df = pd.DataFrame({"x": [[1.0] * n for n in [5, 10, 20]]})
    assert mm.Series("x").adapt(df).length == 20
    assert mm.Series("x", length=7).adapt(df).length == 7
    assert mm.Series("x", windows=3).adapt(df).length == 7
    assert mm.Series("x").adapt(pd.DataFrame({"x": [[1.0] * 9_000]})).length == 5_000


# === Encoders, models ===


@pytest.mark.parametrize("encoder", ["scratch", "gru", "minirocket"])
def test_encoders_keep_the_contract(encoder):
    testing.check_encoder(mm.Series(["x", "y"], encoder=encoder), table(10))


def test_columns_are_read_alike_in_every_dtype():
    testing.check_columns(mm.Series(["x", "y"]), table(6))


@pytest.mark.parametrize("encoder", ["scratch", "gru", "minirocket"])
def test_rows_of_no_step_a_step_and_nothing_known_are_encoded(encoder):
    adapted = mm.Series("x", encoder=encoder).adapt(table(10))
    odd = pd.DataFrame({"x": [[], [0.5], [NAN, NAN], [0.1] * 60]})
    given = features(adapted, odd)
    assert given["series.present"].ravel().tolist() == [0, 1, 0, 1]
    assert np.isfinite(given["series"]).all()


def test_convolutions_learn_from_rows_that_hold_something(monkeypatch):
    monkeypatch.setattr(minirocket, "MOST_ROWS", 2)
    df = pd.DataFrame({"x": [*[None] * 30, [1.0, 2.0, 3.0], [NAN]]})
    adapted = mm.Series("x", encoder="minirocket").adapt(df)
    assert np.isfinite(features(adapted, df)["series"]).all()


@pytest.mark.parametrize("encoder", ["scratch", "gru", "minirocket"])
def test_windows_of_a_long_series_are_pooled(encoder):
    first, second = np.sin(np.arange(10.0)), np.cos(np.arange(5.0))
    long = [*[9.0] * 20, *first, *second, *[0.5] * 5, *first]  # of which three windows are read
    df = pd.DataFrame({"x": [first, second, [*first, *second], long, long[20:], None]})
    adapted = mm.Series("x", 10, encoder, windows=3).adapt(df)
    given = features(adapted, df)["series"]
    np.testing.assert_allclose(given[2], (2 * given[0] + given[1]) / 3, atol=1e-5)
    np.testing.assert_allclose(given[3], given[4], atol=1e-6)
    assert np.isfinite(given).all()


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    df = table()
    df.at[4, "y"] = df.at[6, "x"] = None
    folder = tmp_path_factory.mktemp("series")
    modalities = [mm.Series(["x", "y"], encoder="minirocket"), mm.Tabular(numeric="other")]
    pipe = mm.Pipeline(modalities, mm.MultiClass("label"), units=16)
    pipe.fit(df.head(30), epochs=20, verbose=0, cache_dir=folder / "cache")
    return pipe, df.tail(10), folder


def test_fixed_convolutions_learn_from_few_rows_and_are_cached(fitted, monkeypatch):
    monkeypatch.setattr(mm.MultiClass, "rivals", (Prior,))  # the others know nothing of series
    pipe, rows, folder = fitted
    report = pipe.evaluate(rows, missing=True, verbose=0)
    assert report.metrics["accuracy"] >= 0.9
    assert report.missing.loc["tabular", "accuracy"] < report.missing.loc["series + tabular", "accuracy"]
    page = report.to_html(folder / "report.html").read_text()
    assert page.count("<svg") == 20
    assert mm.Series("x", encoder="minirocket").choices() and not mm.Series("x").choices()
    assert any((folder / "cache").iterdir())


def test_a_model_of_series_is_saved_served_and_tells_a_row_the_same_alone(fitted):
    pipe, rows, folder = fitted
    predictions = pipe.predict(rows).to_numpy()
    np.testing.assert_allclose(pipe.predict(rows.head(1)).to_numpy(), predictions[:1], atol=1e-6)
    pipe.save(folder / "model")
    np.testing.assert_allclose(mm.load(folder / "model").predict(rows).to_numpy(), predictions, atol=1e-6)
    pipe.export(folder / "served")
    serve = tf.saved_model.load(str(folder / "served")).signatures["serve"]
    longest = rows["x"].map(len).max()
    cells = {
        name: tf.constant([[*row, *[NAN] * (longest - len(row))] for row in rows[name]], tf.float32) for name in "xy"
    }
    served = serve(**cells, other=tf.constant(rows["other"].to_numpy(), tf.float32))
    np.testing.assert_allclose(served["label"], predictions, atol=1e-5)


def test_the_server_takes_lists_and_refuses_what_is_none(fitted):
    pipe, rows, _ = fitted
    answers, row = Answers(pipe), rows.iloc[0]
    cells = {"x": [row["x"].tolist(), None], "y": [row["y"], None], "other": [row["other"], 0.0]}
    table_of = answers.one(Part(cells, 2)).table
    np.testing.assert_allclose(table_of["fast"][0], pipe.predict(rows.head(1))["fast"].iloc[0], atol=1e-6)
    with all_warnings(), pytest.raises(Refused, match="A cell of 'x' must be a series, or null. Received: 'loud'"):
        answers.one(Part({**cells, "x": ["loud", None]}, 2))
    schema = row_schema(answers.columns, Limits())["properties"]["x"]
    assert schema["items"] == {"type": ["number", "null"]} and "minItems" not in schema
    assert json.dumps(schema)


def test_moments_and_channels_are_explained():
    df = table(24)
    pipe = mm.Pipeline([mm.Series(["x", "y"], length=12)], mm.MultiClass("label"), units=8)
    pipe.fit(df, epochs=1, validation_data=False, verbose=0)
    inside = Gradients(pipe.check_fitted()).inside(df.head(2), np.array([0, 1]), steps=(8,))
    assert (inside.error <= 0.2 * np.abs(inside.difference) + 1e-3).all()
    pieces = inside.pieces["series"][0]
    assert len(pieces) == 16 and pieces[0][0] == "x, steps 1 to 2" and pieces[-1][0] == "y, steps 11 to 12"
    assert sum(value for _, value in pieces) == pytest.approx(inside.difference[0], abs=inside.error[0] + 1e-4)


def test_pumps_need_both_of_their_modalities(tmp_path):
    df = mm.samples.machines(60, 1, tmp_path)
    pd.testing.assert_frame_equal(mm.samples.machines(5, 1, tmp_path), df.head(5))
    assert set(df["fault"]) == {"healthy", "blocked valve", "worn bearing", "loose belt"}
    there = df.dropna(subset=["vibration_x"])
    assert (there["vibration_x"].map(len) == there["vibration_y"].map(len)).all() and len(there) < 60
    assert there["vibration_x"].map(lambda row: np.isnan(row).any()).mean() > 0.1
    with pytest.raises(ValueError, match="`directory` must name a folder"):
        mm.samples.machines(3)
