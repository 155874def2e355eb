"""The optimizer against Keras's own, learning rates, and losses and metrics of several decisions."""

import dataclasses
import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from mmkeras.graph import submodel
from mmkeras.heads.decisions import build_head
from mmkeras.tasks import MultiClass, MultiLabel, Regression
from mmkeras.trunk.optimizers import NOT_DECAYED, FusedAdamW, WarmupCosine, make_optimizer
from mmkeras.trunk.stages import chain
from mmkeras.trunk.training import PlainLogs, Plan, compile_for_training, seeded, side_by_side


class Averaged(Regression):
    """Numbers whose decisions are averaged, as those of classes are; in a `Regression` they add up."""

    adds = False


TASKS = [
    MultiLabel("y", classes=["a", "b"]),
    MultiClass("y", classes=["a", "b", "c"]),
    Averaged("y", mean=5.0, scale=2.0),
]
TARGETS = [np.eye(2, dtype="float32")[[0, 1, 0]], np.array([0, 2, 1]), np.array([[1.0], [5.0], [9.0]], "float32")]
each_task = pytest.mark.parametrize(
    ("task", "target"), list(zip(TASKS, TARGETS, strict=True)), ids=[type(task).__name__ for task in TASKS]
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
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fused_adamw_is_adamw(rate, sparse, dtype):
    def run(optimizer):
        table = keras.Variable(np.linspace(-1, 1, 12).reshape(6, 2), dtype=dtype, name="table")
        bias = keras.Variable(np.ones(2), dtype=dtype, name="bias")
        optimizer.exclude_from_weight_decay(var_names=NOT_DECAYED)
        optimizer.build([table, bias])

        @tf.function
        def step(number):
            rows = tf.stack([[1.0, -2.0], [0.5, number]])
            rows = tf.cast(rows, dtype)
            gradient = tf.IndexedSlices(rows, [1, 4], [6, 2]) if sparse else tf.scatter_nd([[1], [4]], rows, [6, 2])
            optimizer.apply([gradient, rows[0]], [table, bias])

        for number in range(6):
            step(tf.constant(float(number)))
        return table.numpy(), bias.numpy(), int(optimizer.iterations)

    results = [run(kind(rate, weight_decay=0.1)) for kind in (FusedAdamW, keras.optimizers.AdamW)]
    for ours, keras_own in zip(*results, strict=True):
        np.testing.assert_allclose(ours, keras_own, rtol=1e-5)
    assert results[0][2] == 6


def test_warmup_cosine_rises_and_falls_to_zero():
    rates = [float(WarmupCosine(2.0, 100, 0.1)(step)) for step in (0, 4, 9, 10, 55, 100, 200)]
    np.testing.assert_allclose(rates, [0.2, 1.0, 2.0, 2.0, 1.0, 0, 0], atol=1e-6)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(WarmupCosine(2.0, 100, 0.1)))
    assert again.get_config() == {"peak": 2.0, "steps": 100, "warmup": 0.1}


def test_a_planned_rate_leaves_room_for_callbacks_that_set_it():
    plan = Plan(epochs=10, learning_rate=0.1, warmup=0.1)
    schedule = plan.schedule(10)
    assert isinstance(schedule, WarmupCosine) and schedule.get_config() == {"peak": 0.1, "steps": 100, "warmup": 0.1}
    assert plan.schedule(10, [keras.callbacks.ReduceLROnPlateau()]) == 0.1
    assert plan.schedule(10, [keras.callbacks.LearningRateScheduler(lambda epoch: 0.1)]) == 0.1
    own = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    assert Plan(learning_rate=own).schedule(10) is own


