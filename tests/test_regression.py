"""Numbers of heavy tails, quantiles, several columns at once: scales, losses, predictions, reports, and what is refused."""

import json

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras import Regression
from mmkeras.data.targets import Values
from mmkeras.evaluation import metrics
from mmkeras.evaluation.number_sections import number_section, quantile_section
from mmkeras.layers.transforms import KNOTS, learn_transform, transform_of
from mmkeras.losses.around import ExactLoss
from mmkeras.registry import describe, rebuild
from mmkeras.tasks.base import Task
from mmkeras.tasks.number_losses import KnownAbsoluteError, PinballLoss, UnitsLoss
from mmkeras.tasks.transforms import choose_transform

NAN = float("nan")
KINDS = ("none", "log1p", "quantile")


def heavy(rows=240, seed=0):
    """A target of heavy tails, one of even ones that a fifth of the rows lack, and what tells both."""
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=(2, rows))
    df = pd.DataFrame({"x": x, "z": z, "price": np.exp(1.5 * x + 0.2 * rng.normal(size=rows)), "size": 3 * x - z})
    df.loc[::5, "size"] = NAN
    return df


def adapted(task, df):
    """The task as it learns, and as it is loaded."""
    learnt = task.adapt(df)
    yield learnt
    yield rebuild(Task, json.loads(json.dumps(describe(learnt)))).learn(**json.loads(json.dumps(learnt.state)))


def fit(task, df, tmp_path=None, **settings):
    pipe = mm.Pipeline([mm.Tabular(numeric=["x", "z"])], task, units=32, dropout=0.0)
    history = pipe.fit(df, epochs=12, learning_rate=1e-2, verbose=0, **settings)
    return pipe, history.history


# === Transforms ===


@pytest.mark.parametrize("kind", ["none", "log1p", "signed_log", "quantile"])
@pytest.mark.parametrize("make", [lambda x: np.exp(2 * x), lambda x: np.round(np.exp(x), 1), lambda x: np.abs(x) > 1])
def test_a_transform_goes_both_ways_and_is_finite_everywhere(kind, make):
    values = make(np.random.default_rng(0).normal(size=500)).astype("float64")
    config = learn_transform(kind, values)
    transform = transform_of(json.loads(json.dumps(config)))
    far = np.array([-1e12, -1.0, 3 * values.max(), 1e12])
    numbers = np.concatenate([np.sort(values), far])
    there = transform.forward(numbers).numpy()
    assert np.isfinite(there).all() and (np.diff(there[:-4]) >= 0).all()
    np.testing.assert_allclose(transform.inverse(there), numbers, rtol=1e-9, atol=1e-9)
    assert np.isfinite(transform.inverse(np.array([-1e6, 1e6]))).all()


def test_transforms_by_hand():
    log = transform_of(learn_transform("log1p", np.array([0.0, 9.0])))
    np.testing.assert_allclose(
        log.forward(np.array([0.0, 9.0, -9.0, 19.0])), [0, np.log(10), -np.log(10), np.log(10) + 1]
    )
    ranks = transform_of(learn_transform("quantile", np.arange(1.0, 5.0)))
    np.testing.assert_allclose(
        ranks.normal, [-1.1503, -0.3186, 0.3186, 1.1503], atol=1e-4
    )  # those of 1/8, 3/8, 5/8, 7/8
    np.testing.assert_allclose(ranks.forward(np.array([1.5, 5.0])), [-0.7345, 1.982], atol=1e-4)
    assert len(transform_of(learn_transform("quantile", np.arange(1e4))).cells) <= KNOTS


def test_units_of_several_columns_go_both_ways_with_gradients():
    scales = [{"kind": "none"}, learn_transform("log1p", [0.0, 50.0])]
    units = mm.layers.Units([2.0, 0.5], [1.0, 3.0], scales)
    x = tf.Variable(np.random.default_rng(0).normal(size=(4, 6)))
    with tf.GradientTape() as tape:
        numbers = units(x)
        back = units.standard(numbers)
    np.testing.assert_allclose(numbers[:, :3], 1 + 2 * x[:, :3])
    np.testing.assert_allclose(numbers[:, 3:], transform_of(scales[1]).inverse(3 + 0.5 * x[:, 3:]))
    np.testing.assert_allclose(back, x, rtol=1e-9)
    np.testing.assert_allclose(tape.gradient(back, x), np.ones((4, 6)), rtol=1e-6)


