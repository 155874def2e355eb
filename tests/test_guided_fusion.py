"""Fusions that look at patches as a question tells: by hand, absent pictures and questions, and which modality is looked at."""

import keras
import numpy as np
import pytest

import mmkeras as mm
from mmkeras.fusion import CrossAttentionFusion, FilmFusion, StackedAttentionFusion, WordAttentionFusion

BOTH = pytest.mark.parametrize("fusion", [FilmFusion, StackedAttentionFusion])
ALL = pytest.mark.parametrize("fusion", [FilmFusion, StackedAttentionFusion, WordAttentionFusion])
TASK = mm.MultiClass("y", classes=["u", "v", "w"])


def arguments(fusion=FilmFusion, rows=3):
    """Four patches, the last of which is not there, and a question; its three words, the last of which is padding, where a fusion reads words."""
    rng = np.random.default_rng(0)
    sizes = (rows, 4, 5), (rows, 3, 3) if fusion is WordAttentionFusion else (rows, 3)
    patches, question = (rng.normal(size=size).astype("float32") for size in sizes)
    values = [patches, np.tile([1.0, 1, 1, 0], (rows, 1)), np.ones((rows, 1), "float32"), question]
    words = [np.tile([1.0, 1, 0], (rows, 1)), np.ones((rows, 1), "float32")]
    return values + words * (fusion is WordAttentionFusion)


def layer_of(fusion, values, units=2):
    """The layer with weights drawn at random, biases and places too."""
    layer, rng = fusion(units, 1 if fusion is WordAttentionFusion else 2), np.random.default_rng(1)
    layer(*values)
    layer.set_weights([rng.normal(size=weight.shape) for weight in layer.get_weights()])
    return layer


def dense(layer, x):
    return x @ layer.kernel.numpy() + (layer.bias.numpy() if layer.bias is not None else 0)


def normal(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-3)


def patches_of(layer, patches):
    """The three patches that are there, as the layer sees them."""
    hidden = normal(dense(layer.project, patches[:3])) * layer.before.gamma.numpy() + layer.before.beta.numpy()
    return hidden + layer.places.numpy()[:3]


def modulated(layer, hidden, question):
    """Mean and maximum of patches, by hand, as a question has them."""
    for step in layer.steps:
        scale, shift = np.split(dense(step["modulate"], question), 2)
        seen = normal(dense(step["weigh"], np.maximum(dense(step["see"], hidden), 0)))
        hidden = hidden + np.maximum((1 + scale) * seen + shift, 0)
    return [*hidden.mean(0), *hidden.max(0)]


def test_film_by_hand():
    values = arguments()
    layer = layer_of(FilmFusion, values)
    wanted = [*modulated(layer, patches_of(layer, values[0][0]), values[3][0]), *values[3][0]]
    np.testing.assert_allclose(layer(*values).numpy()[0], wanted, rtol=1e-4)


def test_stacked_attention_by_hand():
    values = arguments(StackedAttentionFusion)
    layer = layer_of(StackedAttentionFusion, values)
    hidden, asked, taken = patches_of(layer, values[0][0]), np.tanh(dense(layer.ask, values[3][0])), []
    for look in layer.looks:
        together = np.tanh(dense(look["patches"], hidden) + dense(look["question"], asked))
        weights = np.exp(dense(look["weights"], together))[:, 0]
        weights /= weights.sum()
        asked = asked + weights @ hidden
        taken.append([*weights, 0])
    np.testing.assert_allclose(layer(*values).numpy()[0], asked, rtol=1e-4)
    np.testing.assert_allclose(layer.look(*values)[1].numpy()[0], taken, atol=1e-5)


