"""The goal as a test: a task, a modality, a fusion, an encoder and a rival of one's own are one file, this one.

Each goes the whole way: fit, predict, evaluate, report, save, load in a fresh process, export, ablate, search, command line.
"""

import dataclasses
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras import testing
from mmkeras.__main__ import main
from mmkeras.data.columns import Column, NumberColumn, check_frame
from mmkeras.evaluation import metrics
from mmkeras.evaluation.linear import Linear
from mmkeras.evaluation.nearest import NearestImage, OneCaption
from mmkeras.evaluation.rivals import Alone, Prior, Rival
from mmkeras.fusion import Fusion
from mmkeras.modalities.base import PRESENT, Modality, column_names
from mmkeras.modalities.encoders.base import TextEncoder, strings
from mmkeras.registry import names, subclasses
from mmkeras.tasks.decisions import Decisions

# === A task: a share between 0 and 1 ===


@dataclasses.dataclass(frozen=True)
class Share(Decisions):
    """A share between 0 and 1 per row, by a sigmoid and cross-entropy; it learns the mean share."""

    primary = "mae"
    metric_names = ("mae", "bias")
    smaller_is_better = ("mae",)
    prior_name = "mean share"
    option = "share"
    option_help = "target column of shares between 0 and 1"

    def adapt(self, df):
        return self.settings.learn(mean=float(self.encode(df).mean()))

    def encode(self, df):
        check_frame(df, self.columns, "the task")
        return NumberColumn().values(df[self.column])[:, None]

    def logits(self, hidden, target=None, name="logits"):
        odds = np.log(self.state["mean"] / (1 - self.state["mean"]))
        bias = keras.initializers.Constant(float(odds))
        return keras.layers.Dense(1, bias_initializer=bias, dtype="float32", name=name)(hidden)

    def activate(self, logits, name="share"):
        return keras.layers.Activation("sigmoid", dtype="float32", name=name)(logits)

    def loss(self):
        return "binary_crossentropy"

    def metrics(self):
        return [keras.metrics.MeanAbsoluteError(name="mae")]

    def frame(self, predictions, index):
        return pd.DataFrame(predictions, index=index, columns=[self.column])

    def decide(self, predictions):
        return [float(value) for value in predictions[:, 0]]

    def read(self, target):
        return self.decide(target.values)

    def score(self, target, predictions):
        error = (predictions - target.values)[:, 0].astype("float64")

        def of_weights(weights):
            total = weights.sum(axis=1)
            return {"mae": weights @ np.abs(error) / total, "bias": weights @ error / total}

        return of_weights

    def fit_linear(self, terms, target):
        from sklearn.linear_model import Ridge

        model = Ridge(alpha=1.0).fit(terms, target[:, 0])
        return model.coef_[None], np.array([model.intercept_])

    def link(self, values):
        return np.clip(values, 0, 1)


# === A modality: answers of yes and no ===


class YesNo(Column):
    """Yes and no as 1 and 0, NaN where nothing was said."""

    reads = "yes or no"
    dtype = "float32"

    def values(self, series):
        return series.map({"yes": 1.0, "no": 0.0}).to_numpy("float32", na_value=np.nan)


@dataclasses.dataclass(frozen=True)
class Answers(Modality):
    """Columns of yes and no."""

    questions: tuple
    name: str = "answers"

    few_features = True
    option = "yes-no"
    option_help = "columns of yes and no"

    def __post_init__(self):
        self._set(questions=column_names(self.questions, "`questions`"))

    @property
    def columns_read(self):
        return dict.fromkeys(self.questions, YesNo())

    def prepare(self, raw):
        answers = keras.ops.stack([raw[column] for column in self.questions], axis=-1)
        known = keras.ops.logical_not(keras.ops.isnan(answers))
        return {
            f"{self.name}.answers": keras.ops.where(known, answers, 0.5),
            f"{self.name}{PRESENT}": keras.ops.cast(keras.ops.any(known, axis=-1, keepdims=True), "float32"),
        }

    def encode(self, tensors):
        return keras.layers.Dense(8, activation="gelu", name=f"{self.name}_project")(tensors[f"{self.name}.answers"])


# === A fusion: the largest of each unit ===


