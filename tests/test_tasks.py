"""The target side: reading cells, classes, weights, starting biases, decisions."""

import json
import math

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from mmkeras import MultiClass, MultiLabel, Regression
from mmkeras.data.targets import Values

NAN = float("nan")


def target(*cells):
    return pd.DataFrame({"y": pd.Series(list(cells), dtype=object)})


# === MultiLabel ===


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("A|B", ["A", "B"]),
        (" A | B C | ", ["A", "B C"]),
        ("A", ["A"]),
        (["A", "B"], ["A", "B"]),
        (("A",), ["A"]),
        (np.array(["A", "B"]), ["A", "B"]),
        ("[{'id': 28, 'name': 'Action'}, {'id': 12, 'name': \"Child's Play\"}]", ["Action", "Child's Play"]),
        ('[{"id": 28, "name": "Action"}]', ["Action"]),
        ('["A", "B"]', ["A", "B"]),
        ("['A', 'B']", ["A", "B"]),
        ([{"id": 1, "name": "A"}], ["A"]),
        ("", []),
        ("  ", []),
        ("[]", []),
        ([], []),
        (None, []),
        (NAN, []),
        (np.nan, []),
        (pd.NaT, []),
        (pd.NA, []),
    ],
)
def test_labels_of_a_cell(cell, names):
    assert MultiLabel("y").names(cell) == names


def test_another_separator():
    assert MultiLabel("y", separator=", ").names("A, B|C") == ["A", "B|C"]


@pytest.mark.parametrize("cell", ["[{'id': 28, 'name'", "[1, 2"])
def test_a_broken_list_is_an_error(cell):
    with pytest.raises(
        ValueError, match=r"begins with '\[' must be a JSON or Python list. Received in 'y': .*Correct the"
    ):
        MultiLabel("y").names(cell)


@pytest.mark.parametrize("cell", [5, 2.5, {"name": "A"}, [{"id": 1}], "[{'id': 1}]"])
def test_a_cell_in_no_known_form_is_an_error(cell):
    with pytest.raises(
        ValueError, match=r"Labels in 'y' must be strings such as 'A\|B'.*Received: .*Convert the column"
    ):
        MultiLabel("y").names(cell)


def test_mixed_forms_in_one_column():
    df = target("B|A", ["C"], "[{'id': 1, 'name': 'A'}]", '["B"]', None, NAN, "", "A|A")
    task = MultiLabel("y").adapt(df)
    assert task.classes == ("A", "B", "C")
    expected = [[1, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0], [1, 0, 0]]
    np.testing.assert_array_equal(task.encode(df), expected)
    assert task.encode(df).dtype == np.float32


@pytest.mark.parametrize("task_class", [MultiClass, MultiLabel])
def test_labels_that_no_file_can_hold_are_refused(task_class):
    with pytest.raises(ValueError, match=r"text that UTF-8 can hold. Received in 'y': '.*a'. Read the column anew"):
        task_class("y").adapt(target("\ud800a", "b"))


def test_adapting_returns_a_copy():
    task = MultiLabel("y")
    assert task.adapt(target("A", "B")) is not task and task.classes is None
    with pytest.raises(ValueError, match=r"classes of 'y' are not known yet"):
        task.encode(target("A"))


def test_unseen_labels_are_left_out_and_reported():
    task = MultiLabel("y").adapt(target("A", "B"))
    later = target("A|X", "X|Y|X", ["B"])
    np.testing.assert_array_equal(task.encode(later), [[1, 0], [0, 0], [0, 1]])
    assert task.unknown(later) == {"X": 2, "Y": 1}
    assert task.unknown(target("A|B")) == {}


def test_given_classes_keep_their_order():
    task = MultiLabel("y", classes=["B", "A"]).adapt(target("A|C", "B"))
    assert task.classes == ("B", "A")
    np.testing.assert_array_equal(task.encode(target("A|C")), [[0, 1]])


@pytest.mark.parametrize("cells", [("A|B", "B|A"), ("A", ["A"], "A")])
def test_constant_labels(cells):
    with pytest.raises(
        ValueError, match=rf"'y' must differ between rows. Received: the same labels .* in all {len(cells)}"
    ):
        MultiLabel("y").adapt(target(*cells))


def test_one_class_that_some_rows_lack_can_be_learnt():
    assert MultiLabel("y").adapt(target("A", "")).classes == ("A",)