def test_word_attention_by_hand():
    values = arguments(WordAttentionFusion)
    layer = layer_of(WordAttentionFusion, values)
    places = np.array([[-1, -1], [1, -1], [-1, 1]])
    hidden, words = patches_of(layer, np.concatenate([values[0][0, :3], places], axis=1)), values[3][0, :2]
    scores = dense(layer.queries, words) @ dense(layer.keys, hidden).T / np.sqrt(2)
    weights = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    seen = weights @ np.concatenate([dense(layer.seen, hidden), places], axis=1)
    much = (1 / (1 + np.exp(2 - scores))).sum(axis=1, keepdims=True) / np.sqrt(3)
    met = np.maximum(dense(layer.meet, np.concatenate([words, seen, much], axis=1)), 0)
    read = layer.read(met[None].astype("float32")).numpy()[0]
    wanted = [*read, *modulated(layer, hidden, words.mean(axis=0))]
    np.testing.assert_allclose(layer(*values).numpy()[0], wanted, rtol=1e-4)
    np.testing.assert_allclose(layer.looked(*values).numpy()[0], [*weights.mean(axis=0), 0], rtol=1e-4)


def test_where_cross_attention_looks_by_hand():
    patches, there, present, words, said, asked = (value.astype("float32") for value in arguments(WordAttentionFusion))
    layer = CrossAttentionFusion(4, 2)
    features, masks, presence = [words, patches], [said, there], [asked, present]
    head = mm.build_head(inputs(words=(None, 3), grid=(4, 5)), TASK, "cross_attention", units=4)
    assert head.get_layer("fusion").picture == 1  # what has a fixed length
    layer(features, masks, presence)
    layer.picture = 1
    hidden, _ = layer.read(features, masks, presence)
    query, key = layer.attentions[0].query_dense, layer.attentions[0].key_dense
    scores = np.einsum("thd,phd->htp", query(hidden[0])[0, :2], key(hidden[1])[0, :3]) / np.sqrt(2)
    weights = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    looked = layer.looked(*features, *masks, *presence).numpy()
    np.testing.assert_allclose(looked[0], [*weights.mean(axis=(0, 1)), 0], rtol=1e-4)
    presence = [asked, np.array([[1.0], [0], [1]], "float32")]
    np.testing.assert_allclose(layer.looked(*features, *masks, *presence).numpy().sum(axis=1), [1, 0, 1], rtol=1e-5)


def test_words_that_are_padding_or_absent_say_nothing():
    values = arguments(WordAttentionFusion)
    layer = layer_of(WordAttentionFusion, values)
    values[5][1] = 0
    before = layer(*values).numpy()
    words = values[3].copy()
    words[:, 2], words[1] = 99.0, np.nan
    np.testing.assert_array_equal(layer(*values[:3], words, *values[4:]).numpy(), before)
    assert np.isfinite(before).all() and (before[1, :2] == 0).all() and (before[1, 2:] != 0).all()  # the picture speaks
    np.testing.assert_array_equal(layer.looked(*values[:3], words, *values[4:]).numpy(), layer.looked(*values).numpy())
    np.testing.assert_array_equal(layer.looked(*values).numpy()[1], 0)
    turned = layer(*values[:3], values[3][:, [1, 0, 2]], *values[4:]).numpy()
    assert np.abs(turned[0] - before[0]).max() > 1e-3  # the order of words counts


@ALL
def test_what_is_not_there_is_not_looked_at(fusion):
    values = arguments(fusion)
    values[2][2] = 0
    layer = layer_of(fusion, values)
    before = layer(*values).numpy()
    changed = [value.copy() for value in values]
    changed[0][:, 3], changed[0][2] = np.nan, 99.0
    np.testing.assert_array_equal(layer(*changed), before)
    # Without a picture the question alone answers, whether patches are hidden or the picture is absent.
    blind = [values[0], np.zeros_like(values[1]), np.ones_like(values[2]), *values[3:]]
    np.testing.assert_allclose(layer(*blind).numpy()[2], before[2], rtol=1e-6)
    other = [*values[:3], values[3] + 1, *values[4:]]
    assert np.isfinite(before).all() and np.abs(layer(*other).numpy()[2] - before[2]).max() > 1e-3


