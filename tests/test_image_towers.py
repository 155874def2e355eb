"""Towers of images from KerasHub presets, on small ones with random weights, and models of one's own."""

import io
import json
import shutil

import keras
import keras_hub
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image as Picture

import mmkeras as mm
from mmkeras.graph import all_layers, with_policy
from mmkeras.modalities.encoders import lora, presets
from mmkeras.modalities.encoders.hub_images import top_features

hub = keras_hub.models
SIZE, WIDTH = 32, 8
SCALE, OFFSET = [1 / 64, 1 / 50, 1 / 70], [-1.9, -2.1, -1.7]  # of each colour
BLOCKS = {"num_layers": 3, "hidden_dim": WIDTH, "num_heads": 2, "image_shape": (SIZE, SIZE, 3), "patch_size": 8}
VISION = {**BLOCKS, "intermediate_dim": 16}
TEXT = {
    "vocabulary_size": 20, "embedding_dim": WIDTH, "hidden_dim": WIDTH, "num_layers": 1, "num_heads": 2,
    "intermediate_dim": 16, "max_sequence_length": 8,
}  # fmt: skip
MADE = {
    "ViT": lambda: hub.ViTBackbone(**BLOCKS, mlp_dim=16),
    "DeiT": lambda: hub.DeiTBackbone(**VISION),
    "DINOv2": lambda: hub.DINOV2Backbone(**VISION, num_register_tokens=2, position_embedding_shape=(48, 48, 3)),
    "CLIP": lambda: hub.CLIPBackbone(hub.CLIPVisionEncoder(**VISION), hub.CLIPTextEncoder(**TEXT), 4),
    "SigLIP": lambda: hub.SigLIPBackbone(
        hub.SigLIPVisionEncoder(**VISION), hub.SigLIPTextEncoder(**TEXT, projection_dim=WIDTH)
    ),
    "ResNet": lambda: hub.ResNetBackbone([64], [3], [64, 64], [1, 1], [1, 2], "basic_block", use_pre_activation=False),
    "Swin": lambda: hub.SwinTransformerBackbone(
        image_shape=(SIZE, SIZE, 3), embed_dim=WIDTH, depths=(1, 1), num_heads=(1, 2), window_size=4
    ),
    "HGNetV2": lambda: hub.HGNetV2Backbone(
        [1, 1], 4, [WIDTH, 2 * WIDTH], [3, 4, 4], "relu", False,
        [[4, 4, WIDTH, 1, 1, 3], [WIDTH, 4, 2 * WIDTH, 1, 1, 3]], [False, True], [False, False],
    ),
}  # fmt: skip
# Tokens before the patches: class, registers, the one that is distilled.
BEFORE = {"ViT": 1, "DeiT": 2, "DINOv2": 3, "CLIP": 1}


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    """A function from a family to a directory of a small preset of it."""
    places = {}

    def place(family):
        if family not in places:
            keras.utils.set_random_seed(3)
            backbone, rng = MADE[family](), np.random.default_rng(0)
            for weight in backbone.trainable_weights:  # biases are 0 otherwise
                weight.assign(weight + rng.normal(0, 0.1, weight.shape))
            places[family] = str(tmp_path_factory.mktemp(family) / "preset")
            backbone.save_to_preset(places[family])
            kinds = keras_hub.layers.ImageConverter.__subclasses__()
            kind = next(kind for kind in kinds if kind.backbone_cls is type(backbone))
            kind(image_size=(SIZE, SIZE), scale=SCALE, offset=OFFSET).save_to_preset(places[family])
        return places[family]

    return place


def pixels(rows=3, size=SIZE):
    return np.random.default_rng(1).integers(0, 256, (rows, size, size, 3)).astype("float32")


def tower(folder, **settings):
    return mm.Image("photo", encoder=folder, **settings).made_encoder().tower()


