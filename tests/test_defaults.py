"""What `fit` chooses where the user says nothing, and that the best epoch is kept."""

import keras
import numpy as np
import pytest

import mmkeras as mm
from mmkeras.heads.inputs import HeadInputs
from mmkeras.trunk.training import BestEpoch, Plan

TABLE = [mm.Tabular(numeric=["budget", "popularity"])]


@pytest.fixture(scope="module")
def df():
    return mm.samples.movies(120, seed=0).dropna(subset=["runtime"])


@pytest.mark.parametrize(
    ("rows", "usual", "chosen"),
    [
        (100, 10, {"epochs": 60, "batch_size": 32, "learning_rate": 1e-3, "weight_decay": 0.3}),
        (3200, 10, {"epochs": 15, "batch_size": 32, "learning_rate": 1e-3, "weight_decay": 0.3}),
        (5000, 30, {"epochs": 30, "batch_size": 32, "learning_rate": 1e-3, "weight_decay": 0.3}),
        (40_000, 10, {"epochs": 6, "batch_size": 128, "learning_rate": 2e-3, "weight_decay": 0.15}),
        (10**7, 10, {"epochs": 4, "batch_size": 512, "learning_rate": 4e-3, "weight_decay": 0.03}),
    ],
)
def test_a_plan_follows_from_the_rows(rows, usual, chosen):
    plan = Plan.of(rows, usual, batch_size="chosen", epochs="chosen")
    assert {name: pytest.approx(getattr(plan, name)) for name in chosen} == chosen
    assert plan.early_stopping


def test_what_is_given_wins():
    settings = {"epochs": 3, "batch_size": 7, "learning_rate": 0.5, "weight_decay": 0.0}
    plan = Plan.of(10**6, **settings)
    assert {name: getattr(plan, name) for name in settings} == settings and not plan.early_stopping
    assert Plan.of(10**6, epochs=3, early_stopping=True).early_stopping
    assert not Plan.of(10**6, early_stopping=False).early_stopping
    assert not Plan.of(10**6, stops=False).early_stopping


@pytest.mark.parametrize("name", ["epochs", "batch_size", "learning_rate", "weight_decay"])
def test_another_word_is_refused(name, df):
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        mm.Pipeline(TABLE, mm.Regression("runtime")).fit(df, **{name: "choose"})


def model():
    x = keras.Input((1,))
    built = keras.Model(x, keras.layers.Dense(1, use_bias=False)(x))
    built.compile("sgd", "mean_squared_error")
    return built


def train(scores, epochs, sign=1):
    """(epochs run, weight by epoch, weight at the end) of a training whose scores are these."""
    built, scores, weights = model(), iter(scores), []
    keep = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: weights.append(built.get_weights()[0].item())
    )
    best = BestEpoch(lambda: next(scores), "r2", sign)
    x = np.ones((8, 1), "float32")
    history = built.fit(x, 3 * x, epochs=epochs, verbose=0, callbacks=[keep, best])
    return history, weights, built.get_weights()[0].item()


def test_the_best_epoch_comes_back():
    history, weights, last = train([0.1, 0.5, 0.2, 0.4], 4)
    assert last == weights[1] and len(weights) == 4
    assert history.history["val_r2"] == [0.1, 0.5, 0.2, 0.4]


def test_of_equal_epochs_the_last():
    _, weights, last = train([0.5, 0.2, 0.5], 3)
    assert last == weights[2]


def test_less_may_be_better():
    history, _, _ = train([-3.0, -1.0], 2, sign=-1)
    assert history.history["val_r2"] == [3.0, 1.0]


def test_it_ends_when_nothing_gets_better():
    _, weights, last = train([1.0] + [0.0] * 29, 30)
    assert len(weights) == 11 and last == weights[0]  # a third of 30 epochs after the best


def test_scores_that_are_no_numbers_stop_nothing():
    _, weights, last = train([float("nan")] * 3, 3)
    assert len(weights) == 3 and last == weights[2]


def test_a_fit_keeps_its_best_epoch(df):
    train_rows, validation = mm.split_frame(df, 0.3, seed=0)
    pipe = mm.Pipeline(TABLE, mm.Regression("runtime"), units=16)
    history = pipe.fit(train_rows, validation, epochs=8, learning_rate=0.1, early_stopping=True, verbose=0)
    r2 = pipe.evaluate(validation, verbose=0).metrics["r2"]
    assert r2 == pytest.approx(max(history.history["val_r2"]), abs=1e-6)


def test_given_epochs_are_all_run(df):
    history = mm.Pipeline(TABLE, mm.Regression("runtime"), units=8).fit(df, epochs=2, verbose=0)
    assert len(history.epoch) == 2 and "val_r2" not in history.history


def test_heads_follow_from_what_they_read():
    """A table needs no dropout of half; a number neither; and what a user gives is taken."""
    shapes = {"words": (8,), "words.present": (1,), "table": (4,), "table.present": (1,)}

    def hidden(task, names, **settings):
        features = {name: keras.Input(shapes[name], name=name) for name in shapes if name.partition(".")[0] in names}
        head = task.build_head(HeadInputs(features, names, whole=["table"]), units=4, **settings)
        return [layer.rate for layer in head.layers if layer.name.startswith("hidden_drop")]

    labels, number = mm.MultiLabel("y", classes=["a", "b"]), mm.Regression("y", mean=0.0, scale=1.0)
    assert hidden(labels, ["words", "table"]) == [0.5]
    assert hidden(labels, ["table"]) == hidden(number, ["words", "table"]) == [0.1, 0.1]
    assert hidden(number, ["words"], dropout=0.3, depth=1) == [0.3]
