"""Images: decoding every format, files that cannot be read, towers, and the whole way."""

import io
import pathlib
import pickle
import struct
import subprocess
import sys

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image as Picture

import mmkeras as mm
from mmkeras.data import files
from mmkeras.data.columns import raw_values, row_keys
from mmkeras.data.files import Files
from mmkeras.data.recent import Recent
from mmkeras.layers import DecodeImage
from mmkeras.modalities.encoders.applications import application, load_weights

SIZE = (32, 24)
SMOOTH = np.stack([*np.meshgrid(np.arange(96), np.arange(64)), np.full((64, 96), 90)], axis=-1).astype("uint8") * 2


def encoded(picture, kind, **settings):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **settings)
    return buffer.getvalue()


def picture(array=SMOOTH):
    return Picture.fromarray(array)


def decode(*values, **settings):
    return DecodeImage(SIZE, **settings)(tf.constant(list(values))).numpy()


@pytest.mark.parametrize(
    ("kind", "settings", "most"),
    [
        ("PNG", {}, 0),
        ("BMP", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("WEBP", {"quality": 100}, 24),
        ("WEBP", {"lossless": True, "exif": b"Exif\0\0"}, 0),
        ("JPEG", {"quality": 98}, 8),
        ("GIF", {}, 40),
    ],
)
def test_every_format_gives_the_same_pixels(kind, settings, most):
    exact = decode(encoded(picture(), "PNG"))[0].astype(int)
    got = decode(encoded(picture(), kind, **settings))[0].astype(int)
    assert np.abs(got - exact).max() <= most


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA"])
def test_every_colour_mode_comes_out_as_rgb(mode):
    kind = "JPEG" if mode == "CMYK" else "PNG"
    got = decode(encoded(picture().convert(mode), kind))[0].astype(int)
    wanted = np.asarray(picture().convert(mode).convert("RGB").resize(SIZE[::-1], Picture.Resampling.BILINEAR), int)
    assert got.shape == (*SIZE, 3)
    assert np.abs(got - wanted).mean() < (16 if mode in ("P", "1", "CMYK") else 3)


def test_sixteen_bit_images_keep_their_range():
    deep = Picture.fromarray(SMOOTH[..., 0].astype("uint16") * 257)
    flat = decode(encoded(picture(SMOOTH[..., 0]), "PNG")).astype(int)
    np.testing.assert_allclose(decode(encoded(deep, "PNG")).astype(int), flat, atol=1)


def test_large_jpegs_are_decoded_smaller_and_look_the_same():
    big = picture().resize((96 * 20, 64 * 20), Picture.Resampling.BICUBIC)
    small, exact = decode(encoded(big, "JPEG", quality=95))[0], decode(encoded(big, "PNG"))[0]
    assert np.abs(small.astype(int) - exact.astype(int)).mean() < 2


def test_one_pixel_and_no_image():
    got = decode(encoded(picture(SMOOTH[:1, :1]), "PNG"), b"")
    assert (got[0] == SMOOTH[0, 0]).all() and (got[1] == 0).all()


def test_a_gif_gives_its_first_frame_on_its_screen():
    single = encoded(picture(), "GIF")
    others = {"save_all": True, "append_images": [picture(255 - SMOOTH), picture(SMOOTH[:, ::-1])]}
    several = encoded(picture(), "GIF", **others, comment=b"word " * 200, loop=0)
    np.testing.assert_array_equal(decode(several), decode(single))
    cut = single[:-1] + b",\0\0\0\0" + struct.pack("<HH", 20_000, 20_000) + b"\0\x08"  # later frames are not even read
    np.testing.assert_array_equal(decode(cut), decode(single))
    noise = picture(np.random.default_rng(0).integers(0, 256, (300, 300, 3), "uint8"))  # many blocks of data
    exact = decode(encoded(noise.convert("P", palette=Picture.Palette.ADAPTIVE).convert("RGB"), "PNG")).astype(int)
    data = encoded(noise.convert("P", palette=Picture.Palette.ADAPTIVE), "GIF")
    np.testing.assert_array_equal(decode(data)[0], exact[0])
    np.testing.assert_array_equal(decode(data[:-1] + data[data.index(b",") :])[0], exact[0])


def test_a_gif_frame_lies_where_it_belongs():
    wanted = np.zeros((100, 120, 3), "uint8")
    wanted[30:94, 20:116] = Picture.open(io.BytesIO(encoded(picture(), "GIF"))).convert("RGB")
    got = decode(gif_of(96, 64, (120, 100), left=20, top=30))
    np.testing.assert_array_equal(got, decode(encoded(picture(wanted), "PNG")))
    np.testing.assert_array_equal(decode(gif_of(96, 64, (5, 5))), decode(encoded(picture(), "GIF")))


def test_grey_transparent_and_downward_bmp():
    grey, colours = encoded(picture(SMOOTH[:, :95, 0]), "BMP"), encoded(picture(), "BMP")
    exact = decode(encoded(picture(SMOOTH[:, :95, 0]), "PNG"))
    bare = grey[:10] + struct.pack("<I", 54) + grey[14:54] + grey[54 + 1024 :]  # without a palette
    for data in (grey, bare):
        np.testing.assert_array_equal(decode(data), exact)
    transparent = encoded(picture().convert("RGBA"), "BMP")
    np.testing.assert_array_equal(decode(transparent), decode(colours))
    for data, array in ((colours, SMOOTH), (grey, SMOOTH[:, :95, 0])):
        downwards = data[:22] + struct.pack("<i", -64) + data[26:]
        np.testing.assert_array_equal(decode(downwards), decode(encoded(picture(array[::-1].copy()), "PNG")))


def test_all_formats_in_one_batch_inside_a_dataset_and_after_reload(tmp_path):
    several = {"save_all": True, "append_images": [picture(255 - SMOOTH)]}
    kinds = (("PNG", {}), ("GIF", several), ("BMP", {}), ("WEBP", {"lossless": True}), ("JPEG", {}))
    data = [encoded(picture(), kind, **settings) for kind, settings in kinds]
    data += [b"", encoded(picture().convert("L"), "BMP")]
    wanted = decode(*data)
    dataset = tf.data.Dataset.from_tensor_slices(data).batch(len(data)).map(DecodeImage(SIZE))
    np.testing.assert_array_equal(next(iter(dataset)), wanted)
    words = keras.Input((), dtype="string")
    keras.Model(words, DecodeImage(SIZE)(words)).save(tmp_path / "decode.keras")
    again = keras.saving.load_model(tmp_path / "decode.keras")
    np.testing.assert_array_equal(again(tf.constant(data)), wanted)


def png_header(width, height):
    body = b"IHDR" + struct.pack(">II", width, height) + b"\x08\x02\x00\x00\x00"
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + b"\0\0\0\0"


def webp_header(form, body):
    return b"RIFF" + b"\0" * 4 + b"WEBP" + form + b"\0" * 4 + body.ljust(20, b"\0")


def bmp_header(width, height, bits=24, packing=0, size=40):
    head = struct.pack("<IiiHHI", size, width, height, 1, bits, packing)
    return b"BM" + struct.pack("<III", 54, 0, 54) + head + b"\0" * 20


def gif_of(width, height, screen, left=0, top=0):
    """A GIF that claims another size of its frame and of its screen."""
    data = encoded(picture(), "GIF")
    at = data.index(b",\0\0\0\0" + struct.pack("<HH", 96, 64))
    frame = struct.pack("<HHHH", left, top, width, height)
    return data[:6] + struct.pack("<HH", *screen) + data[10 : at + 1] + frame + data[at + 9 :]


PNG = encoded(picture(), "PNG")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (png_header(20_000, 20_000), "at most 100000000 pixels"),
        (
            encoded(picture(), "JPEG").replace(struct.pack(">HH", 64, 96), struct.pack(">HH", 20_000, 20_000)),
            "at most 100000000",
        ),
        (b"BM" + b"\0" * 16 + struct.pack("<II", 20_000, 20_000) + b"\0" * 40, "at most 100000000 pixels"),
        (webp_header(b"VP8X", b"\0" * 4 + (15_999).to_bytes(3, "little") * 2), "at most 100000000 pixels"),
        (webp_header(b"VP8L", b"\x2f" + (15_999 + 15_999 * 2**14).to_bytes(4, "little")), "at most 100000000 pixels"),
        (
            webp_header(b"VP8 ", b"\0" * 3 + b"\x9d\x01\x2a" + struct.pack("<HH", 16_000, 16_000)),
            "at most 100000000 pixels",
        ),
        (b"GIF89a" + struct.pack("<HH", 20_000, 20_000), "at most 100000000 pixels"),
        (encoded(picture(), "JPEG")[:600], "(?i)jpeg|crop|truncated|invalid"),
        (b"no image at all", "JPEG, PNG, GIF, BMP or WebP file. Received: bytes that start with 6e 6f 20 69 6d 61 67"),
        (b"\xff\x0a" + b"\0" * 40, "start with ff 0a 00"),  # JPEG XL
        (b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0" * 40, "start with 00 00 00 0c 4a 58 4c 20"),
        (encoded(picture(), "TIFF"), "start with 49 49 2a 00"),
        (encoded(picture(), "AVIF"), "Convert it first"),
        (PNG[:8] + struct.pack(">I", 8) + b"abCd" + b"\0\0\0\1" * 3 + PNG[8:], "start with 89 50 4e 47"),
        (webp_header(b"\x2f\0\0\0", b""), "start with 52 49 46 46"),  # a frame without the header of its part
        (
            encoded(picture(), "WEBP", save_all=True, append_images=[picture(255 - SMOOTH)]),
            "still one. Received: an ani",
        ),
        (gif_of(20_000, 20_000, (96, 64)), "Received: 20000 × 20000"),
        (bmp_header(20_000, -20_000), "Received: 20000 × 20000"),
        (encoded(picture().convert("P"), "BMP"), "8 of plain grey.*8 bits, a palette of 226 colours.*Save it as PNG"),
        (encoded(picture().convert("1"), "BMP"), "24 or 32 bits per pixel.*Received: 1 bits"),
        (bmp_header(4, 4, bits=4), "Received: 4 bits"),
        (bmp_header(4, 4, bits=8, packing=1), "Received: 8 bits, a palette of 0 colours, compression 1"),
        (bmp_header(4, 4, size=12), "a header of 12 bytes"),
        (encoded(picture().convert("L"), "BMP")[:-1], "differ by -1"),
        (encoded(picture(), "GIF")[:2000], "(?i)gif"),
        (b"GIF89a", "(?i)gif"),
    ],
)
def test_what_is_no_image_is_refused(data, message):
    with pytest.raises(tf.errors.OpError, match=message):
        decode(data)


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(encoded(picture(), "PNG"))
    (tmp_path / "cut.jpg").write_bytes(encoded(picture(), "JPEG")[:500])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("none.png", FileNotFoundError, "no file of this name.*1 of 2 cells.*on_error='missing'"),
        ("cut.jpg", ValueError, "row 'y' of 'photo' holds .*cut.jpg"),
        ("empty.png", ValueError, "zero bytes"),
        ("folder", ValueError, "a folder, not a file"),
    ],
)
def test_faulty_files_name_their_row_or_count_as_missing(folder, name, error, message):
    df = pd.DataFrame({"photo": [str(folder / "a.png"), str(folder / name)]}, index=["x", "y"])
    with pytest.raises(error, match=message):
        raw_values(df, [mm.Image("photo", encoder="scratch")])
    with pytest.warns(UserWarning, match="1 of 2 images count as missing"):
        files = raw_values(df, [mm.Image("photo", encoder="scratch", on_error="missing")])["photo"]
    assert [bool(value) for value in np.asarray(files)] == [True, False]