def test_the_scale_is_chosen_by_predictions_never_by_tails():
    rng = np.random.default_rng(0)
    x = rng.normal(size=600)
    told = pd.DataFrame({"x": x, "word": np.where(x > 0, "more", "less")})
    multiplied, added = np.exp(2 * x + 0.3 * rng.normal(size=600)), 5 * x + np.exp(rng.normal(size=600))
    assert choose_transform(multiplied, told) in ("log1p", "quantile")
    assert choose_transform(added, told) == "none"  # as skewed, but what tells it adds up
    assert choose_transform(multiplied, told[[]]) == "none"  # nothing to tell them apart by
    assert choose_transform(multiplied[:50], told[:50]) == "none"  # too few rows
    assert choose_transform(-multiplied, told) in ("signed_log", "quantile")
    assert choose_transform(multiplied, pd.DataFrame({"picture": [b"\x00"] * 600})) == "none"


def test_none_is_what_it_was():
    df = heavy()
    for task in adapted(Regression("price", transform="none"), df):
        assert task.scales is None and task.state["transforms"] is None
        assert (task.mean, task.scale) == (df["price"].mean(), df["price"].std(ddof=0))
        inputs = keras.Input((1,))
        config = keras.Model(inputs, task.activate(inputs)).get_layer("units").get_config()
        assert (config["scale"], config["mean"]) == (task.scale, task.mean) and "transforms" not in config
        loss = task.weighed(task.loss())
        assert type(loss) is ExactLoss and loss.factor == pytest.approx(1 / task.scale**2)


def test_states_of_earlier_versions_are_read():
    state = {"mean": 2.0, "scale": 3.0, "column": {"decimal": ",", "unit": "€", "wide": True}, "time": None}
    task = Regression("y").learn(**state)
    assert task.encode(pd.DataFrame({"y": ["1,5 €", "2 €"]})).tolist() == [[1.5], [2.0]]
    assert task.scales is None and (task.mean, task.scale) == (2.0, 3.0)
    moments = Regression("y").learn(mean=0.0, scale=1.0, column={"wide": True}, time="datetime64[s]")
    assert moments.series(np.array([[0.0]])).tolist() == [pd.Timestamp(0)]


@pytest.mark.parametrize("kind", [*KINDS[1:], "chosen"])
def test_heavy_tails_the_whole_way(kind, tmp_path):
    df = heavy()
    train, test = df[:180], df[180:]
    pipe, history = fit(Regression("price", transform=kind), train)
    assert [scale["kind"] for scale in pipe.task.scales] == (
        [kind] if kind != "chosen" else [pipe.task.scales[0]["kind"]]
    )
    predicted = pipe.predict(test)["price"]
    error = np.abs(predicted - test["price"])
    assert np.median(error / test["price"]) < 0.35 and predicted.dtype == np.float64
    report = pipe.evaluate(test, verbose=0)
    assert report.metrics["mae"] == pytest.approx(error.mean())
    assert any("was learnt on the scale" in note for note in report.notes)
    validation = pipe.check_fitted().validation.df
    assert history["val_mae"][-1] == pytest.approx(
        np.abs(pipe.predict(validation)["price"] - validation["price"]).mean()
    )
    pipe.save(tmp_path / "model")
    loaded = mm.load(tmp_path / "model")
    pd.testing.assert_frame_equal(loaded.predict(test), pipe.predict(test))
    assert loaded.task.scales == pipe.task.scales and loaded.task.settings == pipe.task.settings
    served = pipe.serving_model({name: test[name].to_numpy("float32") for name in "xz"})["price"].numpy()
    np.testing.assert_allclose(served[:, 0], predicted, rtol=1e-5)


