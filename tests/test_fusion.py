"""Fusion layers: numbers worked by hand, absent inputs, rows by themselves, errors, and heads of every fusion."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras.fusion import (
    BilinearFusion,
    ConcatFusion,
    CrossAttentionFusion,
    EarlyFusion,
    Fusion,
    GatedFusion,
    HybridFusion,
    LateFusion,
    ModalityDropout,
)
from mmkeras.registry import names, subclasses
from mmkeras.trunk.training import Plan, compile_for_training

FUSIONS = [cls.label for cls in subclasses(Fusion) if cls.label and cls.__module__.startswith("mmkeras.")]
NAN, INF = float("nan"), float("inf")


def test_concat_fusion_by_hand():
    layer = ConcatFusion()
    features = [tf.constant([[1.0, 2.0], [3.0, 4.0]]), tf.constant([[5.0], [6.0]])]
    presence = [tf.constant([[1.0], [0.0]]), tf.constant([[0.0], [1.0]])]
    np.testing.assert_array_equal(layer(features, presence), [[1, 2, 0], [0, 0, 6]])
    layer.absent[0].assign([7.0, 8.0])
    layer.absent[1].assign([9.0])
    np.testing.assert_array_equal(layer(features, presence), [[1, 2, 9], [7, 8, 6]])


def test_concat_fusion_ignores_what_an_absent_input_holds():
    layer = ConcatFusion()
    got = layer([tf.constant([[NAN, INF]])], [tf.constant([[0.0]])])
    np.testing.assert_array_equal(got, [[0, 0]])


def test_late_fusion_by_hand():
    layer = LateFusion()
    features = [tf.constant([[1.0, 2.0]] * 4), tf.constant([[3.0, 6.0]] * 4)]
    presence = [tf.constant([[1.0], [1.0], [0.0], [0.0]]), tf.constant([[1.0], [0.0], [1.0], [0.0]])]
    np.testing.assert_allclose(layer(features, presence), [[2, 4], [1, 2], [3, 6], [0, 0]], rtol=1e-6)
    layer.scores.assign([[0.0, math.log(3.0)], [0.0, 0.0]])  # class 2: weights 3/4 and 1/4
    np.testing.assert_allclose(layer(features, presence), [[2, 3], [1, 2], [3, 6], [0, 0]], rtol=1e-6)


@pytest.mark.parametrize("score", [-30.0, 100.0])
def test_late_fusion_weights_add_to_one_for_any_scores(score):
    layer = LateFusion()
    features, presence = [tf.constant([[1.0]]), tf.constant([[3.0]])], [tf.constant([[1.0]])] * 2
    layer(features, presence)
    layer.scores.assign([[score], [score]])
    np.testing.assert_allclose(layer(features, presence), [[2.0]], rtol=1e-5)


def test_late_fusion_without_learning_has_no_trainable_weights():
    layer = LateFusion(learned=False)
    layer([tf.ones((2, 3))] * 2, [tf.ones((2, 1))] * 2)
    assert layer.trainable_weights == []


@pytest.mark.parametrize(
    "layer_class", [ConcatFusion, LateFusion, EarlyFusion, lambda: GatedFusion(2), lambda: BilinearFusion(2)]
)
def test_fusion_errors(layer_class):
    one, mask = tf.ones((2, 3)), tf.ones((2, 1))
    with pytest.raises(ValueError, match=r"one presence mask \(B, 1\) for each feature. Received: 2 features, 1 masks"):
        layer_class()([one, one], [mask])
    with pytest.raises(ValueError, match=r"features of shape \(B, D\). Received shapes: .*Pool sequences first"):
        layer_class()([tf.ones((2, 3, 4)), one], [mask, mask])


def test_hybrid_fusion_by_hand():
    joint = tf.constant([[1.0, 2.0], [3.0, 4.0]])
    own, presence = [tf.constant([[5.0, 6.0], [NAN, INF]])], [tf.constant([[1.0], [0.0]])]
    np.testing.assert_array_equal(HybridFusion()(joint, own, presence), [[[1, 2], [5, 6]], [[3, 4], [3, 4]]])


def test_hybrid_fusion_errors():
    one, mask = tf.ones((2, 3)), tf.ones((2, 1))
    with pytest.raises(ValueError, match=r"one presence mask \(B, 1\) for each feature. Received: 2 features, 1 masks"):
        HybridFusion()(one, [one, one], [mask])
    with pytest.raises(ValueError, match=r"decisions of one width. Received widths: \[2, 3\]"):
        HybridFusion()(tf.ones((2, 2)), [one], [mask])


def test_late_fusion_needs_one_width():
    with pytest.raises(ValueError, match=r"decisions of one width. Received widths: \[2, 3\]"):
        LateFusion()([tf.ones((2, 3)), tf.ones((2, 2))], [tf.ones((2, 1))] * 2)


def test_early_fusion_by_hand():
    features = [tf.constant([[1.0, 2.0], [NAN, INF]]), tf.constant([[5.0], [0.0]])]
    presence = [tf.constant([[1.0], [0.0]]), tf.constant([[1.0], [1.0]])]
    np.testing.assert_array_equal(EarlyFusion()(features, presence), [[1, 2, 5, 1, 1], [0, 0, 0, 0, 1]])


def with_known_projections(layer, features, presence):
    """The layer with h_1 = tanh(x_1) and h_2 = tanh(2 x_2 + 1)."""
    layer(features, presence)
    for dense, (scale, bias) in zip(layer.projections, [(1.0, 0.0), (2.0, 1.0)], strict=True):
        dense.kernel.assign([[scale]])
        dense.bias.assign([bias])
    return layer


ONE_WIDE = [tf.constant([[0.5]] * 4), tf.constant([[0.25]] * 4)]
EVERY_SUBSET = [tf.constant([[1.0], [1.0], [0.0], [0.0]]), tf.constant([[1.0], [0.0], [1.0], [0.0]])]


def test_gated_fusion_by_hand():
    layer = with_known_projections(GatedFusion(1), ONE_WIDE, EVERY_SUBSET)
    # scores: s_1 = x_1, s_2 = 4 x_2, equal weights' odds e^(s_1 - s_2)
    layer.gate.kernel.assign([[1.0, 0.0], [0.0, 4.0]])
    first, second = math.tanh(0.5), math.tanh(1.5)
    share = 1 / (1 + math.exp(1.0 - 0.5))
    wanted = [[share * first + (1 - share) * second], [first], [second], [0.0]]
    np.testing.assert_allclose(layer(ONE_WIDE, EVERY_SUBSET), wanted, rtol=1e-5)


def test_bilinear_fusion_by_hand():
    layer = with_known_projections(BilinearFusion(1), ONE_WIDE, EVERY_SUBSET)
    first, second = math.tanh(0.5), math.tanh(1.5)
    wanted = [[first * second], [first], [second], [0.0]]
    np.testing.assert_allclose(layer(ONE_WIDE, EVERY_SUBSET), wanted, rtol=1e-5)


def cross_attention(rows=3, units=4, heads=1):
    """A layer and its arguments: sequences of 3 and 2 tokens, the last of the first one padding."""
    rng = np.random.default_rng(0)
    features = [rng.normal(size=(rows, 3, 5)).astype("float32"), rng.normal(size=(rows, 2, 6)).astype("float32")]
    masks = [np.tile([1, 1, 0], (rows, 1)), np.ones((rows, 2), int)]
    presence = [np.ones((rows, 1), "float32") for _ in range(2)]
    layer = CrossAttentionFusion(units, heads)
    layer(features, masks, presence)
    return layer, features, masks, presence


def dense(layer, x):
    return x @ layer.kernel.numpy() + layer.bias.numpy()


def layer_norm(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-3)


def test_cross_attention_by_hand():
    """One head, one row, in NumPy, straight from the formula."""
    layer, features, masks, presence = cross_attention()
    hidden = [layer_norm(dense(p, f[0])) for p, f in zip(layer.projections, features, strict=True)]
    wanted = []
    for i, attend in enumerate(layer.attentions):
        query, keys = hidden[i], hidden[1 - i][masks[1 - i][0] == 1]
        q, k, v = (
            np.einsum("td,dhk->thk", x, w.kernel.numpy())[:, 0] + w.bias.numpy()[0]
            for x, w in ((query, attend._query_dense), (keys, attend._key_dense), (keys, attend._value_dense))
        )
        scores = np.exp(q @ k.T / math.sqrt(4))
        answer = (scores / scores.sum(-1, keepdims=True)) @ v
        out = np.einsum("thk,hkd->td", answer[:, None], attend._output_dense.kernel.numpy())
        joined = layer_norm(query + out + attend._output_dense.bias.numpy())
        wanted.append(joined[masks[i][0] == 1].mean(0))
    got = layer(features, masks, presence).numpy()[0]
    np.testing.assert_allclose(got, np.concatenate(wanted), atol=1e-5)


def test_cross_attention_ignores_padding_and_absent_inputs():
    layer, features, masks, presence = cross_attention()
    presence[1][2] = 0
    before = layer(features, masks, presence).numpy()
    changed = [feature.copy() for feature in features]
    changed[0][:, 2] = 99.0
    changed[1][2] = NAN
    np.testing.assert_allclose(layer(changed, masks, presence), before, atol=1e-6)
    assert (before[2, 4:] == 0).all() and np.isfinite(before).all()
    presence[0][2] = 0
    assert (layer(features, masks, presence).numpy()[2] == 0).all()


def test_cross_attention_rows_do_not_see_each_other():
    layer, features, masks, presence = cross_attention()
    whole = layer(features, masks, presence).numpy()
    for row in range(3):
        one = [[x[row : row + 1] for x in part] for part in (features, masks, presence)]
        np.testing.assert_allclose(layer(*one).numpy()[0], whole[row], atol=1e-6)


def test_cross_attention_errors():
    flat, deep = tf.ones((2, 3)), tf.ones((2, 4, 3))
    mask, there = tf.ones((2, 4)), tf.ones((2, 1))
    with pytest.raises(ValueError, match=r"attend to each other across the batch. Use pooling=None"):
        CrossAttentionFusion(4)([flat, deep], [mask, mask], [there, there])
    with pytest.raises(ValueError, match="at least two sequences. Received: 1"):
        CrossAttentionFusion(4)([deep], [mask], [there])
    with pytest.raises(ValueError, match=r"one padding mask \(B, T\) for each feature. Received: 2 features, 1 masks"):
        CrossAttentionFusion(4)([deep, deep], [mask], [there, there])
    with pytest.raises(ValueError, match="`heads` must divide `units`. Received: 4 heads, 6 units"):
        CrossAttentionFusion(6)


def test_modality_dropout_keeps_one_and_leaves_prediction_alone():
    presence = [tf.ones((400, 1)), tf.concat([tf.ones((200, 1)), tf.zeros((200, 1))], axis=0)]
    layer = ModalityDropout(0.5, seed=0)
    for kept, mask in zip(layer(presence, training=False), presence, strict=True):
        np.testing.assert_array_equal(kept, mask)
    one, two = (mask.numpy()[:, 0] for mask in layer(presence, training=True))
    assert ((one + two) >= 1).all()
    assert (one[200:] == 1).all() and (two[200:] == 0).all()  # the only one a row has stays
    # Of two, one is dropped with the chance .5 + .5 · .5 (both drawn, the better one kept): each in .375 of the rows.
    assert 0.25 < 1 - one[:200].mean() < 0.5 and 0.25 < 1 - two[:200].mean() < 0.5


def test_modality_dropout_lets_the_learned_vector_learn():
    features = {key: keras.Input((2,)) for key in "ab"} | {f"{key}.present": keras.Input((1,)) for key in "ab"}
    task = mm.MultiClass("y", classes=["u", "v"])
    head = mm.build_head(features, task, modality_dropout=0.5, units=4)
    compile_for_training(head, task.training(head), Plan(), 0.05)
    rng = np.random.default_rng(0)
    values = {key: rng.normal(size=(64, 2)) if len(key) == 1 else np.ones((64, 1)) for key in features}
    head.fit(values, {"y": (values["a"][:, 0] > 0).astype(int)}, epochs=3, verbose=0)
    assert all(np.abs(absent.numpy()).max() > 0 for absent in head.get_layer("fusion").absent)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: ModalityDropout(1.0), r"must lie in \[0, 1\). Received: 1.0"),
    (lambda: GatedFusion(0), "`units` of GatedFusion must be a positive int. Received: 0"),
    (lambda: BilinearFusion(2.5), "`units` of BilinearFusion must be a positive int. Received: 2.5"),
])  # fmt: skip
def test_settings_outside_their_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# === Heads of every fusion ===

FEATURES = {
    "flat": keras.Input((5,)), "wide": keras.Input((7,)), "words": keras.Input((None, 6)),
    "words.padding_mask": keras.Input((None,)), "grid": keras.Input((4, 3)),
}  # fmt: skip
FEATURES.update({f"{name}.present": keras.Input((1,)) for name in ("flat", "wide", "words", "grid")})
TASK = mm.MultiClass("y", classes=["u", "v", "w"])


def feature_values(rows, seed=0):
    rng = np.random.default_rng(seed)
    values = {}
    for key, tensor in FEATURES.items():
        value = rng.normal(size=(rows, *(3 if size is None else size for size in tensor.shape[1:])))
        values[key] = ((value > -0.5) if "." in key else value).astype("float32")
    values["words.padding_mask"][:, 0] = 1
    return values


@pytest.mark.parametrize("fusion", FUSIONS)
def test_head_trains_and_knows_only_what_is_there(fusion):
    settings = {"units": 16, "dropout": 0.0, "normalise": ["flat", "wide"], "modality_dropout": 0.1}
    head = mm.build_head(FEATURES, TASK, fusion, **settings)
    training = TASK.training(head)
    compile_for_training(training.model, training, Plan(), 1e-2)
    values = feature_values(32)
    target = (values["flat"][:, 0] > 0).astype(int)
    losses = training.model.fit(values, dict.fromkeys(training.losses, target), epochs=6, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    predicted = head(values)["y"].numpy()
    np.testing.assert_allclose(predicted.sum(axis=1), 1, rtol=1e-5)
    changed = {key: value.copy() for key, value in values.items()}
    for name in ("flat", "wide", "words", "grid"):
        changed[name][values[f"{name}.present"][:, 0] == 0] = 77.0
    np.testing.assert_allclose(head(changed)["y"], predicted, atol=1e-6)
    alone = head({key: value[:1] for key, value in values.items()})["y"]
    np.testing.assert_allclose(alone[0], predicted[0], atol=1e-6)


def test_the_fusions_are_those_of_the_package_and_every_one_of_ones_own():
    first = {"concat", "early", "gated", "bilinear", "cross_attention", "late", "hybrid"}
    assert set(FUSIONS) == first | {"film", "stacked_attention", "word_attention"}

    class Second(ConcatFusion):
        label = "second"

    try:
        assert "second" in names(Fusion)
        head = mm.build_head(FEATURES, TASK, "second", units=8, modalities=["flat", "wide"])
        assert type(head.get_layer("fusion")) is Second
    finally:
        Second.label = None  # classes cannot be undefined
    with pytest.raises(ValueError, match="`fusion` must be one of .*Received: 'second'"):
        mm.build_head(FEATURES, TASK, "second")


@pytest.mark.parametrize("fusion", FUSIONS)
def test_head_of_one_modality_is_the_same_for_every_fusion(fusion):
    heads = [mm.build_head(FEATURES, TASK, f, units=8, modalities=["wide"]) for f in (fusion, "concat")]
    assert len({head.count_params() for head in heads}) == 1


def test_statistics_are_those_of_the_rows_that_have_the_modality():
    head = mm.build_head(FEATURES, TASK, units=8, normalise=["flat"], modalities=["flat", "wide"])
    values = feature_values(64)
    there = values["flat.present"][:, 0] == 1
    values["flat"][~there] = 1000.0
    for _ in range(60):
        head({key: values[key] for key in head.input}, training=True)
    layer = head.get_layer("flat_normalise")
    np.testing.assert_allclose(layer.moving_mean, values["flat"][there].mean(0), atol=0.02)
    np.testing.assert_allclose(layer.moving_variance, values["flat"][there].var(0), atol=0.02)


def test_cross_attention_needs_two_sequences():
    with pytest.raises(ValueError, match="two modalities that give sequences.*'flat': \\(None, 5\\).*pooling=None"):
        mm.build_head(FEATURES, TASK, "cross_attention", modalities=["flat", "words"])


@pytest.mark.parametrize("fusion", ["concat", "hybrid", "gated", "late"])
def test_wide_features_are_brought_to_one_width(fusion):
    inputs = {"wide": keras.Input((9,)), "narrow": keras.Input((8,))}
    inputs |= {f"{name}.present": keras.Input((1,)) for name in ("wide", "narrow")}
    head = mm.build_head(inputs, mm.MultiClass("x", classes=["a", "b"]), fusion, projection=4, units=6)
    assert head.get_layer("wide_projection").output.shape == (None, 4)
    assert "narrow_projection" not in {layer.name for layer in head.layers}
    for value in (-1, True, 2.5):
        with pytest.raises(ValueError, match=f"`projection` must be an int, 0 for none. Received: {value}"):
            mm.build_head(inputs, mm.MultiClass("x", classes=["a", "b"]), fusion, projection=value)