def test_the_second_phase_is_a_plan_of_its_own():
    second = Plan(epochs=9, fine_tune_epochs=2, fine_tune_learning_rate=0.5, optimizer="sgd", seed=4).second()
    assert (second.epochs, second.learning_rate, second.optimizer, second.seed) == (2, 0.5, "sgd", 4)
    assert second.schedule(5).get_config() == {"peak": 0.5, "steps": 10, "warmup": 0.1}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"epochs": 0}, "`epochs` must be a positive int. Received: 0"),
        ({"epochs": True}, "`epochs` must be a positive int. Received: True"),
        ({"batch_size": 2.0}, "`batch_size` must be a positive int. Received: 2.0"),
        ({"fine_tune_epochs": -1}, "`fine_tune_epochs` must be an int of 0 or more. Received: -1"),
        ({"weight_decay": -0.1}, "`weight_decay` must be 0 or more. Received: -0.1"),
        ({"weight_decay": float("nan")}, "`weight_decay` must be 0 or more. Received: nan"),
        ({"optimizer": "adagrad"}, r"`optimizer` must be one of \('adamw', 'adam', 'sgd'\). Received: 'adagrad'"),
    ],
)
def test_a_plan_is_checked_when_it_is_made(setting, message):
    with pytest.raises(ValueError, match=message):
        Plan(**setting)


def of_several_decisions():
    """How a head of a number trains that decides by both features together, and by each."""
    task = Averaged("y", mean=0.0, scale=1.0)
    return task.training(build_head(features(), task, "hybrid", units=8, dropout=0.0))


def test_several_decisions_are_outputs_with_a_loss_each_and_the_whole_is_their_mean():
    training = of_several_decisions()
    assert training.main == "y" and next(iter(training.losses)) == "y" and len(training.losses) == 4
    assert list(training.model.output) == list(training.losses) == list(training.loss_weights)
    target, weights = np.array([[1.0], [2.0], [4.0]], "float32"), np.array([1.0, 0.0, 3.0], "float32")
    answers = {name: np.array(value) for name, value in training.model(values()).items()}
    compile_for_training(training.model, training, Plan(), 0.01)
    spread = dict.fromkeys(answers, target)
    for sample_weight in (None, weights):
        own = np.ones(3) if sample_weight is None else sample_weight
        by_hand = np.mean([np.mean(own[:, None] * (answer - target) ** 2) for answer in answers.values()])
        given = None if sample_weight is None else dict.fromkeys(answers, sample_weight)
        loss = training.model.evaluate(values(), spread, sample_weight=given, verbose=0, return_dict=True)["loss"]
        assert loss == pytest.approx(by_hand, rel=1e-5)
    assert set(training.metrics) == {"y"}  # the decisions inside are not watched


def test_history_bears_the_plain_names_of_the_main_outputs_metrics():
    training = of_several_decisions()
    compile_for_training(training.model, training, Plan(), 0.01)
    target = dict.fromkeys(training.losses, TARGETS[2])
    plain = [PlainLogs(training.main, training.losses)]
    history = training.model.fit(
        values(), target, validation_data=(values(), target), epochs=1, verbose=0, callbacks=plain
    )
    assert set(history.history) == {"loss", "mae", "val_loss", "val_mae"}
    predicted = np.array(training.model(values())["y"])
    assert history.history["val_mae"][0] == pytest.approx(np.abs(predicted - TARGETS[2]).mean(), rel=1e-5)
    alone = {"loss": 1.0, "mae": 2.0, "y_loss": 3.0}
    PlainLogs("y", ["y"]).on_epoch_end(0, alone)  # one output: Keras's own names are plain
    assert alone == {"loss": 1.0, "mae": 2.0, "y_loss": 3.0}


@each_task
def test_hybrid_predicts_the_mean_of_its_decisions_and_trains_each(task, target):
    keras.utils.set_random_seed(0)
    head = build_head(features(), task, "hybrid", units=8, dropout=0.0)
    training = task.training(head)
    answers = {name: np.array(value) for name, value in training.model(values()).items()}
    assert len(answers) == 1 + 3  # the prediction, the joint decision, one of each feature
    predicted, *decisions = answers.values()
    joint, first, second = decisions
    np.testing.assert_allclose(predicted, head(values())["y"], atol=1e-6)
    np.testing.assert_allclose(second[2], joint[2], atol=1e-6)  # an absent input abstains
    assert np.abs(second[:2] - joint[:2]).max() > 1e-4 and np.abs(first - joint).max() > 1e-4
    if task is TASKS[0]:
        logits = [np.log(answer / (1 - answer)) for answer in answers.values()]
        np.testing.assert_allclose(
            logits[0][:2], np.mean([x[:2] for x in logits[1:]], axis=0), atol=1e-5
        )  # start equal
        np.testing.assert_allclose(
            logits[0][2], (logits[1][2] + logits[2][2]) / 2, atol=1e-5
        )  # of those that are there
    before = [weight.numpy() for weight in head.trainable_weights]
    compile_for_training(training.model, training, Plan(), 0.01)
    logs = training.model.fit(values(), dict.fromkeys(training.losses, target), epochs=30, verbose=0).history
    assert logs["loss"][-1] < 0.7 * logs["loss"][0]
    for old, new in zip(before, head.trainable_weights, strict=True):
        never_absent = new.path.endswith("absent_0")
        assert never_absent or np.abs(old - new.numpy()).max() > 0, new.path