def test_what_is_learnt_on_another_scale_is_right_in_the_mean(tmp_path):
    noise = np.random.default_rng(1).normal(size=900)
    df = heavy(900).assign(price=lambda df: np.sqrt(df["price"]) * np.exp(noise))
    train, test = mm.split_frame(df, 0.3, seed=0)
    settings = {"validation_data": 0.4}
    pipe, _ = fit(Regression("price", transform="log1p"), train, **settings)
    line, said = pipe.task.state["calibration"], pipe.predict(test)["price"]
    before = (said - line["shift"][0]) / line["slope"][0]
    assert line["slope"][0] > 1.1 and line["bias"][0] < 0
    assert abs((said - test["price"]).mean()) < 0.5 * abs((before - test["price"]).mean())
    median, _ = fit(Regression("price", transform="log1p"), train, loss="absolute", **settings)
    assert "calibration" not in median.task.state
    pipe.save(tmp_path / "model")
    loaded = mm.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(test)["price"], said)
    assert any("They taught the line" in note for note in loaded.evaluate(test, verbose=0, train_data=train).notes)
    served = pipe.serving_model({name: test[name].to_numpy("float32") for name in "xz"})["price"].numpy()
    np.testing.assert_allclose(served[:, 0], said, rtol=1e-5)
    again = mm.Ensemble([median], test)
    assert again.task.state["calibration"]["bias"][0] < 0 and again.task.state["calibration"]["rows"] == len(test)


def test_medians_and_numbers_as_they_are_have_no_line():
    df = heavy(200)
    truth = df[["price"]].to_numpy()
    for task in (Regression("price", transform="none"), Regression("price", quantiles=(0.1, 0.9), transform="log1p")):
        task = task.adapt(df)
        assert task.calibrate(Values(truth), np.tile(0.5 * truth, len(task.names()))).calibration("x") is None
    task = Regression("price", transform="log1p").adapt(df)
    learnt = task.calibrate(Values(truth), 0.5 * truth)
    np.testing.assert_allclose(learnt.calibration("x")(0.5 * truth), truth, rtol=1e-5, atol=1e-5)
    assert learnt.uncalibrated().calibration("x") is None
    assert [task.calibrates(aim) for aim in (None, "r2", "rmse", "mae", "absolute", "huber")] == [True] * 3 + [
        False
    ] * 3


# === Losses ===


def test_pinball_loss_by_hand():
    loss = PinballLoss([0.1, 0.9], reduction=None)
    truth, said = np.array([[2.0], [2.0]]), np.array([[1.0, 1.0], [4.0, 4.0]])
    np.testing.assert_allclose(loss(truth, said), [(0.1 + 0.9) / 2, (1.8 + 0.2) / 2], rtol=1e-6)
    assert PinballLoss.from_config(loss.get_config()).get_config() == loss.get_config()


def test_units_loss_leaves_missing_cells_out():
    units = mm.layers.Units([2.0, 10.0], [0.0, 5.0])
    loss = UnitsLoss("mean_squared_error", units, 3.0, reduction="none")
    truth, said = np.array([[2.0, NAN], [4.0, 25.0]]), np.array([[4.0, 1e9], [4.0, 5.0]])
    np.testing.assert_allclose(loss(truth, said), [3 * 1 / 2, 3 * 4 / 2])
    again = UnitsLoss.from_config(loss.get_config())
    np.testing.assert_allclose(again(truth, said), loss(truth, said))
    variable = tf.Variable(said)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(loss(truth, variable))
    assert np.isfinite(tape.gradient(total, variable)).all()


def test_known_absolute_error_by_hand():
    error = KnownAbsoluteError(place=1)
    said = np.array([[0.0, 1.0, 0.0, 5.0], [0.0, 2.0, 0.0, 7.0]])
    error.update_state(np.array([[3.0, NAN], [2.0, 4.0]]), said, sample_weight=np.array([2.0, 1.0]))
    assert float(error.result()) == pytest.approx((2 * 2 + 0 + 3) / 4)
    assert KnownAbsoluteError.from_config(error.get_config()).place == 1