class MaxFusion(Fusion):
    """Each input brought to U units, of which the largest among the inputs that are there: [(B, D_i), …] → (B, U)."""

    label = "max"

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    @classmethod
    def make(cls, inputs):
        return cls(inputs.units, name="fusion")

    def build(self, features_shape, presence_shape):
        self.projections = [keras.layers.Dense(self.units, name=f"{self.name}_{i}") for i in range(len(features_shape))]
        for dense, shape in zip(self.projections, features_shape, strict=True):
            dense.build(shape)

    def call(self, features, presence):
        hidden = []
        for dense, feature, there in zip(self.projections, features, presence, strict=True):
            known = keras.ops.cast(there, "bool")
            units = dense(keras.ops.where(known, feature, keras.ops.zeros_like(feature)))
            hidden.append(keras.ops.where(known, units, -3.0))
        return keras.ops.max(keras.ops.stack(hidden), axis=0)

    def compute_output_shape(self, features_shape, presence_shape):
        return (features_shape[0][0], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


# === An encoder of texts: how long they are ===


@keras.saving.register_keras_serializable("mine")
class TextLengths(keras.layers.Layer):
    """(B,) strings, or several columns of them → (B, columns), logarithms of their lengths."""

    def call(self, texts):
        columns = texts if isinstance(texts, list) else [texts]
        return tf.math.log1p(tf.cast(tf.stack([tf.strings.length(x) for x in columns], axis=-1), "float32"))

    def compute_output_spec(self, texts):
        count = len(texts) if isinstance(texts, list) else 1
        return keras.KerasTensor((None, count), "float32")


class Lengths(TextEncoder):
    """The length of a text."""

    label = "lengths"

    def prepare(self, raw):
        return {"lengths": TextLengths(name=f"{self.name}_lengths")(strings(raw))}

    def encode(self, tensors):
        return keras.layers.Dense(4, activation="gelu", name=f"{self.name}_project")(tensors["lengths"])


# === A rival: the median ===


class Median(Rival):
    """The median of the training rows' encoded target, the same for every row."""

    needs_trunk = False

    def __init__(self, values):
        self.values = np.asarray(values)

    @classmethod
    def fit(cls, bench):
        return {"median": cls(np.median(bench.rows.target.values, axis=0))}

    def predict(self, trunk, df):
        return np.tile(self.values, (len(df), 1))

    def write(self, path):
        return {"values": self.values.tolist()}

    @classmethod
    def read(cls, path, saved):
        return cls(saved["values"])


# === The whole way ===

QUICK = {"epochs": 2, "batch_size": 16, "learning_rate": 1e-2, "verbose": 0, "seed": 0}


def rows(count=90):
    """Made-up offers: words, two answers, a number, the share of visitors who buy."""
    rng = np.random.default_rng(0)
    new, small = rng.random(count) < 0.5, rng.random(count) < 0.5
    words = [" ".join(rng.choice(["lamp", "chair", "old", "blue", "good"], rng.integers(1, 9))) for _ in range(count)]
    share = 1 / (1 + np.exp(-(1.5 * new - small + 0.2 * np.array([len(text.split()) for text in words]) - 1)))
    return pd.DataFrame(
        {
            "words": words,
            "new": np.where(new, "yes", "no"),
            "small": pd.Series(np.where(small, "yes", "no")).where(rng.random(count) < 0.9, None),
            "price": rng.normal(20, 5, count).round(2),
            "sold": share.round(3),
        }
    )


def modalities():
    return [Answers(["new", "small"]), mm.Text("words", encoder="lengths"), mm.Tabular(numeric="price")]


@pytest.fixture(scope="module")
def fitted():
    train, test = mm.split_frame(rows(), 0.3, seed=0)
    pipe = mm.Pipeline(modalities(), Share("sold"), "max", units=8, encode_engine="tensorflow")
    history = pipe.fit(train, **QUICK)
    return pipe, history, train, test


def test_it_learns_predicts_and_reports(fitted, tmp_path):
    pipe, history, _, test = fitted
    assert {"loss", "mae", "val_mae"} <= set(history.history)
    assert history.history["loss"][-1] < history.history["loss"][0]
    predictions = pipe.predict(test)
    assert predictions.columns.tolist() == ["sold"] and predictions.index.equals(test.index)
    assert (predictions["sold"] - test["sold"]).abs().mean() < (test["sold"] - 0.5).abs().max()
    report = pipe.evaluate(test, verbose=0, missing=True, rivals=[Median])
    assert {"median", "mean share", "TF-IDF + linear model", "answers alone", "text alone"} <= set(
        report.baselines.index
    )
    assert report.baselines["mae"].is_monotonic_increasing  # less is better
    assert len(report.missing) == 7
    page = report.to_html(tmp_path / "report.html").read_text(encoding="utf-8")
    assert "median" in page and "answers + text" in page


FRESH = """
import importlib.util, sys
if {known}:
    spec = importlib.util.spec_from_file_location("test_one_file", {file!r})
    module = importlib.util.module_from_spec(spec)
    sys.modules["test_one_file"] = module
    spec.loader.exec_module(module)
import mmkeras as mm, pandas as pd
pipe = mm.load({folder!r})
pipe.predict(pd.read_pickle({rows!r})).to_pickle({out!r})
print(sorted(pipe.evaluate(pd.read_pickle({rows!r}), verbose=0).baselines.index))
"""


def run_fresh(known, folder, test, tmp_path):
    test.to_pickle(tmp_path / "rows.pkl")
    code = FRESH.format(
        known=known, file=__file__, folder=str(folder), rows=str(tmp_path / "rows.pkl"), out=str(tmp_path / "out.pkl")
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ})