def test_cells_are_paths_bytes_or_empty(folder):
    data = (folder / "a.png").read_bytes()
    df = pd.DataFrame({"photo": [folder / "a.png", data, None, float("nan"), ""]})
    image = mm.Image("photo", encoder="scratch")
    columns = raw_values(df, [image])
    assert np.asarray(columns["photo"][1:4]).tolist() == [data, b"", b""]
    keys = row_keys(image, columns)
    assert keys[0] == keys[1] != keys[2] == keys[3] == keys[4]
    for cells in ([pd.NA, data], pd.array([pd.NA, str(folder / "a.png")], dtype="string"), [pd.NaT, data]):
        files = raw_values(pd.DataFrame({"photo": cells}), [image])["photo"]
        assert np.asarray(files).tolist() == [b"", data]
    for cell, kind in ((3, "int"), (np.zeros((2, 2, 3)), "ndarray"), ([[data]], "list")):
        with pytest.raises(TypeError, match=f"paths or bytes of image files, or empty. Received: {kind}"):
            raw_values(pd.DataFrame({"photo": [cell]}), [image])


def test_messages_are_of_the_house_kind():
    image = mm.Image("photo", encoder="scratch")
    rest = r"\. 1 of 1 cells are at fault\. Correct"
    for data, message in (
        (png_header(20_000, 10_000), r"bytes: An image must have at most 100000000 pixels \(height × width\)\. "
         rf"Received: 10000 × 20000\. Scale it down first{rest}"),
        (b"MZ", rf"bytes: An image must be a .* file\. Received: bytes that start with 4d 5a\. Convert it first{rest}"),
        (encoded(picture().convert("P"), "BMP"), rf"bytes: A BMP image must .*header of 40 bytes\. Save it as PNG{rest}"),
        (encoded(picture(), "JPEG")[:600], rf"bytes: [^{{]*600{rest}"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            raw_values(pd.DataFrame({"photo": [data]}), [image])


def test_the_same_bytes_are_tried_once(monkeypatch):
    tried = []
    monkeypatch.setattr(files, "_faults", Recent(3))

    def attempt(data):
        tried.append(data)
        if data == b"bad":
            raise tf.errors.InvalidArgumentError(None, None, "it is bad")

    for _ in range(2):
        with pytest.warns(UserWarning, match="it is bad"):
            assert Files([b"a", b"bad", b""], range(3), "photo", attempt, on_error="missing").faulty == 1
    assert sorted(tried) == [b"a", b"bad"]
    Files([str(number).encode() for number in range(9)], range(9), "photo", attempt)
    assert len(files._faults) == 3


def test_what_is_known_of_files_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_known", Recent(3))
    read, real = [], files._read
    monkeypatch.setattr(files, "_read", lambda cell: read.append(cell) or real(cell))
    paths = [str(tmp_path / f"{number}.png") for number in range(5)]
    for path in paths:
        pathlib.Path(path).write_bytes(path.encode())
        assert Files([path], [0], "photo", len).faulty == 0
    assert len(files._known) == 3
    read.clear()
    for path in reversed(paths):  # the last three are known
        Files([path], [0], "photo", len)
    assert read == [paths[1], paths[0]]


def looks_whole():
    """Bytes that begin and end as a JPEG does, and are none."""
    return b"\xff\xd8\xff" + bytes(40) + b"\xff\xd9"


def jpegs(count):
    arrays = np.random.default_rng(0).integers(0, 256, (count, 20, 30, 3), dtype="uint8")
    return [encoded(picture(array), "JPEG") for array in arrays]


def frozen(**settings):
    image = mm.Image("photo", "MobileNetV2", weights=None, image_size=(32, 32), **settings)
    return mm.Pipeline([image, mm.Tabular(numeric=["x"])], mm.Regression("y"), encode_engine="tensorflow")


def test_the_pass_finds_what_a_look_at_a_file_does_not(tmp_path):
    good = jpegs(5)
    path = tmp_path / "bad.jpg"
    path.write_bytes(looks_whole())
    df = pd.DataFrame({"photo": [*good[:2], str(path), *good[2:]], "x": range(6), "y": range(6)})
    with pytest.raises(ValueError, match=r"Every image must be readable. Received: row 2 of 'photo'.*1 of 6 cells"):
        frozen().fit(df, validation_data=False, epochs=1, verbose=0)
    pipe = frozen(on_error="missing")
    with pytest.warns(UserWarning, match="1 of 6 images count as missing: row 2"):
        pipe.fit(df, validation_data=False, epochs=1, verbose=0)
    with pytest.warns(UserWarning, match="count as missing"):
        notes = pipe.evaluate(df).notes
        faulty, empty = pipe.predict(df)["y"], pipe.predict(df.assign(photo=[*good[:2], "", *good[2:]]))["y"]
    np.testing.assert_array_equal(faulty, empty)
    assert any("1 of 6 images in 'photo' could not be read" in note for note in notes)


def test_files_that_are_decoded_in_each_epoch_are_tried_before():
    df = pd.DataFrame({"photo": [encoded(picture(), "JPEG"), looks_whole()], "x": [0, 1], "y": [0, 1]})
    pipe = mm.Pipeline([mm.Image("photo", "scratch", image_size=(32, 32))], mm.Regression("y"))
    with pytest.raises(ValueError, match="Every image must be readable. Received: row 1 of 'photo'"):
        pipe.fit(df, validation_data=False, epochs=1, verbose=0)


def test_files_of_a_frozen_tower_are_read_for_the_pass_only(tmp_path, monkeypatch):
    paths = [tmp_path / f"{number}.jpg" for number in range(4)]
    for path, data in zip(paths, jpegs(4), strict=True):
        path.write_bytes(data)
    df = pd.DataFrame({"photo": [*map(str, paths), ""], "x": range(5), "y": range(5)})
    read, real = [], files._read
    monkeypatch.setattr(files, "_read", lambda cell: read.append(cell) or real(cell))
    pipe = frozen()
    pipe.fit(df, validation_data=False, epochs=3, verbose=0)
    assert [read.count(str(path)) for path in paths] == [1] * 4  # for its digest and for its pixels
    read.clear()
    pipe.predict(df)
    assert not any(read)


def test_one_column_as_text_and_as_image_is_an_error(folder):
    df = pd.DataFrame({"photo": [str(folder / "a.png")]})
    both = [mm.Text("photo", "lexical"), mm.Image("photo", "scratch")]
    for act in (lambda: mm.Pipeline(both, mm.MultiClass("label")), lambda: mm.make_dataset(df, both)):
        with pytest.raises(ValueError, match="read in one way. Received: 'photo' read both as text and as image. Copy"):
            act()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"encoder": "ResNet50v2"}, ValueError, "Did you mean 'ResNet50V2'"),
        ({"image_size": 224}, ValueError, "must be \\(height, width\\)"),
        ({"pooling": "cls"}, ValueError, "`pooling` must be one of"),
        ({"on_error": "skip"}, ValueError, "`on_error` must be one of"),
        ({"augment": "x"}, ValueError, "`augment` must be one of"),
        ({"dtype": "nope"}, ValueError, "`dtype` of `Image` must be a Keras dtype policy or None. Received: 'nope'"),
        ({"columns": ()}, ValueError, "must name a column"),
    ],
)
def test_settings_are_checked(settings, error, message):
    with pytest.raises(error, match=message):
        mm.Image(**{"columns": "photo", **settings})


