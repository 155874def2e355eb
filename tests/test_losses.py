"""Losses: numbers worked by hand, weights of rows and classes, saving, and the same through Pipeline and builders."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras.losses import (
    AsymmetricCrossentropy,
    MaskedTokenAccuracy,
    MaskedTokenCrossentropy,
    SparseCategoricalFocalCrossentropy,
)
from mmkeras.losses.classes import LabelAUC, WeightedBinaryCrossentropy
from mmkeras.losses.weights import label_weights
from mmkeras.tasks import MultiClass, MultiLabel, Regression
from mmkeras.trunk.training import Plan, compile_for_training

CHANCES = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]], "float32")
TRUTH = np.array([0, 2])


def by_hand(gamma, alpha=(1.0, 1.0, 1.0)):
    return [-alpha[c] * (1 - p[c]) ** gamma * math.log(p[c]) for c, p in zip(TRUTH, CHANCES, strict=True)]


@pytest.mark.parametrize("truth", [TRUTH, TRUTH[:, None], TRUTH.astype("float32")])
@pytest.mark.parametrize("gamma", [0, 1.5, 2.0])
def test_focal_loss_by_hand(gamma, truth):
    loss = SparseCategoricalFocalCrossentropy(gamma, reduction=None)
    np.testing.assert_allclose(loss(truth, CHANCES), by_hand(gamma), rtol=1e-5)


def test_focal_loss_without_focus_is_cross_entropy():
    got = SparseCategoricalFocalCrossentropy(gamma=0)(TRUTH, CHANCES)
    np.testing.assert_allclose(got, keras.losses.SparseCategoricalCrossentropy()(TRUTH, CHANCES), rtol=1e-5)


def test_focal_loss_is_keras_own_of_one_hot_targets():
    got = SparseCategoricalFocalCrossentropy(2.0, 0.25)(TRUTH, CHANCES)
    wanted = keras.losses.CategoricalFocalCrossentropy(alpha=0.25, gamma=2.0)(np.eye(3)[TRUTH], CHANCES)
    np.testing.assert_allclose(got, wanted, rtol=1e-5)


def test_focal_loss_weighs_classes_and_rows():
    alpha = [0.5, 1.0, 3.0]
    loss = SparseCategoricalFocalCrossentropy(2.0, alpha, reduction="sum")
    np.testing.assert_allclose(loss(TRUTH, CHANCES, [1.0, 0.0]), by_hand(2.0, alpha)[0], rtol=1e-5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    np.testing.assert_allclose(again(TRUTH, CHANCES), sum(by_hand(2.0, alpha)), rtol=1e-5)


def test_focal_loss_is_finite_when_the_model_is_sure_and_wrong():
    assert np.isfinite(float(SparseCategoricalFocalCrossentropy()([1], [[1.0, 0.0]])))


@pytest.mark.parametrize("settings", [{"gamma": -1}, {"gamma": "x"}, {"alpha": [1.0, -2.0]}, {"alpha": "x"}])
def test_focal_loss_refuses_what_is_no_weight(settings):
    with pytest.raises(ValueError, match=f"`{next(iter(settings))}` of the focal loss must be a number of at least 0"):
        SparseCategoricalFocalCrossentropy(**settings)


def test_focal_loss_needs_a_weight_for_each_class():
    with pytest.raises(ValueError, match="must hold a weight for each class. Received: none"):
        SparseCategoricalFocalCrossentropy(alpha=[])
    with pytest.raises(ValueError, match=r"a weight for each of 3 classes. Received: \[1.0\]"):
        SparseCategoricalFocalCrossentropy(alpha=[1.0])(TRUTH, CHANCES)


def test_weights_of_rows_are_the_same_for_names_and_numbers():
    names = np.array(["no", "no", "no", "yes"])
    np.testing.assert_allclose(mm.losses.sample_weights(names, "balanced"), [2 / 3, 2 / 3, 2 / 3, 2])
    np.testing.assert_allclose(
        mm.losses.sample_weights([0, 0, 0, 1], "balanced", ["no", "yes"]), [2 / 3, 2 / 3, 2 / 3, 2]
    )
    np.testing.assert_allclose(mm.losses.sample_weights(names, {"yes": 3}), [1, 1, 1, 3])
    with pytest.raises(
        ValueError, match=r"from classes among \['no', 'yes'\] to finite numbers of at least 0. Received: {'si'"
    ):
        mm.losses.sample_weights(names, {"si": 1.0})


@pytest.mark.parametrize("loss", [None, SparseCategoricalFocalCrossentropy()])
def test_several_decisions_train_by_their_mean_loss_under_the_weights_of_rows(loss):
    keras.utils.set_random_seed(0)
    task = MultiClass("y", classes=["a", "b", "c"])
    features = {key: keras.Input((width,)) for key, width in (("u", 4), ("v", 3), ("u.present", 1), ("v.present", 1))}
    training = task.training(mm.build_head(features, task, "hybrid", units=8), loss)
    assert list(training.losses) == ["y", "y.joint", "y.u", "y.v"] and sum(
        training.loss_weights.values()
    ) == pytest.approx(1.0)
    compile_for_training(training.model, training, Plan(), 0.0)
    rows = {key: np.random.default_rng(1).random((2, tensor.shape[1])) for key, tensor in features.items()}
    decisions = training.model(rows).values()
    weights = np.array([3.0, 0.0])
    got = training.model.evaluate(
        rows, dict.fromkeys(training.losses, TRUTH), sample_weight=dict.fromkeys(training.losses, weights), verbose=0
    )
    each = loss or keras.losses.SparseCategoricalCrossentropy()
    wanted = np.mean([each(TRUTH, chances, weights) for chances in decisions])
    assert np.ravel(got)[0] == pytest.approx(wanted, rel=1e-5)


def test_tasks_choose_their_focal_loss():
    assert isinstance(MultiClass("y").choose_loss("focal"), SparseCategoricalFocalCrossentropy)
    assert isinstance(MultiLabel("y").choose_loss("focal"), keras.losses.BinaryFocalCrossentropy)
    own = SparseCategoricalFocalCrossentropy(gamma=5)
    assert MultiClass("y").choose_loss(own) is own
    with pytest.raises(ValueError, match="or a Keras loss or its name. Received: 'focal' for Regression"):
        Regression("y").choose_loss("focal")
    with pytest.raises(
        ValueError, match="`loss` must be None, 'focal', or a Keras loss or its name. Received: 'fokal'"
    ):
        MultiClass("y").choose_loss("fokal")


def rare_class(rows=240):
    """A number tells the class, but one in ten rows is rare and the two overlap."""
    df = mm.samples.movies(rows, seed=1)
    rng = np.random.default_rng(0)
    df["label"] = np.where(np.arange(rows) % 10 == 0, "rare", "common")
    df["x"] = rng.normal(size=rows) + 1.5 * (df["label"] == "rare")
    return df


@pytest.mark.parametrize("fusion", ["concat", "hybrid"])
def test_imbalance_is_handled_by_fit(fusion):
    df, chances = rare_class(), {}
    modalities = [mm.Tabular(numeric=["x"]), mm.Tabular(numeric=["runtime"], name="other")]
    for name, settings in {
        "standard": {},
        "weighted": {"class_weight": "balanced"},
        "focal": {"loss": "focal"},
    }.items():
        pipe = mm.Pipeline(modalities, mm.MultiClass("label"), fusion=fusion, units=16)
        pipe.fit(df, validation_data=False, epochs=6, learning_rate=1e-2, verbose=0, **settings)
        chances[name] = pipe.predict(df)["rare"].mean()
    # Weights move decisions towards the rare class, whose share is .1; the focal loss makes all of them less sure.
    assert chances["weighted"] > 2 * chances["standard"]
    assert chances["focal"] > 1.2 * chances["standard"]


def test_focal_loss_of_labels_trains():
    df = mm.samples.movies(60, seed=0)
    pipe = mm.Pipeline([mm.Tabular(numeric=["budget", "runtime"])], mm.MultiLabel("genres"))
    history = pipe.fit(df, epochs=2, loss="focal", verbose=0)
    plain = pipe.fit(df, epochs=2, verbose=0)
    assert history.history["loss"][0] < plain.history["loss"][0]


def test_losses_and_weights_work_with_a_builder():
    model = mm.build_entailment_classifier(modalities=["text"], sequence_length=8)
    model.compile("adam", loss={"label": SparseCategoricalFocalCrossentropy(alpha=[2.0, 2.0, 0.5])})
    x = {name: np.ones((4, 8), "int32") for name in model.input}
    target = np.array([0, 1, 2, 2])
    weights = mm.losses.sample_weights(target, "balanced")
    np.testing.assert_allclose(weights, [4 / 3, 4 / 3, 2 / 3, 2 / 3])
    history = model.fit(x, {"label": target}, sample_weight=weights, verbose=0)
    assert np.isfinite(history.history["loss"][0])


# === Words of captions ===

TARGETS = np.array([[3, 1, 2, 0, 0], [2, 0, 0, 0, 0], [0, 0, 0, 0, 0]])


def word_logits(scale=3.0):
    return (np.random.default_rng(0).normal(size=(3, 5, 4)) * scale).astype("float32")


def words_by_hand(logits, smoothing=0.0):
    chances = np.exp(logits.astype("float64")) / np.exp(logits.astype("float64")).sum(-1, keepdims=True)
    rows = [(r, t) for r, t in zip(*np.nonzero(TARGETS), strict=True)]
    wanted = {(r, t): np.eye(4)[TARGETS[r, t]] * (1 - smoothing) + smoothing / 4 for r, t in rows}
    return {place: -(wanted[place] * np.log(chances[place])).sum() for place in rows}


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_word_loss_by_hand(smoothing):
    logits = word_logits()
    each = words_by_hand(logits, smoothing)
    for reduction, wanted in (("sum_over_batch_size", np.mean(list(each.values()))), ("sum", sum(each.values()))):
        loss = MaskedTokenCrossentropy(smoothing, reduction=reduction)
        np.testing.assert_allclose(loss(TARGETS, logits), wanted, rtol=1e-5)
    losses = MaskedTokenCrossentropy(smoothing, reduction=None)(TARGETS, logits).numpy()
    assert (losses[TARGETS == 0] == 0).all()
    np.testing.assert_allclose(losses[TARGETS != 0], list(each.values()), rtol=1e-5)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_padding_changes_not_one_bit_of_loss_gradient_and_accuracy(smoothing, compiled):
    loss = MaskedTokenCrossentropy(smoothing)

    def measure(targets, logits):
        logits = tf.convert_to_tensor(logits)
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = loss(targets, logits)
        return value, tape.gradient(value, logits)

    if compiled:
        measure = tf.function(measure, jit_compile=True)
    rng = np.random.default_rng(1)
    targets = rng.integers(1, 40, (16, 9)) * (np.arange(9) < rng.integers(1, 10, (16, 1)))
    logits = (rng.normal(size=(16, 9, 40)) * 5).astype("float32")
    value, gradient = measure(targets, logits)
    assert (gradient.numpy()[targets == 0] == 0).all()
    other = np.where(targets[..., None] == 0, rng.normal(size=logits.shape) * 30, logits).astype("float32")
    longer = np.concatenate([other, rng.normal(size=(16, 4, 40)).astype("float32")], axis=1)
    more = np.pad(targets, [(0, 0), (0, 4)])
    accuracy = MaskedTokenAccuracy()
    for given, seen in ((targets, other), (more, longer)):
        again, slope = measure(given, seen)
        assert float(again) == float(value)
        np.testing.assert_array_equal(slope[:, :9], gradient)
        accuracy.reset_state()
        accuracy.update_state(given, seen)
        right = (logits.argmax(-1) == targets)[targets != 0]
        assert float(accuracy.result()) == np.float32(right.sum()) / np.float32(right.size)


def test_word_loss_and_accuracy_weigh_rows_and_are_saved():
    logits, weights = word_logits(), np.array([2.0, 0.0, 1.0])
    each = words_by_hand(logits)
    loss = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(MaskedTokenCrossentropy()))
    np.testing.assert_allclose(loss(TARGETS, logits, weights), 2 * sum(list(each.values())[:3]) / 4, rtol=1e-5)
    accuracy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(MaskedTokenAccuracy()))
    accuracy.update_state(TARGETS, logits, weights)
    assert float(accuracy.result()) == pytest.approx((logits.argmax(-1) == TARGETS)[0, :3].mean())


def test_word_loss_of_nothing_but_padding_is_zero():
    assert float(MaskedTokenCrossentropy()(np.zeros((2, 3), int), np.ones((2, 3, 4), "float32"))) == 0
    accuracy = MaskedTokenAccuracy()
    accuracy.update_state(np.zeros((2, 3), int), np.ones((2, 3, 4), "float32"))
    assert float(accuracy.result()) == 0


def test_word_loss_refuses_to_smooth_everything():
    with pytest.raises(ValueError, match=r"`label_smoothing` must lie in \[0, 1\). Received: 1.0"):
        MaskedTokenCrossentropy(1.0)


def test_weighted_cross_entropy_of_labels_by_hand():
    truth, chances = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[0.5, 0.25], [0.2, 0.9]], "float32")
    got = WeightedBinaryCrossentropy([4.0, 2.0], reduction=None)(truth, chances)
    by_hand = [(-4 * math.log(0.5) - math.log(0.75)) / 2, (-math.log(0.8) - 2 * math.log(0.9)) / 2]
    np.testing.assert_allclose(got, by_hand, rtol=1e-5)
    plain = WeightedBinaryCrossentropy([1.0, 1.0])(truth, chances)
    np.testing.assert_allclose(plain, keras.losses.BinaryCrossentropy()(truth, chances), rtol=1e-5)
    sure = WeightedBinaryCrossentropy([1.0])(np.ones((1, 1)), np.zeros((1, 1), "float32"))
    assert np.isfinite(sure)


def test_weighted_cross_entropy_is_saved_and_refuses_what_cannot_be():
    loss = WeightedBinaryCrossentropy([4.0, 2.0])
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert again.weights == [4.0, 2.0]
    with pytest.raises(ValueError, match="one number for each of 3 labels. Received: 2"):
        loss(np.zeros((1, 3)), np.full((1, 3), 0.5, "float32"))
    for weights in ([], [-1.0], [float("nan")]):
        with pytest.raises(ValueError, match="`weights` must be finite numbers of at least 0"):
            WeightedBinaryCrossentropy(weights)


def test_asymmetric_loss_by_hand():
    truth, chances = np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([[0.5, 0.6], [0.05, 0.3]], "float32")
    got = AsymmetricCrossentropy(1.0, 2.0, 0.1, reduction=None)(truth, chances)
    # An absent label with a chance below the margin counts nothing.
    by_hand = [-(0.5 * math.log(0.5) + 0.25 * math.log(0.5)) / 2, -0.04 * math.log(0.8) / 2]
    np.testing.assert_allclose(got, by_hand, rtol=1e-5)
    plain = AsymmetricCrossentropy(0.0, 0.0, 0.0)(truth, chances)
    np.testing.assert_allclose(plain, keras.losses.BinaryCrossentropy()(truth, chances), rtol=1e-5)
    assert np.isfinite(AsymmetricCrossentropy()(np.eye(2), 1 - np.eye(2, dtype="float32")))


def test_asymmetric_loss_is_saved_and_refuses_what_cannot_be():
    loss = keras.losses.deserialize(keras.losses.serialize(AsymmetricCrossentropy(1.0, 3.0, 0.2)))
    assert (loss.positive, loss.negative, loss.margin) == (1.0, 3.0, 0.2)
    for settings in ({"positive": -1.0}, {"negative": float("nan")}, {"margin": 1.0}, {"margin": "0"}):
        with pytest.raises(ValueError, match=f"`{next(iter(settings))}` of the asymmetric loss must lie in"):
            AsymmetricCrossentropy(**settings)


def test_asymmetric_loss_has_a_name():
    df = mm.samples.movies(40, seed=0)
    pipe = mm.Pipeline([mm.Tabular(numeric=["budget"])], MultiLabel("genres"), units=4)
    losses = [pipe.fit(df, epochs=1, loss=loss, verbose=0).history["loss"][0] for loss in (None, "asymmetric")]
    assert 0 < losses[1] < 0.8 * losses[0]  # what is absent counts less


def test_weights_of_labels_grow_with_the_root_of_their_rarity():
    target = np.zeros((101, 3))
    target[:1, 0], target[:50, 1], target[:100, 2] = 1, 1, 1
    np.testing.assert_allclose(label_weights(target, most=5.0), [5.0, (51 / 50) ** 0.5, 1.0])


@pytest.mark.parametrize("weighted", [False, True])
def test_area_of_labels_is_that_of_keras(weighted):
    """Over batches, with probabilities on thresholds, out of bounds and equal, and a label that is never there."""
    rng = np.random.default_rng(0)
    chances = np.concatenate([rng.random((60, 4)), np.round(rng.random((40, 4)) * 199) / 199, [[-0.1, 0, 1, 1.1]] * 3])
    truth, weights = (rng.random((103, 4)) < [0.1, 0.4, 0.9, 0]).astype("float32"), rng.random(103).astype("float32")
    ours, theirs = LabelAUC(num_labels=4), keras.metrics.AUC(curve="PR", multi_label=True, num_labels=4)
    for rows in (slice(0, 50), slice(50, 103)):
        ours.update_state(truth[rows], chances[rows].astype("float32"), weights[rows] if weighted else None)
        spread = np.repeat(weights[rows, None], 4, axis=1) if weighted else None  # Keras asks for one of each cell
        theirs.update_state(truth[rows], chances[rows].astype("float32"), spread)
        np.testing.assert_allclose(ours.result(), theirs.result(), rtol=1e-5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(ours))
    assert isinstance(again, LabelAUC) and again.num_labels == 4 and again.name == "map"
    ours.reset_state()
    ours.update_state(
        truth, np.full((103, 4), np.nan, "float32")
    )  # the fit says that it diverged, not a sum out of its bounds
    assert float(ours.result()) == 0