def test_no_labels_at_all():
    with pytest.raises(ValueError, match=r"The target 'y' must hold labels. Received: 3 rows without any"):
        MultiLabel("y").adapt(target(None, "", NAN))


@pytest.mark.parametrize("task_class", [MultiLabel, MultiClass])
@pytest.mark.parametrize("classes", [[], ["A", "A"], [1, "1"]])
def test_given_classes_must_differ(task_class, classes):
    with pytest.raises(ValueError, match=r"`classes` must be different names, at least one. Received: "):
        task_class("y", classes=classes)


@pytest.mark.parametrize("task_class", [MultiLabel, MultiClass, Regression])
@pytest.mark.parametrize("column", ["", None, (), ["y"]])
def test_column_must_be_a_name(task_class, column):
    with pytest.raises(ValueError, match=r"`column` must be a column name. Received: "):
        task_class(column)


@pytest.mark.parametrize("task_class", [MultiLabel, MultiClass, Regression])
def test_missing_target_column(task_class):
    with pytest.raises(KeyError, match=r"the task needs the column"):
        task_class("genre").adapt(target("A", "B"))


@pytest.mark.parametrize(
    "task", [MultiLabel("y", ["a", "b"], ";"), MultiClass("y", ["b", "a"]), Regression("y", mean=1.0, scale=2.0)]
)
def test_config_round_trip_as_json(task):
    assert type(task)(**json.loads(json.dumps(task.get_config()))) == task


def test_multilabel_decisions():
    task = MultiLabel("y", classes=["A", "B", "C"])
    probabilities = np.array([[0.5, 0.2, 0.9], [0.1, 0.29, 0.0]])
    assert task.decide(probabilities) == [["A", "C"], []]
    assert task.learn(thresholds=[0.6, 0.2, 0.95]).decide(probabilities) == [["B"], ["B"]]
    assert task.read(Values([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])) == [["A", "C"], []]
    frame = task.frame(probabilities, pd.Index(["x", "y"]))
    assert frame.columns.tolist() == ["A", "B", "C"] and frame.loc["y", "B"] == 0.29


def starting_output(task, encoded):
    """What an untrained output gives for a hidden vector of zeros."""
    hidden = keras.Input((4,))
    model = keras.Model(hidden, task.activate(task.logits(hidden, encoded)))
    return model(np.zeros((1, 4), "float32")).numpy()[0]


def test_multilabel_starts_at_the_log_odds():
    task = MultiLabel("y", classes=["A", "B", "C"])
    encoded = np.array([[1, 0, 1], [1, 0, 0], [1, 0, 0], [1, 0, 0]], "float32")
    expected = [4.5 / 5, 0.5 / 5, 1.5 / 5]  # half a row added on each side
    np.testing.assert_allclose(starting_output(task, encoded), expected, rtol=1e-5)
    np.testing.assert_allclose(starting_output(task, None), [0.5, 0.5, 0.5])
    logits = keras.Model(h := keras.Input((4,)), task.logits(h, encoded)).get_layer("logits")
    np.testing.assert_allclose(logits.bias, [math.log(9), math.log(1 / 9), math.log(3 / 7)], rtol=1e-5)


def test_starting_bias_survives_saving(tmp_path):
    task = MultiLabel("y", classes=["A", "B"])
    hidden = keras.Input((4,))
    model = keras.Model(hidden, task.logits(hidden, np.array([[1, 0], [1, 1.0]])))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.get_layer("logits").bias, model.get_layer("logits").bias)
    clone = keras.models.clone_model(model)
    np.testing.assert_allclose(clone.get_layer("logits").bias, [math.log(5), 0.0], atol=1e-6)


def test_what_is_learnt_lies_apart_from_the_settings():
    task = MultiLabel("y")
    first = task.adapt(target("A", "B")).learn(thresholds=[0.2, 0.3])
    assert first.classes == ("A", "B") and first.thresholds.tolist() == [0.2, 0.3]
    assert first.settings is task and first.get_config() == task.get_config() and task.state is None
    second = first.adapt(target("B", "C"))  # learns anew, and forgets what was tuned for other classes
    assert second.classes == ("B", "C") and second.thresholds is None
    again = MultiLabel(**first.get_config()).learn(**json.loads(json.dumps(first.state)))
    assert again.classes == ("A", "B") and again.thresholds.tolist() == [0.2, 0.3]