@ALL
def test_looks_add_up_to_one_over_what_is_there(fusion):
    values = arguments(fusion)
    values[2][2] = 0
    weights = layer_of(fusion, values).looked(*values).numpy()
    np.testing.assert_allclose(weights.sum(axis=1), [1, 1, 0], rtol=1e-5)
    assert (weights[:, 3] == 0).all() and (weights >= 0).all()


def test_where_film_looks_by_hand():
    values = arguments(rows=1)
    layer = layer_of(FilmFusion, values)
    hidden = layer.modulated(layer.patches(*values[:3])[0], values[3]).numpy()[0, :3]
    wanted = np.bincount(hidden.argmax(axis=0), minlength=4) / 2  # of two units
    np.testing.assert_allclose(layer.looked(*values).numpy()[0], wanted)


@ALL
def test_rows_do_not_see_each_other(fusion):
    values = arguments(fusion)
    layer = layer_of(fusion, values)
    whole = layer(*values).numpy()
    for row in range(3):
        np.testing.assert_allclose(
            layer(*(x[row : row + 1] for x in values)).numpy()[0], whole[row], rtol=1e-5, atol=1e-6
        )


@ALL
def test_the_order_of_places_counts(fusion):
    values = arguments(fusion)
    layer = layer_of(fusion, values)
    swapped = [values[0][:, [1, 0, 2, 3]], *values[1:]]
    assert np.abs(layer(*swapped).numpy() - layer(*values).numpy()).max() > 1e-3


def inputs(**shapes):
    features = {name: keras.Input(shape) for name, shape in shapes.items()}
    return features | {f"{name}.present": keras.Input((1,)) for name in shapes}


@BOTH
@pytest.mark.parametrize(("shapes", "places"), [
    ({"words": (None, 6), "grid": (4, 3), "table": (2,)}, (4, 8)),  # patches have fixed places, tokens have none
    ({"grid": (9, 3), "words": (None, 6), "second": (4, 5)}, (9, 8)),  # of two pictures the first
    ({"words": (None, 6), "table": (2,)}, None),  # without a picture, tokens are looked at
])  # fmt: skip
def test_which_modality_is_looked_at(fusion, shapes, places):
    features = inputs(**shapes) | {"words.padding_mask": keras.Input((None,))}
    layer = mm.build_head(features, TASK, fusion.label, units=8).get_layer("fusion")
    assert type(layer) is fusion and (None if layer.places is None else tuple(layer.places.shape)) == places


@pytest.mark.parametrize("fusion", ["film", "stacked_attention", "bilinear"])
def test_a_question_counts_what_it_asks_for(fusion):
    """Which of two colours a question names is what a patch must hold: neither the picture nor the question tells alone."""
    rng = np.random.default_rng(0)
    asked, colours = rng.integers(2, size=400), rng.integers(2, size=(400, 2)).astype("float32")
    patches = rng.permuted(np.concatenate([np.zeros((400, 3, 1)), np.ones((400, 1, 1))], axis=1), axis=1)  # where it is
    values = {"grid": patches * colours[:, None], "words": np.eye(2)[asked]}
    values |= {f"{name}.present": np.ones((400, 1)) for name in ("grid", "words")}
    head = mm.build_head(inputs(grid=(4, 2), words=(2,)), TASK, fusion, units=16, dropout=0.0)
    head.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy", jit_compile=False)
    answers = colours[np.arange(400), asked].astype(int)
    head.fit(values, answers, batch_size=50, epochs=10, verbose=0)
    assert (head(values)["y"].numpy().argmax(axis=1) == answers).mean() > 0.95


