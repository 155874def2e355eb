"""The entailment model's graph, number for number, and its options."""

import keras
import numpy as np
import pytest

import mmkeras as mm

TOKENS = ("token_ids", "padding_mask", "segment_ids")


def small(**settings):
    keras.utils.set_random_seed(0)
    return mm.build_entailment_classifier(
        image_encoder="scratch", image_size=(32, 32), sequence_length=None, **settings
    )


def posts(model, rows=3):
    rng = np.random.default_rng(0)
    values = {
        "token_ids": rng.integers(1, 900, (rows, 6)),
        "padding_mask": np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0]])[:rows],
        "segment_ids": np.array([[0, 0, 0, 1, 1, 1]] * rows),
        "image_1": rng.uniform(0, 255, (rows, 32, 32, 3)).astype("float32"),
        "image_2": rng.uniform(0, 255, (rows, 32, 32, 3)).astype("float32"),
        "text_present": np.ones((rows, 1), "float32"),
        "image_present": np.ones((rows, 1), "float32"),
    }
    return {name: values[name] for name in model.input}


def test_it_has_the_tutorials_parameters():
    model = mm.build_entailment_classifier()
    assert model.count_params() == 34_404_611
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == 1_248_771
    assert {name: tensor.shape for name, tensor in model.input.items()} == {
        **dict.fromkeys(TOKENS, (None, 128)),
        "image_1": (None, 128, 128, 3),
        "image_2": (None, 128, 128, 3),
    }
    assert model.output["label"].shape == (None, 3)


OPTIONS = [
    {},
    {"modality_dropout": 0.3},
    {"cross_attention": True},
    {"cross_attention": True, "modality_dropout": 0.3},
    {"modalities": ["text"]},
    {"modalities": ["image"]},
]


@pytest.mark.parametrize("settings", OPTIONS)
def test_every_option_trains_reloads_and_keeps_rows_apart(settings, tmp_path):
    model = small(**settings)
    values = posts(model)
    towers = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    before = [tower.get_weights() for tower in towers]
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(values, {"label": np.array([0, 1, 2])}, verbose=0)
    for tower, weights in zip(towers, before, strict=True):
        for one, two in zip(tower.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(one, two)
    whole = model(values)["label"].numpy()
    alone = model({name: value[1:2] for name, value in values.items()})["label"].numpy()
    np.testing.assert_allclose(alone[0], whole[1], atol=1e-5)
    model.save(tmp_path / "entailment.keras")
    again = keras.saving.load_model(tmp_path / "entailment.keras")
    np.testing.assert_allclose(again(values)["label"], whole, atol=1e-5)


@pytest.mark.parametrize("cross_attention", [False, True])
def test_an_absent_modality_is_not_looked_at(cross_attention):
    model = small(modality_dropout=0.3, cross_attention=cross_attention)
    values = posts(model)
    values["image_present"][:] = 0
    before = model(values)["label"].numpy()
    values["image_1"] = values["image_1"] * 0 + 9
    np.testing.assert_allclose(model(values)["label"], before, atol=1e-6)
    values["image_present"][:] = 1
    assert np.abs(model(values)["label"].numpy() - before).max() > 1e-5


def test_both_images_go_through_one_tower():
    model = small(modalities=["image"])
    towers = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    assert len(towers) == 1
    values = posts(model)
    one = model(values)["label"].numpy()
    two = model({"image_1": values["image_2"], "image_2": values["image_1"]})["label"].numpy()
    assert np.abs(one - two).max() > 1e-5  # which is first matters: they stand side by side


def test_a_local_bert_is_loaded(tiny_bert):
    model = small(text_encoder=tiny_bert, modalities=["text"])
    values = {name: value % 50 for name, value in posts(model).items()}
    assert np.isfinite(model(values)["label"]).all()


@pytest.mark.parametrize(("settings", "message"), [
    ({"modalities": ["audio"]}, r"`modalities` must be some of \('text', 'image'\), each once. Received: \('audio',\)"),
    ({"modalities": []}, "each once. Received"),
    ({"modalities": ["text"], "cross_attention": True}, "need both modalities"),
    ({"modalities": ["image"], "modality_dropout": 0.1}, "need both modalities"),
    ({"image_size": 64}, r"`image_size` must be \(height, width\). Received: 64"),
    ({"sequence_length": 600, "modalities": "text"}, "at most the positions of the encoder, which has 512. Received: 600"),
    ({"num_classes": 1}, "an int of at least 2. Received: 1"),
    ({"modality_dropout": 1.0}, r"must lie in \[0, 1\)"),
    ({"image_encoder": "ResNet50v2", "modalities": ["image"]}, "Did you mean 'ResNet50V2'"),
])  # fmt: skip
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        mm.build_entailment_classifier(**{"image_encoder": "MobileNetV2", **settings})