def test_a_fresh_process_loads_it_only_where_its_file_is_imported(fitted, tmp_path):
    pipe, _, _, test = fitted
    pipe.evaluate(test, verbose=0)
    pipe.save(tmp_path / "model")
    run = run_fresh(True, tmp_path / "model", test, tmp_path)
    assert run.returncode == 0, run.stderr[-2000:]
    assert "mean share" in run.stdout
    np.testing.assert_allclose(pd.read_pickle(tmp_path / "out.pkl"), pipe.predict(test), atol=1e-5)
    run = run_fresh(False, tmp_path / "model", test, tmp_path)
    assert run.returncode == 1 and "test_one_file.Answers" in run.stderr and "mm.load(path, classes=" in run.stderr


def test_it_is_served(fitted, tmp_path):
    pipe, _, _, test = fitted
    pipe.export(tmp_path / "served")
    served = tf.saved_model.load(str(tmp_path / "served"))
    yes_no = {name: tf.constant(YesNo().values(test[name])) for name in ("new", "small")}
    outputs = served.serve(
        {"words": tf.constant(test["words"].tolist()), "price": tf.constant(test["price"], "float32"), **yes_no}
    )
    np.testing.assert_allclose(outputs["sold"], pipe.predict(test), atol=1e-5)


def test_ablate_and_search_take_it(tmp_path):
    df = rows()
    train, test = mm.split_frame(df, 0.3, seed=0)
    table = mm.ablate(modalities(), Share("sold"), train, test, fusion="max", **QUICK).table
    assert set(table["modalities"]) == {"all", "answers", "text", "tabular", "mean share", "TF-IDF + linear model"}
    assert table["mae"].is_monotonic_increasing
    space = {"fusion": ["max", "late"], "epochs": 1, "units": 8, "depth": 1}
    pipe = mm.search(
        train, modalities(), Share("sold"), max_trials=2, space=space, engine="kerastuner", tuner="random", verbose=0,
        directory=tmp_path / "search",
    )  # fmt: skip
    assert pipe.trail.objective == "mae" and pipe.trail.direction == "min" and len(pipe.trail.table) == 2
    assert pipe.predict(test).shape == (len(test), 1)


def test_the_command_line_knows_it(tmp_path, capsys):
    rows().to_csv(tmp_path / "offers.csv", index=False)
    use = ["--use", __file__]
    data = ["--csv", str(tmp_path / "offers.csv"), "--share", "sold", "--yes-no", "new,small", "--numeric", "price"]
    out = str(tmp_path / "out")
    code = main([*use, "train", *data, "--fusion", "max", "--epochs", "1", "--out", out, "--cache-dir", str(tmp_path)])
    assert code == 0, capsys.readouterr().err
    assert "median" in (pathlib.Path(out) / "report.html").read_text(encoding="utf-8")
    assert main([*use, "predict", out, "--csv", str(tmp_path / "offers.csv"), "--out", str(tmp_path / "told.csv")]) == 0
    assert pd.read_csv(tmp_path / "told.csv")["sold"].between(0, 1).all()
    assert main([*use, "evaluate", out, "--csv", str(tmp_path / "offers.csv")]) == 0
    assert "mae" in capsys.readouterr().out


# === Conformity: of these, and of every one of ours ===


