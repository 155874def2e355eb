"""The tutorial's graph, number for number."""

import pathlib

import keras
import numpy as np
import pytest

import mmkeras as mm


def test_genre_classifier_has_the_tutorials_parameters():
    model = mm.build_genre_classifier()
    trainable = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    assert model.count_params() == 66_478_052
    assert trainable == 113_636
    assert {name: tensor.shape for name, tensor in model.input.items()} == {
        "token_ids": (None, 512), "padding_mask": (None, 512), "numeric": (None, 4),
    }  # fmt: skip
    assert model.output["genres"].shape == (None, 20)


def test_genre_classifier_with_a_local_encoder_trains_and_reloads(tiny_bert, tmp_path):
    model = mm.build_genre_classifier(pathlib.Path(tiny_bert), num_numeric=2, num_classes=3, sequence_length=None)
    x = {
        "token_ids": np.ones((4, 6), "int32"),
        "padding_mask": np.ones((4, 6), "int32"),
        "numeric": np.ones((4, 2), "float32"),
    }
    model.compile("adam", "binary_crossentropy")
    tower = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    frozen = tower.get_weights()
    model.fit(x, np.zeros((4, 3)), verbose=0)
    for before, after in zip(frozen, tower.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    model.save(tmp_path / "genre.keras")
    again = keras.saving.load_model(tmp_path / "genre.keras")
    np.testing.assert_allclose(again(x)["genres"], model(x)["genres"], atol=1e-6)


@pytest.mark.parametrize("settings", [{"num_numeric": 0}, {"num_classes": -1}, {"num_classes": "20"}])
def test_genre_classifier_refuses_bad_counts(settings):
    with pytest.raises(ValueError, match="must be a positive int. Received"):
        mm.build_genre_classifier(**settings)
