"""Audio: what is read of a recording, what is refused, and that a model of sounds learns, tells, is saved and served."""

import argparse
import dataclasses
import io
import math
import struct
import wave

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from saved_models import Frames, shared
from scipy.signal import resample_poly

import mmkeras as mm
from mmkeras.data.files import MAX_BYTES
from mmkeras.data.sample import Sample
from mmkeras.data.sounds import SoundColumn, wav_bytes
from mmkeras.evaluation.rivals import Prior
from mmkeras.layers import DecodeSound, LogMel, MaskBands, PoolSteps, StandardizeFrames, VarySound
from mmkeras.modalities.encoders import lora
from mmkeras.modalities.encoders.hub_sounds import WhisperMel
from mmkeras.trunk.engines.converted import OpenVINO

RATE = 8000
RNG = np.random.default_rng(0)
NOISE = RNG.uniform(-0.9, 0.9, 900).astype("float32")


def wav(samples, rate=RATE, bits=16, kind=1, channels=1, size=None, before=b""):
    """A WAV file by hand, with samples in bytes."""
    width = channels * bits // 8
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, kind, channels, rate, rate * width, width, bits)
    data = struct.pack("<4sI", b"data", len(samples) if size is None else size) + samples
    return b"RIFF" + struct.pack("<I", 4 + len(form) + len(before) + len(data)) + b"WAVE" + before + form + data