def test_words_find_where_a_thing_is():
    """Words name a colour and a side: what counts is the place of that colour alone."""
    rng = np.random.default_rng(0)
    places = np.stack([rng.permutation(4)[:2] for _ in range(600)])  # of both colours, in a grid of 2 × 2
    asked, side = rng.integers(2, size=600), rng.integers(2, size=600)
    patches = np.stack([places[:, [colour]] == np.arange(4) for colour in range(2)], axis=-1).astype("float32")
    words = np.stack([np.eye(4)[asked], np.eye(4)[2 + side]], axis=1).astype("float32")
    values = {"grid": patches, "words": words, "words.padding_mask": np.ones((600, 2), "int32")}
    values |= {f"{name}.present": np.ones((600, 1)) for name in ("grid", "words")}
    answers = (places[np.arange(600), asked] % 2 == side).astype(int)
    features = inputs(grid=(4, 2), words=(None, 4)) | {"words.padding_mask": keras.Input((None,))}
    keras.utils.set_random_seed(0)
    head = mm.build_head(features, TASK, "word_attention", units=16, dropout=0.0)
    head.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", jit_compile=False)
    head.fit(values, answers, batch_size=50, epochs=30, verbose=0)
    assert (head(values)["y"].numpy().argmax(axis=1) == answers).mean() > 0.95


@BOTH
def test_errors(fusion):
    patches, there, present, question = arguments()
    with pytest.raises(
        ValueError, match=r"looks at patches \(B, P, D\) .*Received shapes: .*Use pooling=None in `Image`"
    ):
        fusion(4)(question, there, present, question)
    with pytest.raises(ValueError, match=r"Received shapes: .*pool the question"):
        fusion(4)(patches, there, present, patches)
    with pytest.raises(ValueError, match=rf"`units` of {fusion.__name__} must be a positive int. Received: 0"):
        fusion(0)
    for value in (0, True, 1.5):
        with pytest.raises(ValueError, match=rf"must be a positive int. Received: {value}. Use for example 2"):
            fusion(4, value)
    with pytest.raises(ValueError, match="needs a modality that gives sequences .*'flat': \\(None, 5\\).*pooling=None"):
        mm.build_head(inputs(flat=(5,), wide=(7,)), TASK, fusion.label)


def test_word_attention_needs_words_and_heads_that_divide():
    with pytest.raises(ValueError, match=r"reads words \(B, T, Q\). Received shape: .* Use pooling=None in `Text`"):
        WordAttentionFusion(4)(*arguments(), *arguments(WordAttentionFusion)[4:])
    for value in (0, 3, True, 1.5):
        with pytest.raises(
            ValueError, match=rf"`heads` must be a positive int that divides `units`, 4. Received: {value}"
        ):
            WordAttentionFusion(4, value)
    with pytest.raises(ValueError, match="`blocks` of WordAttentionFusion must be a positive int. Received: 0"):
        WordAttentionFusion(4, 2, 0)
    with pytest.raises(ValueError, match="'word_attention' needs two modalities that give sequences"):
        mm.build_head(inputs(grid=(4, 3), flat=(5,)), TASK, "word_attention")


@pytest.mark.parametrize(("shapes", "grid", "width"), [
    ({"words": (None, 6), "grid": (4, 3), "table": (2,)}, (4, 2), 26),
    ({"grid": (6, 3), "words": (None, 6)}, (6, 1), 24),  # no square: a row of places
    ({"words": (None, 6), "more": (None, 5)}, (1, 0), 24),  # of two texts the first is looked at
    ({"grid": (4, 3), "second": (9, 3), "words": (None, 6)}, (4, 2), 27),  # patches are no words
])  # fmt: skip
def test_words_look_at_the_picture_and_others_join_afterwards(shapes, grid, width):
    masks = {f"{name}.padding_mask": keras.Input((None,)) for name in ("words", "more") if name in shapes}
    head = mm.build_head(inputs(**shapes) | masks, TASK, "word_attention", units=8)
    assert head.get_layer("fusion").grid.shape == grid and head.get_layer("hidden_0").input.shape[-1] == width