@pytest.mark.parametrize("transform", KINDS)
@pytest.mark.parametrize("loss", ["huber", "absolute", "mae", keras.losses.LogCosh()])
def test_losses_do_not_depend_on_units(transform, loss):
    df = heavy()
    values = []
    named = transform == "none" and loss in ("huber", "absolute", "mae")
    for factor in (1.0, 1000.0) if named else (1.0,):
        rows = df.assign(price=factor * df["price"])
        task = Regression("price", transform=transform).adapt(rows)
        target = task.target(rows)
        chosen = task.weighed(task.choose_loss(loss, target))
        start = np.broadcast_to(task.prior(target.values), target.values.shape)
        assert float(chosen(target.values, start)) == pytest.approx(1.0)
        values.append(float(chosen(target.values, start + factor)))
    np.testing.assert_allclose(values, values[0], rtol=1e-6)


def test_a_loss_that_heeds_outliers_less_is_moved_less_by_them():
    df = heavy().assign(size=lambda rows: 3 * rows["x"] - rows["z"])
    train, test = df[:180].copy(), df[180:]
    train.loc[train.index[:4], "size"] = 500.0
    errors = {}
    for loss in (None, "huber", "absolute"):
        pipe, _ = fit(Regression("size", transform="none"), train, loss=loss, validation_data=False)
        errors[loss] = np.abs(pipe.predict(test)["size"] - test["size"]).mean()
    assert errors["huber"] < errors[None] and errors["absolute"] < errors[None]


# === Decisions of several modalities ===


def two_features():
    sizes = {"one": 4, "one.present": 1, "two": 3, "two.present": 1}
    return {key: keras.Input((size,), name=key) for key, size in sizes.items()}


def two_values(absent=NAN):
    rng = np.random.default_rng(0)
    one, two = (rng.normal(size=(3, size)).astype("float32") for size in (4, 3))
    two[2] = absent
    there = np.ones((3, 1), "float32")
    return {"one": one, "one.present": there, "two": two, "two.present": there * [[1.0], [1.0], [0.0]]}


@pytest.mark.parametrize("members", [1, 2])
def test_decisions_about_numbers_add_up(members):
    task, rows = Regression("y", mean=5.0, scale=2.0), two_values()
    heads = {
        name: mm.build_head(two_features(), task, name, units=8, dropout=0.0, members=members)
        for name in ("hybrid", "late")
    }
    for name, head in heads.items():
        training = task.training(head)
        losses = {"hybrid": ["own", "members"], "late": ["members", "members1"]}[name]
        wanted = ["y", *(f"y.{loss}" for loss in losses if members > 1 or loss == "own")]
        assert sorted(training.losses) == sorted(wanted)
        assert np.isfinite(head(rows)["y"]).all()
        np.testing.assert_array_equal(
            head(rows)["y"], head(two_values(absent=7.0))["y"]
        )  # whatever an absent one holds
        alone = head({key: value[1:2] for key, value in rows.items()})["y"]
        np.testing.assert_allclose(head(rows)["y"][1:2], alone, rtol=1e-6)
    if members == 1:
        hybrid = heads["hybrid"]
        parts = keras.Model(
            hybrid.input,
            [hybrid.get_layer(f"{place}logits_{n}").output for place, n in (("", 0), ("own_", 0), ("own_", 1))],
        )
        np.testing.assert_allclose(hybrid(rows)["y"], 5 + 2 * sum(parts(rows)), rtol=1e-5)


@pytest.mark.parametrize("fusion", ["hybrid", "late"])
def test_added_decisions_say_as_much_as_the_numbers_do(fusion):
    rng = np.random.default_rng(0)
    df = pd.DataFrame(rng.normal(size=(400, 6)), columns=list("abcdef"))
    df["y"] = df.sum(axis=1)
    modalities = [mm.Tabular(numeric=list(names), name=names) for names in ("abc", "def")]
    pipe = mm.Pipeline(modalities, Regression("y"), fusion=fusion, units=32, dropout=0.5)
    pipe.fit(df[:300], epochs=12, learning_rate=1e-2, verbose=0)
    row = pipe.evaluate(df[300:], verbose=0).table("numbers").loc["y"]
    assert row["r2"] > 0.9 and row["slope"] < 1.15