def integers(samples, bits):
    whole = np.round(samples.astype("float64") * 2 ** (bits - 1)).astype("int64")
    if bits == 8:
        return (whole + 128).astype("uint8").tobytes()
    return b"".join(int(value).to_bytes(bits // 8, "little", signed=True) for value in whole)


def decoded(data, rate=RATE, samples=900):
    sound = DecodeSound(rate, samples)(tf.constant([data]))
    return sound["samples"].numpy()[0], int(sound["lengths"][0])


def tone(pitch, seconds=0.25, rate=RATE):
    return (0.5 * np.sin(2 * np.pi * pitch * np.arange(int(seconds * rate)) / rate)).astype("float32")


def audio(**settings):
    return mm.Audio("sound", **{"sampling_rate": RATE, "bands": 16, **settings})


@pytest.fixture(scope="module")
def calls():
    """Low and high tones, as samples; what a low one means is said by a word."""
    rng = np.random.default_rng(0)
    pitches = rng.choice([300.0, 1500.0], 48)
    sounds = [tone(pitch * rng.uniform(0.9, 1.1), rng.uniform(0.2, 0.3)) for pitch in pitches]
    return pd.DataFrame({"sound": sounds, "high": np.where(pitches > 1000, "yes", "no")})


@pytest.fixture
def recordings(tmp_path):
    """Function of a number that writes so many files, and gives their paths."""

    def write(count):
        paths = [tmp_path / f"{number}.wav" for number in range(count)]
        for number, path in enumerate(paths):
            path.write_bytes(wav_bytes(tone(200 + number), RATE))
        return list(map(str, paths))

    return write


# === WAV files ===


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_integers_of_any_width(bits):
    samples, length = decoded(wav(integers(NOISE, bits), bits=bits))
    np.testing.assert_allclose(samples, NOISE, atol=0.51 / 2 ** (bits - 1) + 1e-7)
    assert length == 900


@pytest.mark.parametrize(("bits", "dtype"), [(32, "float32"), (64, "float64")])
def test_floats_may_be_beyond_full_scale(bits, dtype):
    samples, _ = decoded(wav((3 * NOISE).astype(dtype).tobytes(), bits=bits, kind=3))
    np.testing.assert_allclose(samples, 3 * NOISE, rtol=1e-6)


def test_chunks_before_the_samples_and_an_extensible_form():
    data = wav(integers(NOISE, 16), before=b"LIST" + struct.pack("<I", 3) + b"abc\0")
    np.testing.assert_allclose(decoded(data)[0], NOISE, atol=2e-5)
    form = struct.pack("<HHIIHHHHI16s", 0xFFFE, 1, RATE, 4 * RATE, 4, 32, 22, 32, 4, struct.pack("<H", 3))
    chunk = b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", 3600) + NOISE.tobytes()
    np.testing.assert_array_equal(decoded(b"RIFF\0\0\0\0WAVE" + chunk)[0], NOISE)


def test_a_file_of_pythons_own_writer_in_stereo():
    buffer, both = io.BytesIO(), np.stack([NOISE, -0.5 * NOISE], axis=1)
    with wave.open(buffer, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.round(both * 2**15).astype("<i2").tobytes())
    np.testing.assert_allclose(decoded(buffer.getvalue())[0], 0.25 * NOISE, atol=2e-5)


def test_eight_channels_are_mixed_to_their_mean():
    both = np.stack([NOISE * number for number in range(8)], axis=1) / 8
    np.testing.assert_allclose(decoded(wav_bytes(both, RATE))[0], NOISE * 28 / 64, atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 192000, 7999, 44101])
def test_rates_change_as_scipy_changes_them(rate):
    noise = RNG.normal(size=rate // 10).astype("float32")
    shared = math.gcd(rate, 16000)
    wanted = resample_poly(noise.astype("float64"), 16000 // shared, rate // shared)
    samples, length = decoded(wav_bytes(noise, rate), 16000, 2000)
    assert length == len(wanted)
    error = np.sqrt(np.mean((samples[:length] - wanted) ** 2) / np.mean(wanted**2))
    assert 20 * np.log10(error) < -100  # −60 is what was asked for
    cut, length = decoded(wav_bytes(noise, rate), 16000, 500)  # of a long sound only the begin is read
    np.testing.assert_allclose(cut, samples[:500], atol=1e-5)
    assert length == 500


def test_a_sound_of_one_sample_and_no_sound():
    samples, length = decoded(wav(b"\x00\x40"), samples=3)
    assert samples.tolist() == [0.5, 0, 0] and length == 1
    assert decoded(b"")[1] == 0


HEAD = "whole. Received: a head that claims"
BAD = {
    "zero samples": (wav(b""), "A sound must have a sample at least. Received: none. Leave the cell empty"),
    "NaN": (
        wav(np.float32([0, np.nan]).tobytes(), bits=32, kind=3),
        "must be finite numbers. Received: NaN or infinity",
    ),
    "a text": (b"These are no samples.", "WAV, FLAC, OGG or MP3 file. Received: bytes that start with 54 68 65"),
    "truncated": (wav(integers(NOISE, 16))[:-5], f"{HEAD} 1800 bytes of samples, of which 1795 are there"),
    "4 GB": (wav(b"\0\0", size=2**32 - 1), f"{HEAD} 4294967295 bytes of samples, of which 2 are there"),
    "rate 0": (wav(b"\0\0", rate=0), "from 1,000 to 768,000 samples a second. Received: 0. Write it anew"),
    "no channels": (wav(b"\0\0", channels=0), "from 1 to 64 channels. Received: 0"),
    "ADPCM": (wav(b"\0\0", kind=2, bits=4), "floats of 32 or 64. Received: form 2 of 4 bits. Convert it"),
    "no samples": (b"RIFF\x04\0\0\0WAVE", "then hold them. Received: a file of 12 bytes without both"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_sound_is_refused_or_missing(name, tmp_path, calls):
    data, message = BAD[name]
    path = tmp_path / "broken.wav"
    path.write_bytes(data)
    df = pd.DataFrame({"sound": [calls["sound"][0], str(path), None]})
    with pytest.raises(ValueError, match="Every sound must be readable.*row 1 of 'sound'.*broken.wav") as refused:
        audio().adapt(df)
    assert message in str(refused.value) and "use on_error='missing'" in str(refused.value)
    with pytest.warns(UserWarning, match="1 of 3 sounds count as missing"):
        values = audio(on_error="missing").reading(df).raw_values(df)["sound"]
    assert [len(data) > 0 for data in np.asarray(values)] == [True, False, False]
    if data[:4] == b"RIFF":  # a served model says it, too
        with pytest.raises(tf.errors.InvalidArgumentError, match=message[:60]):
            DecodeSound(RATE, 100)(tf.constant([data]))


def test_a_file_that_is_not_there_or_too_long(tmp_path):
    df = pd.DataFrame({"sound": [str(tmp_path / "none.wav")]})
    with pytest.raises(FileNotFoundError, match="there is no file of this name"):
        audio().adapt(df)
    with pytest.raises(ValueError, match="it has 1,844 bytes, more than `max_bytes`, 1,000"):
        audio(max_bytes=1000).adapt(pd.DataFrame({"sound": [wav(integers(NOISE, 16))]}))


def test_silence_and_clipping_are_sounds(calls):
    silent, loud = np.zeros(2000), np.sign(tone(440))
    adapted = audio().adapt(calls)
    df = pd.DataFrame({"sound": [silent, loud.astype("float32")]})
    features = np.asarray(heard(adapted, df)[1]["audio"])
    assert np.isfinite(features).all() and np.abs(features[0] - features[1]).max() > 1e-3


def stages(adapted):
    prepare = mm.build_prepare([adapted])
    return prepare, mm.build_encode([adapted], prepare)


def heard(adapted, df):
    """What both stages give for a DataFrame."""
    prepare, encode = stages(adapted)
    tensors = prepare({name: np.asarray(values) for name, values in adapted.raw_values(df).items()})
    return tensors, encode(tensors)


# === Cells ===


def test_paths_bytes_arrays_lists_and_dictionaries_together(tmp_path):
    path = tmp_path / "noise.wav"
    path.write_bytes(wav(integers(NOISE, 16)))
    cells = [
        str(path), path, path.read_bytes(), NOISE, NOISE.astype("float64"), NOISE.tolist(), NOISE[:, None],
        np.round(NOISE * 2**15).astype("int16"), np.round(NOISE * 2**15).astype(">i2"), NOISE.astype(">f4"),
        {"array": NOISE, "sampling_rate": RATE}, "", None,
    ]  # fmt: skip
    series = pd.Series(cells, name="sound")
    data = np.asarray(SoundColumn(sampling_rate=RATE).values(series))
    assert [bool(cell) for cell in data] == [True] * 11 + [False] * 2
    for cell in data[:11]:
        np.testing.assert_allclose(decoded(cell)[0], NOISE, atol=2e-5)


@pytest.mark.parametrize(
    "cell",
    [np.array([5, 70_000]), np.zeros((2, 2, 2)), ["a", "b"], np.zeros((4, 100)), np.array([0.5j]), [0.5, 10**400]],
)
def test_what_are_no_samples_is_refused(cell):
    with pytest.raises(ValueError, match=r"Samples of 'sound' must be numbers \(N,\) or \(N, C\)"):
        SoundColumn().values(pd.Series([cell], name="sound"))


@pytest.mark.parametrize("rate", [-1, 2**40, None, "8000", float("nan")])
def test_a_rate_beside_samples_must_be_one(rate):
    with pytest.raises(ValueError, match="'sampling_rate' beside samples of 'sound' must be a number"):
        SoundColumn().values(pd.Series([{"array": NOISE, "sampling_rate": rate}], name="sound"))


@pytest.mark.parametrize("form", ["FLAC", "OGG", "MP3"])
def test_other_files_become_wav_files(form, tmp_path):
    soundfile = pytest.importorskip("soundfile")
    if form not in soundfile.available_formats():
        pytest.skip(f"libsndfile without {form}")
    path = tmp_path / f"tone.{form.lower()}"
    soundfile.write(path, tone(440, 1.0, 16000), 16000, format=form)
    (data,) = np.asarray(SoundColumn().values(pd.Series([str(path)], name="sound")))
    samples, length = decoded(data, 16000, 16000)
    heard = np.abs(np.fft.rfft(samples))
    assert data[:4] == b"RIFF" and length > 15000 and abs(np.argmax(heard) - 440) <= 1


def test_without_soundfile_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
    with pytest.raises(ValueError, match=r"pip install 'mmkeras\[audio\]'"):
        audio().adapt(pd.DataFrame({"sound": [b"fLaC" + bytes(range(40))]}))


# === Settings, and what is learnt ===


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"columns": ["a", "b"]}, "`Audio` reads one column"),
        ({"windows": 0}, "`windows` must be an int from 1 to 1,000. Received: 0"),
        ({"sampling_rate": 10}, "`sampling_rate` must be an int from 1,000"),
        ({"seconds": 0}, "`seconds` must be a number from 0.2 to 3600"),
        ({"seconds": "3"}, "`seconds` must be a number from 0.2 to 3600, or None. Received: '3'"),
        ({"on_error": "skip"}, "`on_error` must be one of"),
        ({"encoder": "image:MobileNotV2"}, "Did you mean 'MobileNetV2'"),
        ({"encoder": "image:scratch"}, "must be a pretrained one of `Image`"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        mm.Audio(**{"columns": "sound", **settings})


def test_the_window_is_what_most_recordings_have():
    df = pd.DataFrame({"sound": [np.ones(RATE // 2)] * 39 + [np.ones(RATE * 60)]})
    assert audio().adapt(df).seconds_heard == 0.5
    assert audio(seconds=3).adapt(df).seconds_heard == 3.0
    assert audio().adapt(df.tail(1)).seconds_heard == 10.0


def test_windows_of_a_long_recording_are_pooled():
    low, high = tone(300, 0.25), tone(1500, 0.25)
    df = pd.DataFrame({"sound": [low, high[:500], np.concatenate([low, high[:500]]), low]})
    adapted = audio(seconds=0.25, windows=3).adapt(df)
    tensors, features = heard(adapted, df)
    assert tensors["audio.samples"].shape == (4, 3, 2000)
    np.testing.assert_allclose(tensors["audio.filled"], [[1, 0, 0], [0.25, 0, 0], [1, 0.25, 0], [1, 0, 0]])
    features = np.asarray(features["audio"])
    np.testing.assert_allclose(features[2], 0.8 * features[0] + 0.2 * features[1], atol=1e-4)


# === Layers ===


def test_log_mel_is_the_formula_of_librosa():
    rate, bands = 8000, 20
    samples = RNG.normal(size=1600) * 0.1
    padded = np.pad(samples, 128, mode="reflect")
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(200) / 200)
    window = np.pad(hann, 28)
    frames = np.stack([padded[start : start + 256] * window for start in range(0, 1601, 80)])
    power = np.abs(np.fft.rfft(frames)) ** 2
    to_mel = lambda hertz: 2595 * np.log10(1 + hertz / 700)  # noqa: E731
    edges = 700 * (10 ** (np.linspace(to_mel(20), to_mel(4000), bands + 2) / 2595) - 1)
    bins, weights = np.linspace(0, 4000, 129), np.zeros((129, bands))
    for band in range(bands):
        low, middle, high = edges[band : band + 3]
        weights[:, band] = np.clip(np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)), 0, None)
    wanted = np.log(np.maximum(power @ weights, 1e-6))
    heard = LogMel(rate, bands)(samples[None].astype("float32"))[0]
    np.testing.assert_allclose(heard, wanted, atol=1e-4)


def test_a_spectrum_is_standardised_over_its_sound_alone():
    spectrum = RNG.normal(3, 2, (1, 6, 4)).astype("float32")
    there = np.array([[1, 1, 1, 1, 0, 0]], "float32")
    given = np.asarray(StandardizeFrames()(spectrum, there))[0]
    np.testing.assert_allclose(given[:4].mean(), 0, atol=1e-5)
    assert given[:4].std() == pytest.approx(1, abs=1e-2) and not given[4:].any()
    louder = np.asarray(StandardizeFrames()(spectrum + 5, there))[0]
    np.testing.assert_allclose(louder, given, atol=1e-4)


def test_long_spectra_are_standardised_and_pooled_in_single_precision():
    spectrum, there = RNG.normal(-13, 1, (1, 1000, 64)).astype("float32"), np.ones((1, 1000), "float32")
    for layer in (StandardizeFrames(dtype="mixed_float16"), PoolSteps(dtype="mixed_float16")):
        assert np.isfinite(layer(spectrum * 10, there)).all()


def test_variation_is_of_training_alone():
    samples, filled = tone(440)[None], np.array([[1.0]], "float32")
    for layer, arguments in (
        (VarySound(seed=0), (samples, filled)),
        (MaskBands(seed=0), (samples[:, :80].reshape(1, 8, 10),)),
    ):
        still, moved = layer(*arguments), layer(*arguments, training=True)
        first = lambda given: np.asarray(given[0] if isinstance(given, list) else given)  # noqa: E731
        np.testing.assert_array_equal(first(still), arguments[0])
        assert np.abs(first(moved) - arguments[0]).max() > 0.01


def test_a_faster_sound_is_shorter_and_higher():
    layer = VarySound(speed=0.0, shift=0.5, seed=1)
    samples, filled = np.arange(1.0, 9.0, dtype="float32")[None], np.array([[0.5]], "float32")
    moved, share = (np.asarray(x)[0] for x in layer(samples, filled, training=True))
    shift = (share[0] - 0.5) * 8
    assert 0 < shift < 4
    np.testing.assert_allclose(
        moved, np.interp(np.arange(8) - shift, np.arange(-1, 9), [0, *range(1, 9), 0], left=0), atol=1e-4
    )
    tones = np.tile(tone(400), (20, 1))
    varied, share = VarySound(speed=0.2, shift=0.0, seed=0)(tones, np.ones((20, 1), "float32"), training=True)
    peaks = np.argmax(np.abs(np.fft.rfft(np.asarray(varied))), axis=1) * RATE / tones.shape[1]
    assert peaks.min() < 380 and peaks.max() > 420 and (peaks > 310).all() and (peaks < 490).all()
    assert np.asarray(share)[np.argmax(peaks)] < 0.95


# === A model ===


@pytest.fixture(scope="module")
def fitted(calls):
    keras.utils.set_random_seed(0)
    df = calls.assign(noise=np.arange(len(calls)) % 7)
    pipe = mm.Pipeline([audio(augment=False), mm.Tabular(numeric="noise")], mm.MultiClass("high"), units=16)
    pipe.fit(df, epochs=5, batch_size=8, validation_data=False, seed=0, verbose=0)
    return pipe, df


def test_a_model_learns_and_tells_of_sounds(fitted, tmp_path, monkeypatch):
    monkeypatch.setattr(mm.MultiClass, "rivals", (Prior,))  # the others know nothing of sounds
    pipe, df = fitted
    rows = df.head(12).copy()
    rows.loc[rows.index[0], "sound"] = None
    report = pipe.evaluate(rows, missing=True, verbose=0)
    assert report.missing.loc["audio", "accuracy"] > report.missing.loc["tabular", "accuracy"]
    page = (report.to_html(tmp_path / "report.html")).read_text(encoding="utf-8")
    assert page.count("<audio controls preload=none src='data:audio/wav;base64,UklGR") == 11
    assert page.count("<p>(no sound)</p>") == 1


def test_explanations_are_of_moments(fitted):
    pipe, df = fitted
    explanation = mm.explain(pipe, df.head(2))
    moments = explanation.pieces["audio"][0]
    seconds = len(df["sound"][0]) / RATE
    assert moments[0][0].startswith("0.00–0.0") and float(moments[-1][0].partition("–")[0]) < seconds
    assert explanation.plot(0) is not None
    shares = explanation.modalities["audio"].abs()
    assert (shares > explanation.modalities["tabular"].abs()).all()


def test_saved_and_served_models_hear_the_same(fitted, tmp_path):
    pipe, df = fitted
    wanted = pipe.predict(df).to_numpy()
    pipe.save(tmp_path / "model")
    loaded = mm.load(tmp_path / "model")
    np.testing.assert_allclose(loaded.predict(df).to_numpy(), wanted, atol=1e-6)
    pipe.export(tmp_path / "served")
    served = tf.saved_model.load(str(tmp_path / "served"))
    files = [wav(integers(sound, 24), bits=24) for sound in df["sound"]]
    given = served.serve({"sound": tf.constant(files), "noise": tf.constant(df["noise"].to_numpy("float32"))})
    np.testing.assert_allclose(given["high"], pipe.predict(df.assign(sound=files)).to_numpy(), atol=1e-5)


def test_suggestions_and_the_command_line_know_sounds(recordings):
    paths = recordings(30)
    df = pd.DataFrame({"call": paths, "label": ["a", "b"] * 15})
    suggestion = mm.suggest(df, "label")
    assert [type(modality).__name__ for modality in suggestion.modalities] == ["Audio"]
    assert SoundColumn().claim(Sample(df["label"])) is None
    parser = argparse.ArgumentParser()
    mm.Audio.add_options(parser)
    (modality,) = mm.Audio.from_options(parser.parse_args(["--audio", "call", "--audio-encoder", "image:MobileNetV2"]))
    assert modality == mm.Audio("call", encoder="image:MobileNetV2", on_error="missing")


# === Encoders ===


def test_scratch_and_several_windows_keep_the_contract(calls):
    mm.testing.check_encoder(audio(windows=2, seconds=0.2), calls.head(12))


@pytest.fixture(scope="module")
def own_model(tmp_path_factory):
    waves = keras.Input((2000,))
    x = keras.layers.Conv1D(4, 80, 40, activation="relu")(keras.layers.Reshape((2000, 1))(waves))
    path = tmp_path_factory.mktemp("own") / "waves.keras"
    keras.Model(waves, x).save(path)
    return str(path)


def test_a_model_of_ones_own(own_model, calls):
    modality = audio(encoder=own_model)
    mm.testing.check_encoder(modality, calls.head(12))
    assert modality.choices() == {"dropout_audio": [0.5, 0.8]} and audio().choices() == {}  # what a search tries
    assert modality.adapt(calls).samples == 2000
    with pytest.raises(ValueError, match="takes 2,000 samples is known. Received: 1.0"):
        audio(encoder=own_model, seconds=1.0)


def test_silence_behind_a_sound_counts_in_no_mean_over_time(tmp_path):
    waves = keras.Input((1999,))  # no multiple of what explanations tell of
    frames = keras.layers.Conv1D(4, 80, 40)(keras.layers.Reshape((1999, 1))(waves))
    keras.Model(waves, frames).save(tmp_path / "odd.keras")
    df = pd.DataFrame({"sound": [tone(440), tone(440, 0.1)]})
    tensors, features = heard(audio(encoder=str(tmp_path / "odd.keras")).adapt(df), df)
    frames = np.asarray(keras.models.load_model(tmp_path / "odd.keras")(tensors["audio.samples"][:, 0]))
    np.testing.assert_allclose(features["audio"], [frames[0].mean(axis=0), frames[1, :20].mean(axis=0)], atol=1e-6)


def test_a_frozen_model_is_stored_and_explained(own_model, calls, tmp_path):
    pipe = mm.Pipeline([audio(encoder=own_model)], mm.MultiClass("high"), units=8)
    pipe.fit(calls, epochs=2, validation_data=False, verbose=0, cache_dir=tmp_path / "cache")
    assert mm.explain(pipe, calls.head(1)).pieces["audio"][0]


@pytest.fixture(scope="module")
def presets(tmp_path_factory):
    """{name: folder} of a Whisper and a Moonshine that are very small."""
    import keras_hub

    keras.utils.set_random_seed(0)
    size = {"vocabulary_size": 9, "hidden_dim": 8, "intermediate_dim": 8}
    whisper = keras_hub.models.WhisperBackbone(num_layers=1, num_heads=2, max_encoder_sequence_length=200, **size)
    heads = {"encoder_num_layers": 1, "decoder_num_layers": 1, "encoder_num_heads": 2, "decoder_num_heads": 2}
    moonshine = keras_hub.models.MoonshineBackbone(filter_dim=8, **heads, **size)
    converters = keras_hub.layers.WhisperAudioConverter(), keras_hub.layers.MoonshineAudioConverter()
    folders = {name: str(tmp_path_factory.mktemp(name)) for name in ("whisper", "moonshine")}
    for folder, parts in zip(folders.values(), ((whisper, converters[0]), (moonshine, converters[1])), strict=True):
        for part in parts:
            part.save_to_preset(folder)
    return folders


def test_whisper_and_moonshine_hear(presets, calls):
    mm.testing.check_encoder(mm.Audio("sound", encoder=presets["whisper"], seconds=0.5), calls.head(12))
    modality = mm.Audio("sound", encoder=presets["moonshine"], seconds=0.5).adapt(calls)
    assert np.asarray(heard(modality, calls.head(2))[1]["audio"]).shape == (2, 8)
    with pytest.raises(ValueError, match="`sampling_rate` of .* must be 16000. Received: 8000"):
        stages(audio(encoder=presets["whisper"]).adapt(calls))
    with pytest.raises(ValueError, match="`seconds` of .* must be at most 2. Received: 3. Hear a long recording"):
        stages(mm.Audio("sound", encoder=presets["whisper"], seconds=3).adapt(calls))
    with pytest.raises(ValueError, match="must be loadable by KerasHub as an audio converter|as a speech backbone"):
        stages(audio(encoder="no_such_preset").adapt(calls))


def test_whisper_hears_what_keras_hubs_converter_gives_in_every_engine(tmp_path):
    import keras_hub

    pytest.importorskip("openvino")
    convert = keras_hub.layers.WhisperAudioConverter(max_audio_length=1)
    sounds, wave = np.stack([NOISE, 0.1 * NOISE]), keras.Input((900,), name="wave")
    tower = keras.Model({"wave": wave}, {"mel": WhisperMel(convert.get_config())(wave)})
    np.testing.assert_allclose(tower({"wave": sounds})["mel"], np.asarray(convert(sounds)), atol=1e-5)
    sample = {"wave": sounds}, None
    run = OpenVINO("f32", "").open(tower, bytes(16), folder=tmp_path, rows=2, sample=sample)
    np.testing.assert_allclose(next(run([sample[0]]))["mel"], np.asarray(convert(sounds)), atol=1e-4)


def test_a_pretrained_tower_trains_by_lora(presets, calls):
    modality = mm.Audio("sound", encoder=presets["whisper"], seconds=0.25)
    assert modality.train_tower("lora").trainable == "lora" and modality.train_tower(3) is modality
    pipe = mm.Pipeline([dataclasses.replace(modality, trainable="lora", lora_rank=2)], mm.MultiClass("high"), units=8)
    pipe.fit(calls.head(8), epochs=1, learning_rate=0.05, validation_data=False, verbose=0)
    adapters = [weight for weight in pipe.encode.get_layer("audio_tower").weights if lora.is_adapter(weight)]
    assert len(adapters) == 2 * 8 and all(np.abs(weight).max() > 0.01 for weight in adapters)


def test_a_saved_model_such_as_yamnet(calls):
    folder, wave = shared("sounds"), tone(440)
    hear, frames = mm.hub.HubSoundEncoder(folder), Frames()(wave)[1].numpy()
    np.testing.assert_allclose(hear(wave[None])[0], frames.mean(axis=0), atol=1e-6)
    modality = audio(encoder=folder, seconds=0.25)
    rows = pd.DataFrame({"sound": [wave, wave[:600], None]})  # of silence behind a sound nothing counts
    features = np.asarray(heard(modality.adapt(calls), rows)[1]["audio"])
    wanted = [
        frames.mean(axis=0),
        np.append(frames[:3], Frames()(np.pad(wave[480:600], (0, 40)))[1], axis=0).mean(axis=0),
    ]
    np.testing.assert_allclose(features, [*wanted, np.zeros(12)], atol=1e-5)
    with pytest.raises(ValueError, match="A sound encoder of TF-Hub is frozen"):
        audio(encoder=folder, trainable=True)
    assert modality.train_tower(True) is modality


def test_a_spectrum_as_a_picture(tmp_path, calls):
    pixels = keras.Input((16, 24, 3))
    path = str(tmp_path / "pixels.keras")
    keras.Model(pixels, keras.layers.Conv2D(4, 8, 8)(pixels)).save(path)
    modality = audio(encoder=f"image:{path}")
    mm.testing.check_encoder(modality, calls.head(12))


def test_recordings_are_read_when_they_are_needed(recordings, tmp_path):
    paths = recordings(6)
    values = SoundColumn().values(pd.Series(paths, name="sound"))
    assert values.cells == paths and MAX_BYTES == 1 << 27
    (tmp_path / "3.wav").write_bytes(b"")  # what was read for its digest waits in little memory, and goes
    assert len(np.asarray(values[np.array([3])])[0]) > 44