def table(rows=12):
    def png(array):
        stream = io.BytesIO()
        Picture.fromarray(array.astype("uint8")).save(stream, "PNG")
        return stream.getvalue()

    return pd.DataFrame({"photo": [png(array) for array in pixels(rows, 40)], "label": ["a", "b"] * (rows // 2)})


def fitted(image):
    pipe = mm.Pipeline([image], mm.MultiClass("label"), units=4)
    pipe.fit(table(), validation_data=False, epochs=1, verbose=0)
    return pipe


def features_by_hand(family, folder):
    """(tokens before the patches or None, grid of patches) of the backbone on what the preset's converter makes of pixels."""
    backbone = hub.Backbone.from_preset(folder)
    backbone = getattr(backbone, "vision_encoder", backbone)
    if family == "SigLIP":  # what its head pools
        backbone = keras.Model(backbone.input, backbone.post_layer_norm.output)
    scaled = keras_hub.layers.ImageConverter.from_preset(folder)(pixels())
    named = isinstance(backbone.input, dict)
    features = backbone({"images": scaled} if named else scaled, training=False)
    features = np.asarray(features["stage2"] if family == "HGNetV2" else features)
    if features.ndim == 4:
        return None, features
    before = BEFORE.get(family, 0)
    side = round((features.shape[1] - before) ** 0.5)
    return features[:, :before], features[:, before:].reshape(len(features), side, side, -1)


@pytest.mark.parametrize("family", MADE)
def test_features_are_those_of_the_backbone_on_what_the_converter_gives(preset, family):
    before, patches = features_by_hand(family, preset(family))
    wanted = {"avg": patches.mean((1, 2)), "max": patches.max((1, 2)), None: patches}
    if family in BEFORE:
        wanted["cls"] = before[:, 0]
    else:
        with pytest.raises(ValueError, match="`pooling='cls'` needs an encoder with a class token"):
            tower(preset(family), pooling="cls")
    for pooling, values in wanted.items():
        made = tower(preset(family), pooling=pooling)
        np.testing.assert_allclose(made(pixels(), training=False), values, atol=1e-5)
        np.testing.assert_allclose(made(pixels()[1:2], training=False), values[1:2], atol=1e-5)


@pytest.mark.parametrize("family", ["DINOv2", "CLIP", "SigLIP"])
def test_top_blocks_stand_side_by_side(preset, family):
    top, two = tower(preset(family)), tower(preset(family), layers=2)
    assert two.output.shape == (None, 2 * WIDTH)
    np.testing.assert_allclose(two(pixels())[:, WIDTH:], top(pixels()), atol=1e-5)
    assert np.abs(two(pixels())[:, :WIDTH] - top(pixels())).max() > 1e-3
    with pytest.raises(ValueError, match="`layers` must be at most the number of blocks.*3. Received: 4"):
        tower(preset(family), layers=4)


@pytest.mark.parametrize(("family", "layers"), [("ViT", 1), ("CLIP", 2), ("Swin", 1)])
def test_a_saved_model_needs_neither_preset_nor_network(preset, tmp_path, monkeypatch, family, layers):
    shutil.copytree(preset(family), tmp_path / "preset")
    monkeypatch.chdir(tmp_path)
    pipe, df = fitted(mm.Image("photo", encoder="preset", layers=layers)), table()
    wanted = pipe.predict(df)
    np.testing.assert_allclose(pipe.predict(df.iloc[[3]]), wanted.iloc[[3]], atol=1e-5)
    pipe.save(tmp_path / "model")
    shutil.rmtree(tmp_path / "preset")
    monkeypatch.setattr(presets, "load", lambda *_, **__: pytest.fail("a preset was asked for"))
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was asked"))
    np.testing.assert_allclose(mm.load("model").predict(df), wanted, atol=1e-5)
    manifest = json.loads((tmp_path / "model" / "pipeline.json").read_text())
    for encoder in ("hf://somebody/model", "vit_base_patch16_224_imagenet"):
        manifest["modalities"][0]["encoder"] = encoder
        (tmp_path / "model" / "pipeline.json").write_text(json.dumps(manifest))
        np.testing.assert_allclose(mm.load(tmp_path / "model").predict(df), wanted, atol=1e-5)


@pytest.mark.parametrize("family", ["ViT", "CLIP", "Swin"])
def test_layers_calculate_in_the_dtype(preset, family):
    exact, rounded = tower(preset(family)), tower(preset(family), dtype="mixed_bfloat16")
    layers = [layer for layer in all_layers(rounded) if layer.weights and type(layer) is not type(rounded)]
    assert {layer.dtype_policy.name for layer in layers} == {"mixed_bfloat16"}
    np.testing.assert_allclose(keras.ops.cast(rounded(pixels()), "float32"), exact(pixels()), atol=0.1)


def test_adapters_are_saved_and_merged(preset, tmp_path):
    """Of layers within layers, which attend within windows."""
    pipe = fitted(mm.Image("photo", encoder=preset("Swin"), trainable="lora", lora_rank=2))
    values = lora.adapter_values(pipe.encode)
    assert len(values) == 2 * 10 and all(np.abs(value).max() > 0 for value in values.values())
    pipe.save(tmp_path / "saved")
    expected = pipe.predict(table())
    np.testing.assert_array_equal(mm.load(tmp_path / "saved").predict(table()), expected)
    pipe.export(tmp_path / "served")
    serve = tf.saved_model.load(str(tmp_path / "served")).signatures["serve"]
    np.testing.assert_allclose(serve(photo=tf.constant(table()["photo"].tolist()))["label"], expected, atol=1e-5)


def test_a_backbone_whose_layers_do_not_tell_their_settings_is_copied_by_its_own(preset):
    exact = tower(preset("DeiT"))
    rounded = with_policy(exact, "mixed_bfloat16")
    (encoder,) = (layer for layer in all_layers(rounded) if layer.name == "deit_encoder")
    assert encoder.compute_dtype == "bfloat16"
    np.testing.assert_allclose(keras.ops.cast(rounded(pixels()), "float32"), exact(pixels()), atol=0.1)


def test_the_size_is_the_presets_unless_it_is_written(preset):
    image = mm.Image("photo", encoder=preset("ResNet"))
    assert image.image_size is None and image.adapt(table()).image_size == (SIZE, SIZE)
    assert tower(preset("ResNet"), image_size=(48, 64)).input.shape == (None, 48, 64, 3)
    assert mm.Image("photo").image_size == (224, 224)
    with pytest.raises(ValueError, match=r"`image_size` must be \(32, 32\).*Received: \(48, 48\). Use \(32, 32\)"):
        tower(preset("ViT"), image_size=(48, 48))


def test_presets_that_cannot_be_towers_are_told(preset, tmp_path):
    hub.BertBackbone(20, 1, 2, WIDTH, 16).save_to_preset(str(tmp_path / "text"))
    with pytest.raises(ValueError, match="an image converter, which presets of images have. Received.*BertBackbone"):
        tower(str(tmp_path / "text"))
    with pytest.raises(ValueError, match="loadable by KerasHub as a text tokenizer. Received.*ViTBackbone"):
        mm.Text("photo", encoder=preset("ViT")).adapt(pd.DataFrame({"photo": ["a"] * 4}))
    photo = keras.Input((SIZE, SIZE, 3))
    masks = keras.Model(photo, {"mask": keras.layers.Conv2D(1, 1)(photo)})
    with pytest.raises(ValueError, match=r"features of an image. Received: 'sam', a Functional that gives \['mask'\]"):
        top_features(masks, 1, "sam")
    shutil.copytree(preset("ViT"), tmp_path / "bare")
    (tmp_path / "bare" / "model.weights.h5").unlink()
    with pytest.raises(ValueError, match="must hold weights"):
        tower(str(tmp_path / "bare"))
    assert tower(str(tmp_path / "bare"), weights=None).output.shape == (None, WIDTH)


def test_a_handle_that_cannot_be_downloaded_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr("socket.socket.connect", lambda *_: (_ for _ in ()).throw(OSError("no network")))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "downloads"))
    with pytest.raises(
        ValueError, match="'kaggle://a/b/keras/c'.*kept in .*downloads;.*into any folder and give its path"
    ):
        mm.Image("photo", encoder="kaggle://a/b/keras/c").adapt(table())


def own(path, *more, shape=(SIZE, SIZE, 3)):
    pixels = keras.Input(shape)
    x = keras.layers.Rescaling(1 / 255)(pixels)
    for layer in more:
        x = layer(x)
    keras.Model(pixels, x).save(path)
    return str(path)


def test_a_model_of_ones_own(tmp_path):
    file = own(tmp_path / "grid.keras", keras.layers.Conv2D(6, 8, 8))
    wanted = keras.models.load_model(file)(pixels())
    np.testing.assert_allclose(tower(file, pooling=None)(pixels()), wanted, atol=1e-5)
    np.testing.assert_allclose(tower(file, pooling="max")(pixels()), np.max(wanted, (1, 2)), atol=1e-5)
    pipe = fitted(mm.Image("photo", encoder=file))
    pipe.save(tmp_path / "model")
    (tmp_path / "grid.keras").unlink()
    np.testing.assert_allclose(mm.load(tmp_path / "model").predict(table()), pipe.predict(table()), atol=1e-5)


def test_models_of_ones_own_that_cannot_be_towers_are_told(tmp_path):
    flat = own(tmp_path / "flat.keras", keras.layers.GlobalAveragePooling2D())
    for settings, message in (
        ({"pooling": None}, r"must give \(B, h, w, D\)"),
        ({"pooling": "cls"}, "`pooling` must be one of"),
        ({"layers": 2}, "`layers` above 1 go with KerasHub presets"),
        ({"image_size": (64, 64)}, r"`image_size` must be \(32, 32\)"),
        ({"weights": "x.h5"}, "`weights` of a model of one's own are in its file"),
        ({"weights": None}, "`weights` of a model of one.s own are in its file"),
    ):
        with pytest.raises(ValueError, match=message):
            tower(flat, **settings)
    with pytest.raises(ValueError, match="without running code of the file, so no Lambda"):
        tower(own(tmp_path / "code.keras", keras.layers.Lambda(lambda x: x + 1)))
    with pytest.raises(ValueError, match="must take pixels"):
        tower(own(tmp_path / "numbers.keras", shape=(5,)))
    with pytest.raises(FileNotFoundError, match="does not exist"):
        tower(str(tmp_path / "none.keras"))
