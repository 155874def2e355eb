"""Evaluations leave everything as it was, score subgroups as if alone, and take rivals of one's own; embeddings."""

import random
import re

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras.data.texts import TextColumn
from mmkeras.evaluation.rivals import Rival
from mmkeras.trunk import attached, reading
from mmkeras.trunk.prepared import PreparePart

QUICK = {"epochs": 2, "learning_rate": 1e-2, "verbose": 0}


def offers(count=60, seed=0):
    """Rows whose class is told by a number and a word, from two shops."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=count)
    words = np.where(rng.random(count) < 0.5, "old lamp", "new chair")
    label = np.where(x + (words == "new chair") + rng.normal(0, 0.5, count) > 0.5, "dear", "cheap")
    shop = np.where(rng.random(count) < 0.7, "north", "south")
    return pd.DataFrame({"x": x, "z": rng.normal(size=count), "words": words, "label": label, "shop": shop})


def modalities():
    return [mm.Tabular(numeric=["x"], name="number"), mm.Text("words", encoder="lexical")]


def of_numbers():
    """A Pipeline of two modalities that is quickly fitted."""
    modalities = [mm.Tabular(numeric=["x"], name="first"), mm.Tabular(numeric=["z"], name="second")]
    pipe = mm.Pipeline(modalities, mm.MultiClass("label"), units=8)
    pipe.fit(offers(), **QUICK)
    return pipe


@pytest.fixture(scope="module")
def fitted():
    pipe = mm.Pipeline(modalities(), mm.MultiClass("label"), units=8)
    pipe.fit(offers(), **QUICK)
    return pipe


@pytest.fixture(scope="module")
def judged():
    """Rows to evaluate on."""
    return offers(80, seed=1)


# === What an evaluation leaves alone ===


def draws():
    """A number of each of the process's random generators."""
    return random.random(), float(np.random.random()), float(tf.random.uniform(()))


def seed_all():
    random.seed(7)
    np.random.seed(7)
    tf.random.set_seed(7)


def test_random_generators_stay_where_they_were(judged):
    """Rivals are trained with seeds of their own: what the caller draws afterwards is as without an evaluation."""
    pipe = of_numbers()
    for call in (
        lambda: pipe.evaluate(judged, verbose=0, missing=True),  # fits the rivals
        lambda: pipe.evaluate(judged, verbose=0),
        lambda: pipe.predict(judged),
        lambda: mm.embed(pipe, judged),
    ):
        seed_all()
        expected = draws()
        seed_all()
        call()
        assert draws() == expected


def test_rivals_are_the_same_wherever_the_generators_are(judged):
    tables = []
    for seed in (1, 2):
        pipe = of_numbers()
        random.seed(seed)
        np.random.seed(seed)
        tf.random.set_seed(seed)
        tables.append(pipe.evaluate(judged, verbose=0).to_frame())
    pd.testing.assert_frame_equal(*tables)


def test_the_model_and_what_trains_of_it_stay_as_they_are(tiny_bert, judged, tmp_path):
    text = mm.Text("words", encoder=str(tiny_bert), sequence_length=16, trainable=1)
    pipe = mm.Pipeline([text, mm.Tabular(numeric=["x"])], mm.MultiClass("label"), units=8)

    def state():
        weights = [weight.numpy() for model in (pipe.encode, pipe.head) for weight in model.weights]
        return weights, {layer.name: layer.trainable for layer in pipe.encode.layers}

    pipe.fit(offers(), **{**QUICK, "epochs": 1}, cache_dir=tmp_path, fine_tune_epochs=1)
    weights, trains = state()
    assert trains["text_tower_top"] and not trains["text_tower"]
    before = pipe.predict(judged)
    for call in (
        lambda: pipe.evaluate(judged, verbose=0, missing=True, by="shop"),
        lambda: mm.embed(pipe, judged),
        lambda: pipe.export(tmp_path / "served"),
        lambda: pipe.save(tmp_path / "model"),
        lambda: pipe.serving_model,
    ):
        call()
        now, trains_now = state()
        assert trains_now == trains
        for old, new in zip(weights, now, strict=True):
            np.testing.assert_array_equal(old, new)
    pd.testing.assert_frame_equal(pipe.predict(judged), before)
    loaded = mm.load(tmp_path / "model")
    assert {layer.name: layer.trainable for layer in loaded.encode.layers} == trains


def test_it_says_when_it_fits_baselines_and_can_be_silent(judged, capsys):
    pipe = of_numbers()
    pipe.evaluate(judged)
    assert capsys.readouterr().out == "Fitting baselines on 54 training rows, once …\n"
    pipe.evaluate(judged)
    assert capsys.readouterr().out == ""
    pipe.check_fitted().rivals.clear()
    pipe.evaluate(judged, verbose=0)
    assert capsys.readouterr().out == ""


# === Subgroups and subsets ===