# === Quantiles ===


def test_quantiles_never_cross_and_start_at_those_of_a_normal_distribution():
    layer = mm.layers.RisingQuantiles([0.1, 0.25, 0.5, 0.9])
    start = layer(np.zeros((1, 4))).numpy()[0]
    np.testing.assert_allclose(np.diff(start), [0.6071, 0.6745, 1.2816], atol=1e-4)
    rows = layer(np.random.default_rng(0).normal(size=(50, 8)) * 20).numpy().reshape(50, 2, 4)
    assert (np.diff(rows, axis=-1) >= 0).all()
    alone = mm.layers.RisingQuantiles([0.9])
    assert alone(np.array([[3.0]])).numpy().tolist() == [[3.0]]


@pytest.mark.parametrize("transform", KINDS)
def test_quantiles_the_whole_way(transform, tmp_path):
    df = heavy(400)
    train, test = df[:300], df[300:]
    pipe, _ = fit(Regression("price", transform=transform, quantiles=(0.1, 0.5, 0.9)), train)
    frame = pipe.predict(test)
    assert frame.columns.tolist() == ["price_0.1", "price_0.5", "price_0.9"]
    assert (np.diff(frame, axis=1) >= 0).all()
    assert pipe.predict_labels(test).tolist() == frame["price_0.5"].tolist()
    report = pipe.evaluate(test, verbose=0)
    table = report.table("quantiles")
    assert table["below"].tolist() == [(test["price"] <= frame[name]).mean() for name in frame]
    assert report.metrics["mae"] == pytest.approx(np.abs(frame["price_0.5"] - test["price"]).mean())
    assert any("lie between their quantiles 0.1 and 0.9, where 80.0% should" in note for note in report.notes)
    assert {"mean"} <= set(report.baselines.index) and report.to_html(tmp_path / "report.html").stat().st_size > 1000
    pipe.export(tmp_path / "served")
    told = json.loads((tmp_path / "served" / "assets.extra" / "mmkeras.json").read_text())
    assert told["columns"] == frame.columns.tolist()


def test_decisions_without_a_median_lie_between_its_neighbours():
    task = Regression("y", quantiles=(0.2, 0.4, 0.6))
    assert task.middle(np.array([[1.0, 2.0, 4.0]])).tolist() == [[3.0]]
    assert Regression("y", quantiles=(0.9,)).middle(np.array([[7.0]])).tolist() == [[7.0]]


@pytest.mark.parametrize("quantiles", [(), (0.5, 0.1), (0.1, 0.1), (0.0, 0.5), (0.5, 1.0), ("a",), (NAN,), (-0.1,)])
def test_quantiles_must_rise_within_0_and_1(quantiles):
    with pytest.raises(
        ValueError, match="`quantiles` must be different numbers between 0 and 1, the lowest first. Rec"
    ):
        Regression("y", quantiles=quantiles)


def test_quantiles_have_a_loss_of_their_own():
    with pytest.raises(
        ValueError, match="Quantiles are learnt by the pinball loss. Received: loss='huber'. Leave it out"
    ):
        Regression("y", quantiles=(0.5,)).choose_loss("huber")


# === Several columns ===