def features(image, cells):
    df = pd.DataFrame(dict.fromkeys(image.columns, cells))
    image = image.adapt(df)
    prepare = mm.build_prepare([image])
    encode = mm.build_encode([image], prepare)
    raw = {column: tf.constant(np.asarray(files)) for column, files in raw_values(df, [image]).items()}
    return np.array(mm.chain(prepare, encode)(raw, training=False)[image.name]), encode


@pytest.mark.parametrize("pooling", ["avg", "max", None])
def test_columns_share_one_tower_and_absent_images_are_zero(folder, pooling):
    cells = [(folder / "a.png").read_bytes(), b""]
    single, encode = features(mm.Image("x", "scratch", image_size=(32, 32), pooling=pooling), cells)
    both, shared = features(mm.Image(("x", "y"), "scratch", image_size=(32, 32), pooling=pooling), cells)
    assert encode.count_params() == shared.count_params()
    assert single.shape[1:] == ((128,) if pooling else (4, 128))
    assert both.shape[1:] == ((256,) if pooling else (8, 128))
    assert np.abs(single[0]).max() > 0 and (single[1] == 0).all() and (both[1] == 0).all()


@pytest.mark.parametrize("top", [True, False])
def test_weights_load_with_and_without_the_top(tmp_path, folder, top):
    keras.utils.set_random_seed(1)
    network = application("MobileNetV2")[0](
        include_top=top, weights=None, **({} if top else {"input_shape": (64, 64, 3)})
    )
    network.save_weights(tmp_path / "net.weights.h5")
    image = mm.Image("x", "MobileNetV2", weights=str(tmp_path / "net.weights.h5"), image_size=(64, 64))
    vectors, encode = features(image, [folder / "a.png"])
    assert encode.get_layer("image_tower").weights[0].numpy() == pytest.approx(network.weights[0].numpy())
    assert vectors.shape == (1, 1280)
    with pytest.raises(ValueError, match="must fit MobileNet, with or without its top"):
        features(mm.Image("x", "MobileNet", weights=str(tmp_path / "net.weights.h5")), [folder / "a.png"])