def test_other_heads_train_as_they_are():
    head = build_head(features(), TASKS[0], "concat", units=8)
    training = TASKS[0].training(head)
    assert training.model is head and training.loss_weights == {"y": 1.0}


@each_task
def test_training_side_by_side_is_training_apart(task, target):
    def heads():
        keras.utils.set_random_seed(0)
        return [
            build_head(features(), task, fusion, units=8, dropout=0.0, modalities=names)
            for names, fusion in ((["one", "two"], "hybrid"), (["two"], "concat"))
        ]

    def fit(training):
        compile_for_training(training.model, training, Plan(), 0.01)
        inputs = {key: values()[key] for key in training.model.input}
        training.model.fit(inputs, dict.fromkeys(training.losses, target), epochs=5, verbose=0)

    together, apart, untrained = heads(), heads(), heads()
    fit(side_by_side({str(number): task.training(head) for number, head in enumerate(together)}))
    for both, alone, start in zip(together, apart, untrained, strict=True):
        fit(task.training(alone))
        inputs = {key: values()[key] for key in both.input}
        np.testing.assert_allclose(both(inputs)["y"], alone(inputs)["y"], rtol=1e-3, atol=1e-4)
        assert np.abs(np.array(both(inputs)["y"] - start(inputs)["y"])).max() > 1e-2  # it learnt at all


def test_seeded_draws_repeat_and_leave_the_callers_generators_where_they_were():
    def drawn():
        return keras.layers.Dense(3), keras.layers.Dropout(0.5)

    def kernel(layer):
        layer.build((None, 2))
        return layer.kernel.numpy()

    random.seed(5)
    np.random.seed(5)
    tf.random.set_seed(5)
    expected = random.random(), np.random.random(), float(tf.random.uniform(()))
    random.seed(5)
    np.random.seed(5)
    tf.random.set_seed(5)
    kernels = []
    for seed in (0, 0, 1):
        with seeded(seed):
            kernels.append(kernel(drawn()[0]))
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert np.abs(kernels[0] - kernels[2]).max() > 1e-3
    assert (random.random(), np.random.random(), float(tf.random.uniform(()))) == expected
    with pytest.raises(KeyError), seeded(0):
        raise KeyError
    assert random.random() != random.Random(0).random()


def test_the_prediction_can_be_cut_from_what_trains_side_by_side():
    heads = [build_head(features(), TASKS[1], "concat", units=8, modalities=[name]) for name in ("one", "two")]
    trainings = {
        name: dataclasses.replace(TASKS[1].training(head), model=chain(head))
        for name, head in zip("ab", heads, strict=True)
    }
    both = side_by_side(trainings)
    assert list(both.losses) == ["a/y", "b/y"] and both.metrics == {}
    cut = submodel(both.model.input, {"y": both.model.output["b/y"]})
    assert set(cut.input) == {"two", "two.present"}
    own = {key: values()[key] for key in cut.input}
    np.testing.assert_allclose(cut(own)["y"], heads[1](own)["y"])


def test_optimizers_differ_as_their_names_say():
    moved = {}
    for name in ("adamw", "adam", "sgd"):
        kernel, bias = (keras.Variable([2.0], name=part) for part in ("kernel", "bias"))
        optimizer = make_optimizer(0.1, name)
        optimizer.apply([tf.constant([0.0]), tf.constant([0.5])], [kernel, bias])
        moved[name] = [round(float(v[0]), 4) for v in (kernel, bias)]
    # without a gradient only weight decay moves a weight: 2 − 0.1 · 0.3 · 2; SGD takes 0.1 · 0.5 · (1 + 0.9)
    assert moved == {"adamw": [1.94, 1.9], "adam": [2.0, 1.9], "sgd": [2.0, 1.905]}
