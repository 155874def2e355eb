"""The optimizer against Keras's own, learning rates, and losses and metrics of several decisions."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mmkeras.heads.decisions import build_head, side_by_side, training_head
from mmkeras.tasks import MultiClass, MultiLabel, Regression
from mmkeras.trunk.training import (
    NOT_DECAYED,
    CompiledAdamW,
    MeanOfDecisions,
    OfFirstDecision,
    WarmupCosine,
    compile_for_training,
    make_optimizer,
    planned_rate,
)

TASKS = [MultiLabel("y", classes=["a", "b"]), MultiClass("y", classes=["a", "b", "c"]), Regression("y", 5.0, 2.0)]
TARGETS = [np.eye(2, dtype="float32")[[0, 1, 0]], np.array([0, 2, 1]), np.array([[1.0], [5.0], [9.0]], "float32")]
by_kind = pytest.mark.parametrize(
    ("task", "target"), list(zip(TASKS, TARGETS, strict=True)), ids=[task.kind for task in TASKS]
)


def features():
    return {
        "one": keras.Input((4,), name="one"),
        "one.present": keras.Input((1,), name="one.present"),
        "two": keras.Input((3,), name="two"),
        "two.present": keras.Input((1,), name="two.present"),
    }


def values(rows=3):
    rng = np.random.default_rng(0)
    given = {"one": rng.normal(size=(rows, 4)), "two": rng.normal(size=(rows, 3))}
    given["one.present"], given["two.present"] = np.ones((rows, 1)), np.array([[1.0]] * (rows - 1) + [[0.0]])
    return {key: tf.constant(value, tf.float32) for key, value in given.items()}


@pytest.mark.parametrize("rate", [0.01, WarmupCosine(0.01, 6, 0.3)])
@pytest.mark.parametrize("sparse", [False, True])
def test_compiled_adamw_is_adamw(rate, sparse):
    def run(optimizer):
        table = keras.Variable(np.linspace(-1, 1, 12).reshape(6, 2), dtype="float32", name="table")
        bias = keras.Variable(np.ones(2), dtype="float32", name="bias")
        optimizer.exclude_from_weight_decay(var_names=NOT_DECAYED)
        optimizer.build([table, bias])

        @tf.function
        def step(number):
            rows = tf.stack([[1.0, -2.0], [0.5, number]])
            gradient = tf.IndexedSlices(rows, [1, 4], [6, 2]) if sparse else tf.scatter_nd([[1], [4]], rows, [6, 2])
            optimizer.apply([gradient, rows[0]], [table, bias])

        for number in range(6):
            step(tf.constant(float(number)))
        return table.numpy(), bias.numpy(), int(optimizer.iterations)

    results = [run(kind(rate, weight_decay=0.1)) for kind in (CompiledAdamW, keras.optimizers.AdamW)]
    for ours, keras_own in zip(*results, strict=True):
        np.testing.assert_allclose(ours, keras_own, rtol=1e-5)
    assert results[0][2] == 6


def test_warmup_cosine_rises_and_falls_to_zero():
    rates = [float(WarmupCosine(2.0, 100, 0.1)(step)) for step in (0, 4, 9, 10, 55, 100, 200)]
    np.testing.assert_allclose(rates, [0.2, 1.0, 2.0, 2.0, 1.0, 0, 0], atol=1e-6)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(WarmupCosine(2.0, 100, 0.1)))
    assert again.get_config() == {"peak": 2.0, "steps": 100, "warmup": 0.1}


def test_a_planned_rate_leaves_room_for_callbacks_that_set_it():
    assert isinstance(planned_rate(0.1, (), 0.1)(10), WarmupCosine)
    assert planned_rate(0.1, [keras.callbacks.ReduceLROnPlateau()], 0.1)(10) == 0.1
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    assert planned_rate(schedule, (), 0.1)(10) is schedule


def test_mean_of_decisions_by_hand():
    target, decisions = tf.constant([[1.0], [2.0]]), tf.constant([[[1.0], [3.0]], [[2.0], [5.0]]])
    assert float(MeanOfDecisions("mean_squared_error")(target, decisions)) == pytest.approx((0 + 4 + 0 + 9) / 4)
    weighted = MeanOfDecisions("mean_squared_error")(target, decisions, sample_weight=tf.constant([1.0, 0.0]))
    assert float(weighted) == pytest.approx((0 + 4) / 2 / 2)


def test_a_metric_of_the_first_decision():
    metric = OfFirstDecision(keras.metrics.MeanAbsoluteError(name="mae"))
    metric.update_state(tf.constant([[1.0]]), tf.constant([[[4.0], [99.0]]]))
    assert metric.name == "mae" and float(metric.result()) == 3
    metric.reset_state()
    assert float(metric.result()) == 0


@by_kind
def test_hybrid_predicts_the_mean_of_its_decisions_and_trains_each(task, target):
    keras.utils.set_random_seed(0)
    head = build_head(features(), task, "hybrid", units=8, dropout=0.0)
    trained = training_head(head, task)
    every = np.array(trained(values())["y"])
    assert every.shape[1] == 1 + 3  # the prediction, the joint decision, one of each feature
    np.testing.assert_allclose(every[:, 0], head(values())["y"], atol=1e-6)
    np.testing.assert_allclose(every[2, 3], every[2, 1], atol=1e-6)  # an absent input abstains
    if task.kind == "multilabel":
        logits = np.log(every / (1 - every))
        np.testing.assert_allclose(logits[:2, 0], logits[:2, 1:].mean(axis=1), atol=1e-5)  # the weights start equal
        np.testing.assert_allclose(logits[2, 0], logits[2, 1:3].mean(axis=0), atol=1e-5)  # of those that are there
    before = [weight.numpy() for weight in head.trainable_weights]
    compile_for_training(trained, task, 0.01)
    logs = trained.fit(values(), {"y": target}, epochs=30, verbose=0).history
    assert logs["loss"][-1] < 0.7 * logs["loss"][0]
    for old, new in zip(before, head.trainable_weights, strict=True):
        never_absent = new.path.endswith("absent_0")
        assert never_absent or np.abs(old - new.numpy()).max() > 0, new.path


def test_other_heads_train_as_they_are():
    head = build_head(features(), TASKS[0], "concat", units=8)
    assert training_head(head, TASKS[0]) is head


@by_kind
def test_training_side_by_side_is_training_apart(task, target):
    def heads():
        keras.utils.set_random_seed(0)
        return [
            build_head(features(), task, fusion, units=8, dropout=0.0, modalities=names)
            for names, fusion in ((["one", "two"], "hybrid"), (["two"], "concat"))
        ]

    def fit(model):
        compile_for_training(model, task, 0.01)
        model.fit({key: values()[key] for key in model.input}, {"y": target}, epochs=5, verbose=0)

    together, apart = heads(), heads()
    fit(side_by_side([training_head(head, task) for head in together], "y"))
    for one, other in zip(together, apart, strict=True):
        fit(training_head(other, task))
        inputs = {key: values()[key] for key in one.input}
        np.testing.assert_allclose(one(inputs)["y"], other(inputs)["y"], rtol=1e-3, atol=1e-4)


def test_optimizers_differ_as_their_names_say():
    moved = {}
    for name in ("adamw", "adam", "sgd"):
        kernel, bias = (keras.Variable([2.0], name=part) for part in ("kernel", "bias"))
        optimizer = make_optimizer(0.1, name)
        optimizer.apply([tf.constant([0.0]), tf.constant([0.5])], [kernel, bias])
        moved[name] = [round(float(v[0]), 4) for v in (kernel, bias)]
    # without a gradient only weight decay moves a weight: 2 − 0.1 · 0.3 · 2; SGD takes 0.1 · 0.5 · (1 + 0.9)
    assert moved == {"adamw": [1.94, 1.9], "adam": [2.0, 1.9], "sgd": [2.0, 1.905]}
    with pytest.raises(ValueError, match=r"`optimizer` must be one of \('adamw', 'adam', 'sgd'\). Received: 'adagrad'"):
        make_optimizer(0.1, "adagrad")