def test_several_columns_the_whole_way(tmp_path):
    df = heavy(300)
    train, test = df[:220], df[220:]
    pipe, history = fit(Regression(["price", "size"]), train)
    frame = pipe.predict(test)
    assert frame.columns.tolist() == ["price", "size"] and frame.index.equals(test.index)
    assert pipe.predict_labels(test).tolist() == frame.to_numpy().tolist()
    report = pipe.evaluate(test, verbose=0)
    table = report.table("numbers")
    known = test["size"].notna()
    assert table["rows"].tolist() == [80, known.sum()]
    assert table.loc["size", "mae"] == pytest.approx(np.abs(frame["size"] - test["size"])[known].mean())
    for name in ("r2", "mae", "rmse"):
        assert report.metrics[name] == pytest.approx(table[name].mean())
    assert table.loc["size", "r2"] > 0.9 and np.isfinite(history["val_mae"]).all()
    assert "By target" in str(report) and report.to_html(tmp_path / "report.html").stat().st_size > 1000
    pipe.save(tmp_path / "model")
    pd.testing.assert_frame_equal(mm.load(tmp_path / "model").predict(test), frame)
    served = pipe.serving_model({name: test[name].to_numpy("float32") for name in "xz"})["numbers"].numpy()
    np.testing.assert_allclose(served, frame, rtol=1e-5)


def test_targets_of_several_columns_keep_their_gaps_and_dtypes():
    df = pd.DataFrame({"a": ["1,5 €", "2,5 €", None], "b": pd.to_datetime(["2020-01-01", None, "2021-01-01"])})
    for task in adapted(Regression(["a", "b"], transform="none"), df):
        assert task.column == "numbers" and task.columns == ("a", "b")
        values = task.encode(df)
        np.testing.assert_array_equal(np.isnan(values), [[False, False], [False, True], [True, False]])
        assert task.read(task.target(df)) == [
            [1.5, pd.Timestamp("2020-01-01")],
            [2.5, None],
            [None, pd.Timestamp("2021-01-01")],
        ]
        assert task.series(np.array([[1.0, 0.0]]), [4]).tolist() == [[1.0, pd.Timestamp(0)]]


def test_missing_cells_teach_nothing():
    df = heavy()
    train = df.assign(size=lambda rows: rows["size"].where(rows.index < 120))
    full, gone = (fit(Regression(["price", "size"], transform="none"), rows)[0] for rows in (df, train))
    assert gone.evaluate(df, verbose=0).table("numbers").loc["size", "r2"] > 0.8
    assert full.evaluate(df, verbose=0).table("numbers").loc["size", "r2"] > 0.8


def test_scores_of_several_columns_by_hand():
    truth, said = np.array([[1.0, NAN], [3.0, 2.0], [NAN, 4.0]]), np.array([[1.0, 9.0], [2.0, 2.0], [9.0, 6.0]])
    values = metrics.regressions(truth, said, np.ones((1, 3)))
    assert values["mae"] == pytest.approx([(0.5 + 1.0) / 2]) and values["r2"] == pytest.approx([(0.5 - 1.0) / 2])
    drawn = metrics.regressions(truth, said, np.array([[0.0, 0.0, 1.0]]))  # a resample without the first column
    assert drawn["mae"] == [2.0]


@pytest.mark.parametrize("columns", [["a", ""], ["a", "a"], [None, "b"]])
def test_several_columns_need_names_of_their_own(columns):
    with pytest.raises(ValueError, match="The columns of numbers must have different names. Received: "):
        Regression(columns)


@pytest.mark.parametrize(
    ("df", "message"),
    [
        ({"a": [1, 2, 3], "b": [5, 5, 5]}, "The target 'b' must vary. Received: 5 in all 3 rows"),
        (
            {"a": [1, 2, 3], "b": [NAN] * 3},
            "The target 'b' must be known in some rows. Received: 3 missing.*Leave it out",
        ),
        (
            {"a": [1, NAN, 3], "b": [1, NAN, 2]},
            r"Each row must have one of the targets \['a', 'b'\]. Received: 1 rows .*'all'",
        ),
        ({"a": [1, 2, 3], "b": [1, "many", 2]}, "The target 'b' must hold finite numbers. Received: 'many'"),
    ],
)
def test_several_columns_that_cannot_be_learnt(df, message):
    with pytest.raises(ValueError, match=message):
        Regression(["a", "b"]).adapt(pd.DataFrame(df))