@pytest.mark.parametrize("encoder", ["ResNet50", "ResNet50V2", "EfficientNetB0"])
def test_pixel_scaling_belongs_to_the_encoder(folder, tmp_path, encoder):
    keras.utils.set_random_seed(0)
    image = mm.Image("x", encoder, weights=None, image_size=(64, 64))
    vectors, encode = features(image, [folder / "a.png"])
    bare = application(encoder)[0](include_top=False, weights=None, input_shape=(64, 64, 3), pooling="avg")
    bare.set_weights(encode.get_layer("image_tower").get_weights())
    pixels = DecodeImage((64, 64))(tf.constant([(folder / "a.png").read_bytes()])).numpy().astype("float32")
    wanted = bare(application(encoder)[1](pixels), training=False)
    np.testing.assert_allclose(vectors, wanted, rtol=1e-4, atol=1e-5)
    encode.save(tmp_path / "encode.keras")
    again = keras.saving.load_model(tmp_path / "encode.keras")
    assert again.count_params() == encode.count_params()


def test_a_pipeline_of_images_runs_end_to_end(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for number in range(60):
        colour = rng.integers(2)
        array = rng.integers(0, 60, (20, 30, 3)).astype("uint8")
        array[..., colour] += 150
        (tmp_path / f"{number}.jpg").write_bytes(encoded(Picture.fromarray(array), "JPEG"))
        rows.append(
            {"photo": str(tmp_path / f"{number}.jpg") if number % 10 else "", "label": ["red", "green"][colour]}
        )
    df = pd.DataFrame(rows)
    pipe = mm.Pipeline([mm.Image("photo", "scratch", image_size=(32, 32))], mm.MultiClass("label"), units=16)
    pipe.fit(df, epochs=6, batch_size=8, verbose=0, learning_rate=3e-3)
    seen = df["photo"] != ""
    assert (pipe.predict_labels(df)[seen] == df["label"][seen]).mean() > 0.9
    pipe.save(tmp_path / "model")
    again = mm.load(tmp_path / "model")
    np.testing.assert_allclose(again.predict(df), pipe.predict(df), atol=1e-5)
    np.testing.assert_allclose(again.predict(df.iloc[[5]]), pipe.predict(df).iloc[[5]], atol=1e-5)
    pipe.export(tmp_path / "served")
    data = [(tmp_path / f"{n}.jpg").read_bytes() for n in (1, 2)]
    loaded = tf.saved_model.load(tmp_path / "served")
    served = loaded.serve({"photo": tf.constant([*data, b""])})
    np.testing.assert_allclose(served["label"], pipe.predict(df.iloc[[1, 2, 0]]), atol=1e-5)


def test_texts_and_images_are_served_in_a_fresh_process(tmp_path):
    df = mm.samples.entailment(40, 0, tmp_path / "images")
    pipe = mm.Pipeline(
        [
            mm.Text(["text_1", "text_2"], encoder="scratch", sequence_length=32, pooling="mean"),
            mm.Image(["image_1", "image_2"], encoder="scratch", image_size=(32, 32)),
        ],
        mm.MultiClass("label"),
        fusion="bilinear",
        units=16,
    )
    pipe.fit(df, epochs=1, verbose=0)
    pipe.export(tmp_path / "served")
    df.loc[0, ["text_1", "image_1"]] = ""
    raw = {c: np.array([s.encode() for s in df[c]]) for c in ("text_1", "text_2")}
    files = {c: [pathlib.Path(f).read_bytes() if f else b"" for f in df[c]] for c in ("image_1", "image_2")}
    with open(tmp_path / "raw.pkl", "wb") as stream:
        pickle.dump({**raw, **files}, stream)
    code = (
        "import pickle, sys, numpy, tensorflow as tf, tensorflow_text; folder = sys.argv[1]; "
        "raw = {k: tf.constant(list(v)) for k, v in pickle.load(open(folder + '/raw.pkl', 'rb')).items()}; "
        "served = tf.saved_model.load(folder + '/served'); "
        "numpy.save(folder + '/out.npy', served.serve(raw)['label'].numpy())"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), pipe.predict(df), atol=1e-5)