@pytest.mark.parametrize("task_class", [MultiLabel, MultiClass])
def test_classes_of_the_user_stay_where_others_are_learnt_anew(task_class):
    written, learnt = task_class("y", classes=["B", "A"]), task_class("y")
    for rows in (target("A", "B"), target("B", "A", "B")):
        assert written.adapt(rows).classes == ("B", "A") and learnt.adapt(rows).classes == ("A", "B")
    adapted = learnt.adapt(target("A", "B"))
    assert adapted.adapt(target("X", "Y")).classes == ("X", "Y")


def test_labels_outside_of_the_classes_are_told_by_one_sentence():
    task = MultiLabel("y", classes=["A", "B"]).learn(thresholds=[0.5, 0.5])
    later = target("A|X", "X|Y", "B")
    kept, told = task.judged(later)
    assert kept is later and len(told) == 1
    assert "'X' (2 rows)" in told[0] and "'Y' (1 rows)" in told[0] and "count in no metric" in told[0]
    assert task.judged(target("A|B"))[1] == []


def test_folds_are_judged_by_the_thresholds_they_were_tuned_to():
    task = MultiLabel("y", classes=["A", "B"])
    pooled = task.pool([task.learn(thresholds=[0.2, 0.9]), task], [2, 1])
    probabilities = np.array([[0.3, 0.8], [0.1, 0.95], [0.3, 0.8]])
    assert pooled.decide(probabilities) == [["A"], ["B"], ["B"]]


def test_weighted_loss_of_labels_learns_from_the_training_target():
    task, rows = MultiLabel("y", classes=["A", "B"]), Values(np.array([[1, 0], [1, 0], [1, 1], [0, 0]], "float32"))
    loss = task.choose_loss("weighted", rows)
    plain = keras.losses.BinaryCrossentropy()
    miss = lambda label: (tf.constant([[float(label == 0), float(label == 1)]]), tf.constant([[0.1, 0.1]]))  # noqa: E731
    assert float(loss(*miss(1))) / float(plain(*miss(1))) > float(loss(*miss(0))) / float(plain(*miss(0)))
    with pytest.raises(
        ValueError,
        match="`loss` must be None, 'focal', 'asymmetric', 'weighted', or a Keras loss or its name. Received: 'hinged'",
    ):
        task.choose_loss("hinged", rows)
    with pytest.raises(
        ValueError, match="None, 'huber', 'absolute', or a Keras loss or its name. Received: 'focal' for Regression"
    ):
        Regression("y").choose_loss("focal")


# === MultiClass ===


def test_multiclass_encodes_sorted_classes():
    df = target("no", "yes", "no")
    task = MultiClass("y").adapt(df)
    assert task.classes == ("no", "yes") and task.encode(df).tolist() == [0, 1, 0]
    assert task.read(Values([1, 0])) == ["yes", "no"]
    assert task.decide(np.array([[0.4, 0.6], [0.9, 0.1]])) == ["yes", "no"]


def test_multiclass_compares_as_strings():
    task = MultiClass("y", classes=[0, 1]).adapt(pd.DataFrame({"y": [1, 0]}))
    assert task.classes == ("0", "1") and task.encode(pd.DataFrame({"y": [1, 0, 0]})).tolist() == [1, 0, 0]


def test_multiclass_whole_numbers_keep_their_names_as_floats():
    """pandas turns integers into floats when a row is missing; dropping it does not turn them back."""
    task = MultiClass("y").adapt(pd.DataFrame({"y": [1, 2]}))
    later = pd.DataFrame({"y": [1.0, 2.0, NAN]}).dropna()
    assert task.unknown(later) == {} and task.encode(later).tolist() == [0, 1]


def test_multiclass_unknown_classes():
    task = MultiClass("y", classes=["a", "b"])
    later = target("b", "c", "c", "d")
    assert task.encode(later).tolist() == [1, -1, -1, -1]
    assert task.unknown(later) == {"c": 2, "d": 1}
    with pytest.raises(
        ValueError, match=r"only the given `classes` \['a', 'b'\]. Received also: {'c': 2, 'd': 1}. Add"
    ):
        task.adapt(later)


def test_multiclass_rows_of_unknown_classes_are_not_judged():
    task, later = MultiClass("y", classes=["a", "b"]), target("b", "c", "a", "d")
    kept, told = task.judged(later)
    assert kept["y"].tolist() == ["b", "a"] and len(told) == 1 and "'c'" in told[0] and "'d'" in told[0]
    assert task.judged(target("a", "b"))[1] == []