def test_a_logarithm_needs_numbers_of_0_or_more():
    df = pd.DataFrame({"y": [1.0, -2.0, 3.0]})
    with pytest.raises(
        ValueError, match="takes numbers of 0 or more. Received: -2 in the target 'y'.*Use transform='signed_log'"
    ):
        Regression("y", transform="log1p").adapt(df)
    assert Regression("y", transform="signed_log").adapt(df).scales == [{"kind": "signed_log", "most": 3.0}]
    with pytest.raises(ValueError, match="The target 'y' must vary. Received: 1 in all 1 rows"):
        Regression("y", transform="quantile").adapt(df[:1])
    with pytest.raises(ValueError, match="`transform` must be one of .* Received: 'log'"):
        Regression("y", transform="log")


@pytest.mark.parametrize(
    "task", [Regression(["a", "b"]), Regression("y", quantiles=[0.1, 0.5]), Regression("y", transform="quantile")]
)
def test_settings_are_kept_as_json(task):
    assert type(task)(**json.loads(json.dumps(task.get_config()))) == task


@pytest.mark.parametrize("settings", [{"transform": "log1p"}, {"quantiles": (0.1, 0.9)}])
def test_the_contract_is_kept(settings):
    mm.testing.check_task(Regression("popularity", **settings), mm.samples.movies(60, seed=0))
    mm.testing.check_task(Regression(["popularity", "runtime"], **settings), mm.samples.movies(60, seed=0))


# === Reports ===


def test_sections_by_hand():
    truth, said = np.array([[0.0], [2.0], [4.0]]), np.array([[1.0], [2.0], [3.0]])
    section = number_section(["y"], truth, said, ["none"])
    row = section.table.loc["y"]
    assert (row["rows"], row["bias"], row["slope"]) == (3, 0.0, 2.0) and row["r2"] == 0.75 and not section.notes
    assert np.isnan(number_section(["y"], truth, np.ones((3, 1)), ["none"]).table.loc["y", "slope"])
    each = np.array([[[0.0, 1.0]], [[1.0, 2.0]], [[5.0, 6.0]]])
    table = quantile_section(["y"], (0.25, 0.75), truth, each).table
    assert table["below"].tolist() == pytest.approx([2 / 3, 1.0])
    assert table["pinball"].tolist() == pytest.approx([(0 + 0.25 + 0.75) / 3, (0.25 + 0 + 0.5) / 3])


@pytest.mark.parametrize("kinds", [["none", "none"], ["log1p", "quantile"]])
def test_numbers_are_drawn_with_their_residuals(kinds):
    rng = np.random.default_rng(0)
    truth = np.exp(rng.normal(size=(5_000, 2)))
    truth[::3, 1] = NAN
    figure = number_section(["a", "b"], truth, truth + 0.1, kinds).figure()
    assert len(figure.axes) == 4 and figure.axes[1].get_ylabel() == "true − predicted"
    assert len(figure.axes[0].lines[0].get_xdata()) <= 3_000
    assert figure.axes[0].get_xscale() == ("linear" if kinds[0] == "none" else "symlog")


def test_targets_are_read_in_full_where_one_row_is_asked_for():
    df = heavy(60)
    pipe, _ = fit(Regression(["price", "size"]), df)
    pd.testing.assert_frame_equal(pipe.predict(df[3:4]), pipe.predict(df)[3:4], rtol=1e-5)
    assert Values(np.zeros((2, 2))).take([0])[1].shape == (1, 2)


def test_several_columns_of_numbers_are_suggested():
    suggestion = mm.suggest(mm.samples.movies(120, seed=0).drop(columns="id"), ["popularity", "runtime"])
    assert suggestion.task == Regression(["popularity", "runtime"])
    assert 'mm.Regression("numbers", targets=["popularity", "runtime"])' in suggestion.code
    assert Regression("numbers", targets=["popularity", "runtime"]) == suggestion.task


def test_a_choice_reads_some_of_many_columns():
    df = pd.DataFrame(np.zeros((200, 5_000))).assign(x=np.linspace(0, 10, 200))
    assert choose_transform(np.exp(df["x"].to_numpy()), df) in ("log1p", "quantile")  # the last column is read, too