def test_the_report_counts_what_could_not_be_read(folder):
    df = pd.DataFrame({"photo": [str(folder / "a.png"), str(folder / "cut.jpg"), str(folder / "b.png"), ""] * 8})
    df["label"] = ["x", "y"] * 16
    pipe = mm.Pipeline([mm.Image("photo", "scratch", image_size=(16, 16), on_error="missing")], mm.MultiClass("label"))
    with pytest.warns(UserWarning, match="images count as missing"):
        pipe.fit(df, validation_data=False, epochs=1, verbose=0)
        text = str(pipe.evaluate(df))
    assert "8 of 32 images in 'photo' could not be read and counted as missing." in text
    assert "Empty DataFrame" not in text


def test_the_served_model_refuses_bombs_before_decoding(folder, tmp_path):
    df = pd.DataFrame({"photo": [str(folder / "a.png"), ""] * 8, "label": ["x", "y"] * 8})
    pipe = mm.Pipeline([mm.Image("photo", "scratch", image_size=(16, 16))], mm.MultiClass("label"))
    pipe.fit(df, validation_data=False, epochs=1, verbose=0)
    pipe.export(tmp_path / "served")
    loaded = tf.saved_model.load(tmp_path / "served")
    with pytest.raises(tf.errors.InvalidArgumentError, match="at most 100000000 pixels"):
        loaded.serve({"photo": tf.constant([png_header(20_000, 20_000)])})