def test_those_of_this_file_keep_their_contracts(fitted):
    df = rows()
    testing.check_task(Share("sold"), df, modalities())
    testing.check_modality(Answers(["new", "small"]), df)
    testing.check_fusion(MaxFusion)
    testing.check_encoder(mm.Text("words", encoder="lengths"), df)
    testing.check_rival(Median, fitted[0], df)


OUR_FUSIONS = [cls for cls in subclasses(Fusion) if cls.label and cls.__module__.startswith("mmkeras.")]


@pytest.mark.parametrize("fusion", OUR_FUSIONS, ids=lambda cls: cls.label)
def test_our_fusions_keep_the_contract(fusion):
    testing.check_fusion(fusion)


def test_our_tasks_keep_the_contract(tmp_path):
    films = mm.samples.movies(60, seed=0)
    films["main"] = films["genres"].str.partition("|")[0].where(lambda name: name.isin(["Drama", "Comedy"]), "Other")
    numbers, words = mm.Tabular(numeric=["budget", "runtime"]), mm.Text("overview", encoder="lexical")
    testing.check_task(mm.MultiLabel("genres"), films, [numbers, words])
    for task in (mm.MultiClass("main"), mm.Regression("popularity")):
        testing.check_task(task, films, [numbers])


def test_captions_keep_the_contract(tmp_path):
    scenes = mm.samples.captions(40, 0, tmp_path, size=32)
    image = mm.Image("image", encoder="scratch", image_size=(32, 32), pooling=None, augment=False)
    task = mm.Caption("caption", sequence_length=16, decoding={"method": "greedy"})
    testing.check_task(task, scenes, [image])


def test_our_modalities_keep_the_contract(tmp_path, tiny_bert):
    offers = mm.samples.listings(40, 0, tmp_path)
    offers = offers.dropna().head(12).reset_index(drop=True)
    testing.check_modality(mm.Tabular(numeric=["size_cm", "age_years"], categorical="brand", datetime="posted"), offers)
    for encoder, settings in (
        ("lexical", {}),
        ("terms", {}),
        ("scratch", {"pooling": "mean"}),
        ("gru", {}),
        (tiny_bert, {"pooling": None, "sequence_length": 32}),
    ):
        testing.check_encoder(mm.Text("description", encoder=encoder, **settings), offers)
    photos = mm.samples.captions(12, 0, tmp_path / "photos", size=32).groupby("image").head(1)
    for pooling in ("avg", None):
        testing.check_encoder(
            mm.Image("image", encoder="scratch", image_size=(32, 32), pooling=pooling, augment=False), photos
        )


def test_our_rivals_keep_the_contract(fitted, tmp_path):
    pipe, _, train, _ = fitted
    for rival in (Prior, Linear, Alone):
        testing.check_rival(rival, pipe, train)
    scenes = mm.samples.captions(24, 0, tmp_path, size=32)
    image = mm.Image("image", encoder="scratch", image_size=(32, 32), pooling=None, augment=False)
    task = mm.Caption("caption", sequence_length=16, decoding={"method": "greedy"})
    captioner = mm.Pipeline([image], task, width=8, heads=2)
    captioner.fit(scenes, epochs=1, batch_size=16, verbose=0, validation_data=False)
    for rival in (OneCaption, NearestImage):
        testing.check_rival(rival, captioner, task.group(scenes, ["image"]))


def test_a_check_finds_what_is_wrong():
    class Leaky(MaxFusion):
        """It looks at the other rows of a batch."""

        label = "leaky"

        def call(self, features, presence):
            joined = super().call(features, presence)
            return joined - keras.ops.mean(joined, axis=0, keepdims=True)

    with pytest.raises(AssertionError, match="must not depend on its neighbours"):
        testing.check_fusion(Leaky)
    Leaky.label = None
    assert "leaky" not in names(Fusion)

    class Silent(Share):
        """It never says what it learnt."""

        def adapt(self, df):
            return self

    with pytest.raises(AssertionError, match=r"`learn`|learn anew|state"):
        testing.check_task(Silent("sold"), rows(), [Answers(["new", "small"])])


def test_metrics_are_those_of_the_task(fitted):
    pipe, _, _, test = fitted
    report = pipe.evaluate(test, verbose=0)
    error = (pipe.predict(test)["sold"] - test["sold"]).abs().mean()
    assert report.metrics["mae"] == pytest.approx(error, abs=1e-6)
    low, high = report.intervals["mae"]
    assert low < report.metrics["mae"] < high
    assert metrics.interval(np.array([1.0, 2.0]))[0] >= 1.0
