"""Clipped gradients, and pretrained towers that learn slower than the head, or block by block."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras.trunk.optimizers import make_optimizer
from mmkeras.trunk.paces import Paces, single_layers
from mmkeras.trunk.training import Plan


def step(optimizer, starts, gradients, dtype="float32"):
    variables = [keras.Variable(np.array([start]), dtype=dtype, name="kernel") for start in starts]
    shares = dict(zip([id(variable) for variable in variables], (None, 0.1, 0.0), strict=False))
    optimizer.pace = lambda variable: None if shares[id(variable)] is None else tf.constant(shares[id(variable)])
    optimizer.build(variables)
    optimizer.apply([tf.constant([gradient], dtype) for gradient in gradients], variables)
    return [float(variable.numpy()[0]) for variable in variables]


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_share_of_the_rate_is_that_share_of_the_step(name, dtype):
    whole, tenth, none = step(make_optimizer(0.01, name, 0.0), [1.0, 1.0, 1.0], [2.0, 2.0, 2.0], dtype)
    assert 1 - tenth == pytest.approx(0.1 * (1 - whole), rel=1e-3) and 1 - whole > 0.005
    assert none == 1.0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_does_not_learn_does_not_decay(dtype):
    whole, _, none = step(make_optimizer(0.01, "adamw", 0.5), [1.0, 1.0, 1.0], [0.0, 0.0, 0.0], dtype)
    assert none == 1.0 and whole == pytest.approx(1 - 0.01 * 0.5, abs=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_long_gradients_are_clipped_together(dtype):
    optimizer = make_optimizer(1.0, "sgd", clip_norm=1.0)
    optimizer.momentum = 0.0
    assert step(optimizer, [0.0], [40.0], dtype)[0] == pytest.approx(-1.0, abs=1e-5)
    clipped, plain = (make_optimizer(0.01, "adamw", 0.0, clip_norm=norm) for norm in (1e-9, None))
    clipped.epsilon = plain.epsilon = 1e-3  # beside it gradients of this length make no step
    assert step(clipped, [0.0], [3.0], dtype)[0] == pytest.approx(0.0, abs=1e-6)
    assert step(plain, [0.0], [3.0], dtype)[0] < -0.005


def tower():
    inside = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(2, name="b"), keras.layers.ReLU(), keras.layers.Dense(2, name="c")]
    )
    inputs = keras.Input((2,))
    return keras.Model(inputs, keras.layers.Dense(1, name="d")(inside(keras.layers.Dense(2, name="a")(inputs))))


def test_groups_are_layers_from_the_last_to_the_first():
    model = tower()
    kernels = {layer.name: layer.kernel for layer in single_layers(model) if layer.name in "abcd"}
    assert list(kernels) == ["a", "b", "c", "d"]
    paces = Paces([model], 0.5, (0, 2), first=3)
    seen = []
    for epoch in (3, 4, 5):
        paces.on_epoch_begin(epoch)
        seen.append([float(paces(kernels[name])) for name in "abcd"])
    assert seen == [[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.5], [0.5] * 4]
    assert paces(keras.Variable(1.0)) is None
    with pytest.raises(
        ValueError, match="`unfreeze` must name at most as many .* Received: 5 epochs, and 4 such layers"
    ):
        Paces([model], 1.0, (0, 1, 2, 3, 4))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clip_norm": 0}, "`clip_norm` must be a number above 0. Received: 0"),
        ({"tower_rate": "slow"}, "`tower_rate` must be a number above 0. Received: 'slow'"),
        ({"tower_rate": float("nan")}, "`tower_rate` must be a number above 0. Received: nan"),
        ({"tower_rate": None}, "`tower_rate` must be a number above 0. Received: None"),
        ({"unfreeze": [2, 1]}, r"`unfreeze` must name epochs .* ints from 0 to 9. Received: \(2, 1\)"),
        ({"unfreeze": [0, 10]}, "`unfreeze` must name epochs"),
        ({"unfreeze": [0, 3], "fine_tune_epochs": 3}, "ints from 0 to 2"),
        ({"unfreeze": [0.5]}, "`unfreeze` must name epochs"),
        ({"unfreeze": 1.5}, "`unfreeze` must name epochs"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        Plan(**settings)


def test_a_pace_without_a_tower_that_trains_is_refused_before_anything_trains(tiny_keras_hub):
    df = mm.samples.movies(40, seed=0)
    for modality in (
        mm.Text("overview", encoder="scratch"),
        mm.Text("overview", encoder=tiny_keras_hub, sequence_length=8),
    ):
        pipe = mm.Pipeline([modality], mm.MultiLabel("genres"))
        with pytest.raises(
            ValueError,
            match=r"`tower_rate` and `unfreeze` go with a pretrained tower that trains. Received: modalities \['text'\]",
        ):
            pipe.fit(df, epochs=1, tower_rate=0.1, verbose=0)


def test_a_tower_thaws_from_the_top(tiny_keras_hub):
    df = mm.samples.movies(40, seed=0)
    weights = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            layers = {
                w.path: w.numpy()
                for w in self.model.weights
                if "tower" in w.path or "transformer" in w.path or "embedding" in w.path
            }
            weights.append(layers)

    text = mm.Text("overview", encoder=tiny_keras_hub, sequence_length=8, trainable=True)
    pipe = mm.Pipeline([text], mm.MultiLabel("genres"), dropout=0.0)
    pipe.fit(
        df,
        False,
        epochs=1,
        fine_tune_epochs=3,
        fine_tune_learning_rate=1e-2,
        unfreeze=[0, 2],
        clip_norm=5.0,
        callbacks=[Watch()],
        verbose=0,
    )
    first, second, third = weights[-3:]

    def moved(before, after):
        return {path for path in before if np.abs(before[path] - after[path]).max() > 0}

    early, late = moved(first, second), moved(second, third)
    assert early and early < late, sorted(early)
    assert not [path for path in early if "token_embedding" in path] and any("token_embedding" in path for path in late)