def test_scores_of_a_subgroup_are_those_of_evaluating_it_alone(fitted, judged, tmp_path):
    report = fitted.evaluate(judged, verbose=0, by="shop")
    assert set(report.groups.index) == {"north", "south"} and report.groups.index.name == "shop"
    assert report.groups["rows"].is_monotonic_decreasing
    for shop, row in report.groups.iterrows():
        alone = fitted.evaluate(judged[judged["shop"] == shop], verbose=0)
        assert row["rows"] == alone.rows
        for name, value in alone.metrics.items():
            assert row[name] == pytest.approx(value, abs=1e-9), (shop, name)
        assert (row["low"], row["high"]) == pytest.approx(alone.intervals["macro_f1"], abs=1e-9)
    assert report.groups["macro_f1"].nunique() == 2
    assert report.metrics == fitted.evaluate(judged, verbose=0).metrics
    assert "By shop" in str(report) and "south" in report.to_html(tmp_path / "report.html").read_text(encoding="utf-8")
    assert fitted.evaluate(judged, verbose=0).groups.empty


def test_subgroups_of_labels_and_numbers(judged):
    for task, primary in ((mm.MultiLabel("label"), "map"), (mm.Regression("price"), "r2")):
        pipe = mm.Pipeline(modalities()[:1], task, units=8)
        pipe.fit(offers().assign(price=lambda df: 3 * df["x"]), **QUICK)
        rows = judged.assign(price=3 * judged["x"])
        groups = pipe.evaluate(rows, verbose=0, by="shop").groups
        for shop in ("north", "south"):
            alone = pipe.evaluate(rows[rows["shop"] == shop], verbose=0)
            assert groups.loc[shop, primary] == pytest.approx(alone.metrics[primary], abs=1e-9)


def test_rows_without_a_value_are_a_group_and_unknown_classes_are_in_none(fitted, judged):
    rows = judged.copy()
    rows.loc[rows.index[:6], "shop"] = None
    rows.loc[rows.index[6:10], "label"] = "never"
    groups = fitted.evaluate(rows, verbose=0, by="shop").groups
    assert groups.loc["(missing)", "rows"] == 6 and groups["rows"].sum() == 76
    with pytest.raises(KeyError, match="needs the column 'shops'.*Did you mean 'shop'"):
        fitted.evaluate(judged, verbose=0, by="shops")


def test_a_missing_modality_is_as_if_its_cells_were_empty(fitted, judged):
    report = fitted.evaluate(judged, verbose=0, missing=True)
    assert list(report.missing.index) == ["number + text", "number", "text"]
    blank = {"number": judged.assign(words=""), "text": judged.assign(x=np.nan)}
    for name, rows in blank.items():
        for metric, value in fitted.evaluate(rows, verbose=0).metrics.items():
            assert report.missing.loc[name, metric] == pytest.approx(value, abs=1e-6), (name, metric)
    assert report.missing["map"].nunique() == 3


def test_a_modality_that_is_no_gain_is_named(tmp_path):
    """Of two columns that tell the label and one of noise, a model without the noise does as well, one without another does not."""
    rng = np.random.default_rng(0)
    df = pd.DataFrame({name: rng.normal(size=400) for name in ("x", "y", "noise")})
    df["label"] = np.where(df["x"] + df["y"] > 0, "up", "down")
    pipe = mm.Pipeline([mm.Tabular(numeric=name, name=name) for name in ("x", "y", "noise")], mm.MultiClass("label"))
    pipe.fit(df[:300], epochs=10, verbose=0)
    report = pipe.evaluate(df[300:], verbose=0)
    assert {"x alone", "without x", "without y", "without noise"} <= set(report.baselines.index)
    (told,) = [note for note in report.notes if "no gain" in note]
    assert re.search(
        r"trained without each: 'noise', macro_f1 \S+ against \S+, difference [-+]\S+ \[\S+, \S+\]\.$", told
    )
    assert told in mm.load(pipe.save(tmp_path / "model") or tmp_path / "model").evaluate(df[300:], verbose=0).notes


def test_the_judged_rows_are_read_and_prepared_once(fitted, judged, monkeypatch):
    """For the model, its subsets and its rivals; only the table of the columns reads them for itself."""
    fitted.evaluate(judged, verbose=0)  # fits the rivals
    read, prepared = [], []
    values, in_memory = TextColumn.values, PreparePart.in_memory
    monkeypatch.setattr(TextColumn, "values", lambda *args: read.append(1) or values(*args))
    monkeypatch.setattr(PreparePart, "in_memory", lambda *args: prepared.append(1) or in_memory(*args))
    fitted.evaluate(judged, verbose=0)
    once = len(read)
    assert once <= 3 and len(prepared) == 1
    fitted.evaluate(judged, verbose=0, missing=True)
    assert len(read) == 2 * once and len(prepared) == 2