def test_absent_images_of_a_pair_are_not_attended_to(folder):
    """A grid of two images: the patches of an absent one count as padding."""
    cells = pd.DataFrame({"x": [str(folder / "a.png")] * 2, "y": [str(folder / "b.png"), ""], "t": ["a word", "b"]})
    modalities = [
        mm.Text("t", "scratch", pooling=None).adapt(cells),
        mm.Image(("x", "y"), "scratch", None, (32, 32), None),
    ]
    prepare = mm.build_prepare(modalities)
    encode = mm.build_encode(modalities, prepare)
    task = mm.MultiClass("label", classes=["u", "v"])
    head = mm.build_head({**prepare.output, **encode.output}, task, "cross_attention", units=8)
    tensors = mm.chain(prepare, encode)
    raw = {name: tf.constant(np.asarray(v)) for name, v in raw_values(cells, modalities).items()}
    values = {**prepare(raw), **tensors(raw)}
    values = {key: values[key].numpy() for key in head.input}
    before = head(values)["label"].numpy()
    values["image"][1, 4:] = 50.0  # the second image's patches
    np.testing.assert_allclose(head(values)["label"], before, atol=1e-6)
    values["image"][1, :4] = 50.0
    assert np.abs(head(values)["label"].numpy() - before).max() > 1e-4


def test_weights_that_cannot_be_downloaded():
    def build(weights, **settings):
        raise Exception("URL fetch failure on https://example.org/w.h5")

    with pytest.raises(
        ValueError, match=r"download the weights of ResNet50V2 once. Received: URL fetch.*give a file of weights"
    ):
        load_weights(None, build, encoder="ResNet50V2", weights="imagenet", form={})
