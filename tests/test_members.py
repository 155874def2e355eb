"""Members: models within a head that share most weights."""

import keras
import numpy as np
import pytest

import mmkeras as mm
from mmkeras.heads.decisions import decisions_of
from mmkeras.layers import MemberDense, MemberScale
from mmkeras.losses.around import EachMember

FEATURES = {"text": (8,), "text.present": (1,), "table": (3,), "table.present": (1,)}


def head(task, **settings):
    inputs = {name: keras.Input(shape, name=name) for name, shape in FEATURES.items()}
    return mm.build_head(inputs, task, units=6, **settings)


def rows(count=5):
    rng = np.random.default_rng(0)
    values = {name: rng.normal(size=(count, *shape)).astype("float32") for name, shape in FEATURES.items()}
    return {name: np.ones_like(x) if name.endswith("present") else x for name, x in values.items()}


def test_dense_by_hand():
    layer = MemberDense(2, members=2)
    layer.build((None, 2))
    weights = [[1, -1], [2, 1]], [[1, 0], [1, 1]], [[1, 1], [3, 1]], [[0, 0], [5, 0]]
    layer.set_weights([np.array(each, "float32") for each in weights])
    # Member 1: (1, -2) W = (-1, -2). Member 2: (2, 2) W = (4, 2), times (3, 1), plus (5, 0).
    np.testing.assert_allclose(layer(np.array([[1.0, 2.0]])), [[[-1, -2], [17, 2]]])


def test_members_start_apart_once():
    keras.utils.set_random_seed(0)
    first, second = MemberDense(50, members=3), MemberDense(50, members=3)
    second(first(np.ones((1, 40))))
    assert set(np.unique(first.inner)) == {-1, 1} and np.ptp(np.asarray(first.inner), axis=0).any()
    np.testing.assert_array_equal(second.inner, 1)


def test_layers_keep_their_settings():
    x = keras.Input((4,))
    model = keras.Model(x, MemberScale()(MemberDense(5, members=3, activation="gelu")(x)))
    twin = keras.Model.from_config(model.get_config())
    twin.set_weights(model.get_weights())
    np.testing.assert_array_equal(twin(np.ones((2, 4))), model(np.ones((2, 4))))


@pytest.mark.parametrize(
    "settings", [{"units": 0, "members": 2}, {"units": 2, "members": 0}, {"units": 2, "members": True}]
)
def test_sizes_must_be_positive(settings):
    with pytest.raises(ValueError, match="must be a positive int. Received"):
        MemberDense(**settings)


def test_other_members_are_refused():
    with pytest.raises(ValueError, match=r"takes \(B, D\) or \(B, 3, D\)"):
        MemberDense(5, members=3)(np.ones((2, 4, 5)))


def test_loss_is_the_mean_of_each_ones():
    truth, said = np.array([0, 1]), np.array([[[0.5, 0.5], [0.9, 0.1]], [[0.2, 0.8], [0.4, 0.6]]])
    losses = EachMember("sparse_categorical_crossentropy", reduction="none")(truth, said)
    np.testing.assert_allclose(losses, [-np.log([0.5, 0.9]).mean(), -np.log([0.8, 0.6]).mean()], rtol=1e-6)


def test_head_gives_the_mean_of_its_members():
    model = head(mm.MultiLabel("x", classes=["a", "b"]), members=3)
    (each,) = decisions_of(model).values()
    said = keras.Model(model.input, {"each": each, "x": model.output["x"]})(rows())
    assert said["each"].shape == (5, 3, 2)
    np.testing.assert_allclose(said["x"], 1 / (1 + np.exp(-np.mean(said["each"], axis=1))), rtol=1e-5)


def test_members_train_apart():
    """The loss of each is its own: their mean, which is right, must not keep two wrong ones where they are."""
    task = mm.MultiClass("x", classes=["a", "b"])
    training = task.training(head(task, members=3))
    assert training.loss_weights == {"x": 0.0, "x.members": 1.0}
    assert training.losses["x.members"].get_config()["name"] == "each_member"


@pytest.mark.parametrize("fusion", ["concat", "hybrid", "late", "gated"])
def test_every_fusion_takes_members(fusion):
    task = mm.MultiClass("x", classes=["a", "b"])
    model = head(task, fusion=fusion, members=2, depth=2)
    one = {name: x[:1] for name, x in rows().items()}
    np.testing.assert_allclose(model(one)["x"], model(rows())["x"][:1], atol=1e-6)


def test_more_than_none():
    with pytest.raises(ValueError, match="`members` must be a positive int. Received: 0"):
        mm.Pipeline([mm.Text("a", "lexical")], mm.MultiLabel("x"), members=0)


def test_fit_save_load_export(tmp_path):
    df = mm.samples.movies(60, seed=0).dropna(subset=["runtime"])
    pipe = mm.Pipeline(
        [mm.Text("overview", "lexical", name="words"), mm.Tabular(numeric=["budget"])],
        mm.Regression("runtime", quantiles=(0.1, 0.5)), members=3, units=8, depth=2,
    )  # fmt: skip
    pipe.fit(df, epochs=1, verbose=0)
    said = pipe.predict(df)
    pipe.save(tmp_path / "kept")
    np.testing.assert_array_equal(mm.load(tmp_path / "kept").predict(df), said)
    pipe.export(tmp_path / "served")
    np.testing.assert_allclose(pipe.predict(df.head(1)), said.head(1), rtol=1e-5)