def test_rows_too_many_to_be_held_are_judged_alike(fitted, judged, monkeypatch):
    report = fitted.evaluate(judged, verbose=0, missing=True)
    monkeypatch.setattr(reading, "IN_MEMORY", 10)
    monkeypatch.setattr(attached, "AT_ONCE", 10)
    again = fitted.evaluate(judged, verbose=0, missing=True)
    pd.testing.assert_frame_equal(report.missing, again.missing, atol=1e-6)
    pd.testing.assert_frame_equal(report.baselines, again.baselines, atol=1e-6)


# === Rivals of one's own ===


class ByWord(Rival):
    """The most frequent class of the rows with the same words."""

    needs_trunk = False

    def __init__(self, table):
        self.table = table

    @classmethod
    def fit(cls, bench):
        words, target = bench.rows.df["words"].to_numpy(), bench.rows.target.values
        return {"by word": cls({word: np.eye(2)[target[words == word]].mean(axis=0).tolist() for word in set(words)})}

    def predict(self, trunk, df):
        return np.array([self.table[word] for word in df["words"]])

    def write(self, path):
        return {"table": self.table}

    @classmethod
    def read(cls, path, saved):
        return cls(saved["table"])


def test_a_rival_of_ones_own_stands_beside_the_others(fitted, judged):
    report = fitted.evaluate(judged, verbose=0, rivals=[ByWord])
    assert {"by word", "label prior", "TF-IDF + linear model"} <= set(report.baselines.index)
    shares = offers().groupby("words")["label"].apply(lambda labels: (labels == "dear").mean())
    guess = np.where(judged["words"].map(shares) > 0.5, "dear", "cheap")
    assert report.baselines.loc["by word", "accuracy"] == pytest.approx((guess == judged["label"]).mean(), abs=0.2)
    assert "by word" not in fitted.evaluate(judged, verbose=0).baselines.index  # it was asked for once


def test_rows_that_cannot_be_judged_are_told(fitted, judged):
    with pytest.raises(ValueError, match="needs a row that can be judged. Received: none. Labels never seen .*'never'"):
        fitted.evaluate(judged.assign(label="never"), verbose=0)
    with pytest.raises(ValueError, match="must be known in every row. Received: 1 missing"):
        fitted.evaluate(judged.assign(label=[None, *judged["label"][1:]]), verbose=0)


def test_a_pipeline_that_was_saved_without_rivals_learns_them_from_train_data(judged, tmp_path):
    pipe = mm.Pipeline(modalities(), mm.MultiClass("label"), units=8)
    pipe.fit(offers(), validation_data=False, **QUICK)
    pipe.save(tmp_path / "model")
    loaded = mm.load(tmp_path / "model")
    bare = loaded.evaluate(judged, verbose=0)
    assert bare.baselines.empty and "Give `train_data=` the training rows" in str(bare)
    report, own = loaded.evaluate(judged, offers(), verbose=0), pipe.evaluate(judged, verbose=0)
    assert set(report.baselines.index) == set(own.baselines.index)
    for name in ("label prior", "TF-IDF + linear model"):
        assert report.baselines.loc[name, "map"] == pytest.approx(own.baselines.loc[name, "map"])
    assert not loaded.evaluate(judged, verbose=0).baselines.empty  # they are kept


# === Embeddings ===


def test_embeddings_are_what_the_fusion_gave_in_the_order_of_the_rows(fitted, judged):
    embedded = mm.embed(fitted, judged)
    features = fitted.trunk.features(judged)
    width = features["number"].shape[1] + features["text"].shape[1]
    assert embedded.shape == (80, width) and embedded.dtype == np.float32
    mixed = judged.sample(frac=1, random_state=3)
    places = [judged.index.get_loc(label) for label in mixed.index]
    np.testing.assert_allclose(mm.embed(fitted, mixed), embedded[places], atol=1e-5)
    np.testing.assert_allclose(mm.embed(fitted, judged.iloc[[5]])[0], embedded[5], atol=1e-5)
    assert np.unique(embedded.round(4), axis=0).shape[0] == 80  # each row has a number of its own
    np.testing.assert_allclose(embedded[:, -features["text"].shape[1] :], features["text"], atol=1e-5)


@pytest.mark.parametrize("fusion", ["gated", "bilinear", "late", "hybrid", "early"])
def test_every_fusion_can_be_embedded(fusion, judged):
    pipe = mm.Pipeline(modalities(), mm.MultiClass("label"), fusion, units=8)
    pipe.fit(offers(), **{**QUICK, "epochs": 1})
    embedded = mm.embed(pipe, judged)
    assert embedded.ndim == 2 and len(embedded) == 80 and embedded.std(axis=0).max() > 0


def test_an_unfitted_pipeline_cannot_be_embedded(judged):
    with pytest.raises(ValueError, match="no model yet"):
        mm.embed(mm.Pipeline(modalities(), mm.MultiClass("label")), judged)
