"""Heads that decide by how alike rows are: the layer by hand, the solution against scikit-learn's, and through `mm.fit`."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from sklearn.kernel_ridge import KernelRidge

import mmkeras as mm
from mmkeras.automl import portfolio
from mmkeras.heads import likeness
from mmkeras.heads.inputs import HeadInputs
from mmkeras.heads.likeness import (
    Chosen,
    Compared,
    build_likeness,
    calibrated,
    choose_widths,
    compared,
    left_out,
    solve,
)
from mmkeras.layers.kernel import Alike, heaviest
from mmkeras.modalities import tabular
from mmkeras.trunk.trunk import Trunk

RNG = np.random.default_rng(0)
TABLE, WORDS = mm.Tabular(numeric=["budget", "popularity"]), mm.Text("overview", "lexical", name="words")


@pytest.fixture(scope="module")
def df():
    return mm.samples.movies(90, seed=0).dropna(subset=["runtime"]).reset_index(drop=True)


def rows_of(count=40, terms=12):
    """(vectors, bags) of random rows."""
    ids = np.stack([RNG.permutation(np.arange(1, terms))[:5] for _ in range(count)])
    ids[::3, 3:] = 0
    return [RNG.normal(size=(count, 3)).astype("float32")], [
        [ids, (RNG.random((count, 5)) * (ids > 0)).astype("float32")]
    ]


def dense(ids, weights, size):
    out = np.zeros((len(ids), size))
    for row, (i, w) in enumerate(zip(ids, weights, strict=True)):
        np.add.at(out[row], i, w)
    return out


def test_alike_by_hand():
    (x,), ((ids, weights),) = rows_of()
    layer = Alike(30, [12], most_terms=5)
    layer.build([x.shape], [[ids.shape, weights.shape]])
    layer.keep(np.array([0.2, 0.7]), [x[:30]], [[ids[:30], weights[:30]]])
    bag = dense(ids, weights, 12)
    apart = 0.2 * ((x[:, None] - x[None, :30]) ** 2).sum(-1) + 0.7 * ((bag[:, None] - bag[None, :30]) ** 2).sum(-1)
    np.testing.assert_allclose(layer([x], [[tf.constant(ids), tf.constant(weights)]]), np.exp(-apart), rtol=1e-4)


def test_the_heaviest_terms_are_kept():
    ids, weights = heaviest(np.array([[4, 5, 6]]), np.array([[0.1, 0.9, 0.5]]), 2)
    assert ids.tolist() == [[5, 6]] and weights.tolist() == [[0.9, 0.5]]
    ids, weights = heaviest(np.array([[4]]), np.array([[0.1]]), 3)
    assert ids.tolist() == [[4, 0, 0]] and weights.tolist() == [[0.1, 0.0, 0.0]]


@pytest.mark.parametrize("settings", [{"rows": 0}, {"rows": 2.0}, {"rows": 3, "most_terms": 0}])
def test_sizes_must_be_positive(settings):
    with pytest.raises(ValueError, match="must be a positive int. Received"):
        Alike(**settings)


def test_as_many_bags_as_vocabularies():
    with pytest.raises(ValueError, match="Alike takes 1 bags, as `terms` says. Received: 0"):
        Alike(3, [5]).build([(None, 2)], [])


def test_compared_rows_are_as_the_layer_has_them():
    (x,), bags = rows_of()
    rows = Compared([x], bags, [12])
    bag = dense(*bags[0], 12)
    expected = [((z[:4, None] - z[None, 4:9]) ** 2).sum(-1) for z in (x, bag)]
    apart = rows.apart(np.arange(4), np.arange(4, 9))
    np.testing.assert_allclose(apart, expected, atol=1e-5)
    widths = np.array([0.3, 0.1])
    alike = rows.alike(widths, np.arange(4), np.arange(4, 9))
    np.testing.assert_allclose(alike, np.exp(-0.3 * expected[0] - 0.1 * expected[1]), atol=1e-6)


def test_rows_left_out_are_missed_by_what_the_formula_says():
    x, numbers = RNG.normal(size=(25, 2)), RNG.normal(size=(25, 2))
    apart = ((x[:, None] - x[None]) ** 2).sum(-1)[None]
    width, penalty = 0.4, 0.2
    error, _, missed = left_out(np.array([width, penalty]), apart, numbers)
    alike = np.exp(-width * apart[0])
    for row in range(3):
        others = np.delete(np.arange(25), row)
        weights = np.linalg.solve(alike[np.ix_(others, others)] + penalty * np.eye(24), numbers[others])
        np.testing.assert_allclose(missed[row], numbers[row] - alike[row, others] @ weights, atol=1e-6)
    assert error == pytest.approx((missed**2).mean())


def test_the_slope_is_that_of_the_error():
    x = [RNG.normal(size=(40, 2)), RNG.normal(size=(40, 3))]
    apart, numbers = np.stack([((a[:, None] - a[None]) ** 2).sum(-1) for a in x]), RNG.normal(size=(40, 2))
    settings = np.array([0.3, 0.1, 0.2])
    slope = left_out(settings, apart, numbers)[1]
    for place in range(3):
        step = np.where(np.arange(3) == place, 1e-2, 0.0)
        above, below = (left_out(settings * np.exp(sign * step), apart, numbers)[0] for sign in (1, -1))
        assert slope[place] == pytest.approx((above - below) / 2e-2, rel=0.02)


def test_what_is_no_number_is_refused():
    with pytest.raises(ValueError, match="must have finite numbers"):
        left_out(np.array([1.0, 0.1]), np.full((1, 3, 3), np.nan), np.ones((3, 1)))


def test_widths_find_what_tells_the_numbers():
    """Of two blocks one is noise."""
    x, noise = RNG.normal(size=(200, 1)), RNG.normal(size=(200, 3))
    apart = Compared([x, noise], [], []).apart(np.arange(200), np.arange(200))
    settings = choose_widths(apart, np.sin(2 * x))
    assert settings[0] > 4 * settings[1] and left_out(settings, apart, np.sin(2 * x))[0] < 0.05


@pytest.mark.parametrize("columns", [3, tabular.MOST_APART + 1])
def test_columns_of_a_table_are_compared_one_at_a_time_unless_they_are_many(columns):
    names = [[f"{kind}{place}" for place in range(columns)] for kind in "nc"]
    df = pd.DataFrame({name: RNG.integers(0, 5, 40).astype(float) for name in names[0]})
    df = df.assign(**{name: RNG.choice(["a", "b", "c"], 40) for name in names[1]}, y=RNG.normal(size=40))
    table = mm.Tabular(numeric=names[0], categorical=names[1]).adapt(df)
    trunk = Trunk([table]).over(df)
    task = mm.Regression("y").adapt(df)
    rows = compared(build_likeness(trunk.head_inputs(["tabular"]), task, 40), trunk.runner(df))
    few = columns == 3
    assert (len(rows.vectors), len(rows.bags)) == ((3, 3) if few else (1, 1))
    apart = rows.apart(np.arange(40), np.arange(40))
    differ = sum((df[name].to_numpy()[:, None] != df[name].to_numpy()).astype(float) for name in names[1])
    np.testing.assert_allclose(apart[len(rows.vectors) :].sum(axis=0), 2 * differ, atol=1e-5)


def head_of(task, rows):
    shapes = {"text": (3,), "text.present": (1,)}
    features = {name: keras.Input(shape, name=name) for name, shape in shapes.items()}
    inputs = HeadInputs(features, ["text"], ways={"text": lambda own: ([own("text") * own.present("text")], [], [])})
    return build_likeness(inputs, task, rows)


def solved(head, x, numbers, chosen, **settings):
    features = {"text": x, "text.present": np.ones((len(x), 1), "float32")}
    rows = compared(head, lambda model: {key: np.asarray(value) for key, value in model(features).items()})
    solve(head, rows, numbers, chosen, **settings)
    return np.asarray(next(iter(head(features).values())))


def test_the_solution_is_a_ridge_regression_on_likeness():
    x, numbers = RNG.normal(size=(60, 3)).astype("float32"), RNG.normal(size=(60, 1))
    task = mm.Regression("y", mean=2.0, scale=3.0)
    none = np.zeros((2, 1))
    said = solved(head_of(task, 60), x, numbers, Chosen(np.array([0.4]), 0.5, none, none))
    ridge = KernelRidge(alpha=0.5, kernel="rbf", gamma=0.4).fit(x, numbers - numbers.mean())
    np.testing.assert_allclose(said, 2 + 3 * (ridge.predict(x) + numbers.mean()), atol=1e-4)


def test_of_many_rows_some_are_kept(monkeypatch):
    monkeypatch.setattr(likeness, "MOST_KEPT", 60)
    x = RNG.normal(size=(300, 3)).astype("float32")
    numbers, none = np.sin(x[:, :1]), np.zeros((2, 1))
    head = head_of(mm.Regression("y", mean=0.0, scale=1.0), 300)
    assert head.get_layer("fusion").rows == 60
    said = solved(head, x, numbers, Chosen(np.array([0.2]), 0.01, none, none))
    assert np.abs(said - numbers).mean() < 0.05


def test_logits_are_those_of_the_least_cross_entropy():
    truth = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]] * 25)
    said = 0.2 * truth + 0.1 * RNG.normal(size=truth.shape)

    def loss(scale, shift):
        chance = 1 / (1 + np.exp(-(scale * said + shift)))
        return -np.mean(truth * np.log(chance) + (1 - truth) * np.log(1 - chance))

    scale, shift = calibrated(said, truth, "log_odds")
    for change in (-0.3, 0.3):
        assert loss(scale, shift) < min(loss(scale + change, shift), loss(scale, shift + change))
    one, _ = calibrated(said, truth, None)
    assert one == 1.0


def test_classes_have_probabilities_that_add_to_one():
    truth = np.eye(3)[RNG.integers(0, 3, 90)]
    scale, shift = calibrated(truth + 0.5 * RNG.normal(size=truth.shape), truth, "log_probabilities")
    assert scale > 1 and np.isfinite(shift).all()


def test_nothing_to_compare_is_told():
    inputs = HeadInputs({"image": keras.Input((4,)), "image.present": keras.Input((1,))}, ["image"])
    with pytest.raises(ValueError, match=r"Nothing of \['image'\] can be compared before it is trained"):
        build_likeness(inputs, mm.Regression("y", mean=0.0, scale=1.0), 5)


@pytest.mark.parametrize("target", ["genres", "runtime", "kind"])
def test_fit_with_likeness_alone(monkeypatch, df, target, tmp_path):
    monkeypatch.setattr(portfolio, "PORTFOLIO", portfolio.PORTFOLIO[:1])
    df = df.assign(kind=np.where(df["genres"].str.contains("Drama"), "drama", "other"))
    tasks = {"genres": mm.MultiLabel, "runtime": mm.Regression, "kind": mm.MultiClass}
    pipe = mm.fit(df, target, 0.5, modalities=[WORDS, TABLE], task=tasks[target](target), verbose=0)
    said = pipe.predict(df)
    assert np.isfinite(said.to_numpy()).all()
    pipe.save(tmp_path / "kept")
    np.testing.assert_array_equal(mm.load(tmp_path / "kept").predict(df), said)
    np.testing.assert_allclose(pipe.predict(df.head(1)), said.head(1), rtol=1e-3, atol=1e-4)
    empty = df.head(2).assign(overview="", budget=np.nan)
    assert np.isfinite(pipe.predict(empty).to_numpy()).all()
    if target == "genres":
        pipe.export(tmp_path / "served")
        assert "'likeness'" in pipe.notes[0]


def test_categories_and_dates_are_compared(df):
    """Rows of one category are more alike than others, and a missing category is like none."""
    rows = df.head(4).assign(language=["x", "x", "y", None], release_date="2001-02-03")
    table = mm.Tabular(categorical=["language"], datetime=["release_date"], min_count=1).adapt(rows)
    prepare = mm.build_prepare([table])
    inputs = HeadInputs(prepare.output, ["tabular"], ways={"tabular": table.alike})
    head = build_likeness(inputs, mm.Regression("y", mean=0.0, scale=1.0), 4)
    tensors = prepare({name: tf.constant(values) for name, values in table.raw_values(rows).items()})
    seen = compared(
        head, lambda model: {k: np.asarray(v) for k, v in model({k: tensors[k] for k in model.input}).items()}
    )
    dates, names = seen.apart(np.arange(4), np.arange(4))
    np.testing.assert_allclose(dates, 0, atol=1e-6)
    np.testing.assert_allclose(names[0], [0, 0, 2, 1], atol=1e-6)


def test_quantiles_are_no_means():
    assert not mm.Regression("y", quantiles=(0.1, 0.9)).mean_is_told and mm.Regression("y").mean_is_told
    assert portfolio.PORTFOLIO[0].takes(mm.Regression("y"), ["a"])
    assert not portfolio.PORTFOLIO[0].takes(mm.Regression("y", quantiles=(0.1, 0.9)), ["a"])


def test_words_alone_are_compared(df, monkeypatch, tmp_path):
    monkeypatch.setattr(portfolio, "PORTFOLIO", portfolio.PORTFOLIO[:1])
    pipe = mm.fit(df, "genres", 1, modalities=[WORDS], verbose=0)
    pipe.save(tmp_path / "model")
    np.testing.assert_allclose(mm.load(tmp_path / "model").predict(df[:9]), pipe.predict(df[:9]), atol=1e-6)
