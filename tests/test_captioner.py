"""The captioner's graph, number for number; captions of pixels and files; the model that serves them."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras.inference.generate import generate_from_patches
from mmkeras.layers import learn_vocabulary, teacher_forcing
from mmkeras.models import build_caption_server

VOCABULARY = learn_vocabulary(["a red dog runs", "a blue cat sleeps", "two birds fly"])
SIZE = (48, 64)


def small(**settings):
    keras.utils.set_random_seed(1)
    settings = {"image_encoder": "scratch", "weights": None, "image_size": SIZE, "sequence_length": None, **settings}
    model = mm.build_captioner(len(VOCABULARY), 16, **settings)
    table = model.get_layer("decoder").embedding.embeddings
    table.assign(np.random.default_rng(0).normal(size=table.shape))  # so that captions differ
    return model


def pixels_of(rows=3):
    return np.random.default_rng(0).integers(0, 256, (rows, *SIZE, 3), dtype="uint8")


def png(pixels):
    return tf.io.encode_png(pixels).numpy()


def trained(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def test_it_has_the_tutorials_parameters():
    model = mm.build_captioner(weights=None)
    encoder, decoder = model.get_layer("encoder"), model.get_layer("decoder")
    assert (encoder.count_params(), trained(encoder)) == (55_123_680, 786_944)
    assert (decoder.count_params(), trained(decoder)) == (22_076_960, 22_076_960)
    assert encoder.output.shape == (None, 64, 512)
    shapes = {name: tensor.shape for name, tensor in model.input.items()}
    assert shapes == {"image": (None, 299, 299, 3), "caption": (None, 64)}
    assert model.output.shape == (None, 64, 20_000)


def test_the_encoder_brings_pixels_to_its_networks_range():
    encoder = mm.build_captioner(50, 8, image_encoder="MobileNetV2", weights=None, image_size=SIZE).get_layer("encoder")
    pixels = pixels_of(1).astype("float32")
    tower = encoder.get_layer("tower")
    grid = tower.layers[-1](pixels / 127.5 - 1)
    wanted = encoder.get_layer("bring")(tf.reshape(grid, (1, -1, grid.shape[-1])))
    np.testing.assert_allclose(encoder(pixels), wanted, atol=1e-4)


OPTIONS = [{}, {"tied": True, "heads": 4, "first_state": "patches", "dropout": 0.1}]


@pytest.mark.parametrize("settings", OPTIONS)
def test_it_trains_reloads_and_keeps_rows_apart(settings, tmp_path):
    model = small(**settings)
    tokens = mm.layers.CaptionTokens(VOCABULARY, 8)(tf.constant(["a red dog", "two birds fly", "a cat"]))
    read, wanted = teacher_forcing(tokens)
    inputs = {"image": pixels_of(), "caption": read.numpy()}
    model.compile("adam", mm.losses.MaskedTokenCrossentropy(), metrics=[mm.losses.MaskedTokenAccuracy()])
    history = model.fit(inputs, wanted.numpy(), epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all() and 0 <= history["token_accuracy"][0] <= 1
    whole = model(inputs).numpy()
    alone = model({name: value[1:2] for name, value in inputs.items()}).numpy()
    np.testing.assert_allclose(alone[0], whole[1], atol=1e-5)
    model.save(tmp_path / "captioner.keras")
    np.testing.assert_allclose(keras.saving.load_model(tmp_path / "captioner.keras")(inputs), whole, atol=1e-6)


def test_a_pretrained_network_stays_as_it_is_unless_it_is_to_train():
    for trainable in (False, True):
        model = small(image_encoder="MobileNetV2", trainable=trainable)
        assert bool(model.get_layer("encoder").get_layer("tower").trainable_weights) == trainable


def test_captions_of_pixels_bytes_and_paths_are_the_same(tmp_path):
    model, pixels = small(), pixels_of(5)
    files = [png(image) for image in pixels]
    for number, data in enumerate(files):
        (tmp_path / f"{number}.png").write_bytes(data)
    settings = {"method": "beam", "beam_width": 3, "max_length": 6}
    wanted = mm.generate(model, pixels, VOCABULARY, **settings)
    assert len(wanted) == 5 and wanted.grid == (3, 4) and wanted.attention.shape == (5, 6, 12)
    assert wanted.tokens.shape == wanted.step_log_probabilities.shape == (5, 6)
    for images in (files, [tmp_path / f"{number}.png" for number in range(5)]):
        got = mm.generate(model, images, VOCABULARY, batch_size=2, **settings)
        assert got.texts == wanted.texts
        np.testing.assert_allclose(got.log_probabilities, wanted.log_probabilities, atol=1e-5)
    for number, text in enumerate(wanted.texts):
        assert len(text.split()) == wanted.lengths[number] == len(wanted.maps(number))
        assert all(weights.shape == (3, 4) for _, weights in wanted.maps(number))
    assert mm.generate(model, files[0], VOCABULARY, **settings).texts == wanted.texts[:1]
    assert mm.generate(model, pixels[0], VOCABULARY, **settings).texts == wanted.texts[:1]


def test_sampled_captions_do_not_depend_on_batches():
    model, pixels = small(), pixels_of(5)
    settings = {"method": "sample", "max_length": 6, "seed": 4}
    one, two = (mm.generate(model, pixels, VOCABULARY, batch_size=size, **settings) for size in (5, 2))
    assert one.texts == two.texts


def test_captions_of_patches_with_masks():
    model = small()
    patches = model.get_layer("encoder")(pixels_of().astype("float32"))
    mask = np.ones(patches.shape[:2], bool)
    plain = generate_from_patches(model.get_layer("decoder"), [patches], VOCABULARY, max_length=4)
    masked = generate_from_patches(model.get_layer("decoder"), [(patches, mask)], VOCABULARY, max_length=4)
    assert plain.texts == masked.texts and plain.grid is None


@pytest.mark.parametrize("settings", [{}, {"method": "beam", "beam_width": 3}])
def test_the_server_is_saved_exported_and_answers_in_another_process(settings, tmp_path):
    model, pixels = small(), pixels_of()
    server = build_caption_server(model, VOCABULARY, max_length=6, **settings)
    data = np.array([png(image) for image in pixels], dtype=object)
    wanted = mm.generate(model, pixels, VOCABULARY, max_length=6, **settings)
    assert [text.decode() for text in server({"image": tf.constant(data)})["caption"].numpy()] == wanted.texts
    server.save(tmp_path / "server.keras")
    server.export(str(tmp_path / "served"), verbose=False)
    np.save(tmp_path / "files.npy", data)
    code = (
        "import sys, numpy as np, tensorflow as tf; folder = sys.argv[1]; "
        "files = tf.constant(np.load(folder + '/files.npy', allow_pickle=True)); "
        "model = tf.saved_model.load(folder + '/served'); served = model.serve({'image': files})['caption'].numpy(); "
        "import keras, mmkeras; "
        "loaded = keras.saving.load_model(folder + '/server.keras')({'image': files})['caption'].numpy(); "
        "print([b'|'.join(texts).decode() for texts in (served, loaded)])"
    )
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert run.stdout.strip().splitlines()[-1] == str(["|".join(wanted.texts)] * 2)


def test_the_server_shows_what_the_captioner_learns():
    model = small()
    server = build_caption_server(model, VOCABULARY, max_length=4)
    data = tf.constant([png(image) for image in pixels_of()])
    model.get_layer("decoder").output_layer.bias.assign([0, 0, 0, 1e3] + [0] * (len(VOCABULARY) - 4))
    assert server({"image": data})["caption"].numpy().tolist() == [b""] * 3


@pytest.mark.parametrize(("images", "settings", "error", "message"), [
    ([], {}, ValueError, "`images` must hold an image. Received: none"),
    (np.zeros((2, 32, 32, 3)), {}, ValueError, r"of shape \(N, 48, 64, 3\).*Received: shape \(2, 32, 32, 3\)"),
    ([png(pixels_of()[0]), b"no image", png(pixels_of()[1])], {}, ValueError, "Every image must be readable.*row 1"),
    ([png(pixels_of()[0]), ""], {}, ValueError, "Received: nothing for image 1; 1 of 2 are empty"),
    (["/no/such/file.png"], {}, FileNotFoundError, "there is no file of this name"),
    (pixels_of(), {"beam_width": 0, "method": "beam"}, ValueError, "`beam_width` must be an int of at least 1"),
    (pixels_of(), {"batch_size": 0}, ValueError, "`batch_size` must be a positive int. Received: 0"),
])  # fmt: skip
def test_what_cannot_be_captioned(images, settings, error, message):
    with pytest.raises(error, match=message):
        mm.generate(small(), images, VOCABULARY, **settings)


def test_another_vocabulary_is_refused():
    for make in (
        lambda words: mm.generate(small(), pixels_of(), words),
        lambda words: build_caption_server(small(), words),
    ):
        with pytest.raises(ValueError, match="one word for each logit of the model. Received: 6 words, "):
            make(VOCABULARY[:6])


@pytest.mark.parametrize(("settings", "message"), [
    ({"vocabulary_size": 0}, "`vocabulary_size` of CaptionDecoder must be a positive int. Received: 0"),
    ({"sequence_length": 0}, "`sequence_length` must be None or a positive int. Received: 0"),
    ({"heads": 7}, "`heads` must be None or an int that divides `width`. Received: 7 heads, width 512"),
    ({"first_state": "mean"}, r"`first_state` must be one of \('zeros', 'patches'\). Received: 'mean'"),
    ({"dropout": 1.0}, r"`dropout` of CaptionDecoder must lie in \[0, 1\). Received: 1.0"),
    ({"image_encoder": "MobileNetv2"}, "Did you mean 'MobileNetV2'"),
])  # fmt: skip
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        mm.build_captioner(**{"weights": None, **settings})