def test_multiclass_one_class():
    with pytest.raises(ValueError, match=r"at least two classes. Received: \['a'\] in all 2 rows"):
        MultiClass("y").adapt(target("a", "a"))


@pytest.mark.parametrize("task", [MultiClass("y", classes=["a", "b"]), Regression("y")])
@pytest.mark.parametrize("method", ["adapt", "encode"])
def test_missing_targets(task, method):
    with pytest.raises(
        ValueError, match=r"'y' must be known in every row. Received: 2 missing values. Use df.dropna\(sub"
    ):
        getattr(task, method)(target(1, None, NAN))


def test_class_weights_by_hand():
    task, rows = MultiClass("y", classes=["a", "b", "c"]), Values([0, 0, 0, 1])
    assert task.weights(rows, None) is None
    np.testing.assert_allclose(task.weights(rows, "balanced"), [4 / 9, 4 / 9, 4 / 9, 4 / 3], rtol=1e-6)
    np.testing.assert_allclose(task.weights(rows, {"a": 0.5}), [0.5, 0.5, 0.5, 1])
    number = MultiClass("y", classes=[0, 1])
    np.testing.assert_allclose(number.weights(Values([0, 1]), {0: 1.0, 1: 3.0}), [1, 3])


@pytest.mark.parametrize("class_weight", ["equal", {"z": 1.0}, [1.0, 2.0, 3.0], {"a": -1.0}, {"a": np.nan}, {"a": "x"}])
def test_class_weight_errors(class_weight):
    task = MultiClass("y", classes=["a", "b", "c"])
    with pytest.raises(
        ValueError, match=r"`class_weight` must be None, 'balanced', or a dict from classes among \['a', 'b',"
    ):
        task.weights(Values([0, 1]), class_weight)


@pytest.mark.parametrize("task", [MultiLabel("y", classes=["a"]), Regression("y")])
def test_class_weight_is_for_multiclass(task):
    assert task.weights(Values(np.zeros((2, 1))), None) is None
    with pytest.raises(ValueError, match=r"`class_weight` applies to MultiClass. Received: 'balanced' for "):
        task.weights(Values(np.zeros((2, 1))), "balanced")


def test_multiclass_starts_at_the_frequencies():
    task = MultiClass("y", classes=["a", "b", "c"])
    expected = np.array([3.5, 1.5, 0.5]) / 5.5
    np.testing.assert_allclose(starting_output(task, np.array([0, 0, 0, 1])), expected, rtol=1e-5)


# === Regression ===


def test_regression_scale():
    df = pd.DataFrame({"y": [1.0, 3.0, 5.0, 7.0]})
    task = Regression("y").adapt(df)
    assert task.mean == 4.0 and task.scale == pytest.approx(math.sqrt(5)) and task.loss_weight == pytest.approx(0.2)
    np.testing.assert_array_equal(task.encode(df), [[1], [3], [5], [7]])
    np.testing.assert_allclose(starting_output(task, None), [4.0])  # the mean
    standard = np.array([[1.0], [-2.0]], "float32")
    np.testing.assert_allclose(task.activate(standard), 4 + math.sqrt(5) * standard, rtol=1e-6)


def test_regression_reads_strings():
    assert Regression("y").encode(target("1.5", "2")).tolist() == [[1.5], [2.0]]


@pytest.mark.parametrize("bad", ["many", math.inf, "-inf"])
def test_regression_of_what_is_no_number(bad):
    with pytest.raises(ValueError, match=rf"must hold finite numbers. Received: '?{bad}'?. Drop or correct the row"):
        Regression("y").adapt(target(1.0, bad, 2.0))


def test_regression_of_a_number_that_python_does_not_write():
    with pytest.raises(ValueError, match=r"must hold finite numbers. Received: <int: Exceeds"):
        Regression("y").adapt(target(1.0, 10**5000, 2.0))


def test_regression_of_a_constant():
    with pytest.raises(ValueError, match=r"The target 'y' must vary. Received: 3 in all 2 rows"):
        Regression("y").adapt(target(3, 3))


def test_regression_decisions():
    task, predictions = Regression("y"), np.array([[1.5], [2.0]])
    assert task.decide(predictions) == [1.5, 2.0] == task.read(Values(predictions))
    assert task.frame(predictions, [3, 4]).loc[4, "y"] == 2.0
