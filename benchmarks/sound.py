"""What is heard of spoken digits, how exactly sounds are read, and how much memory many recordings take.

    python benchmarks/sound.py DATA --speakers          # leave a speaker out, six times
    python benchmarks/sound.py DATA --official          # takes 0 to 4 of each speaker and digit are judged
    python benchmarks/sound.py DATA --choice            # settings, chosen without the speakers that are judged
    python benchmarks/sound.py DATA --beside            # digits with what is known of the speaker
    python benchmarks/sound.py DATA --exact             # resampling, the mel spectrum, and the served model
    python benchmarks/sound.py DATA --memory            # as recordings grow tenfold

DATA holds data/audio/audio.csv (file, digit, speaker, take, gender, accent), https://github.com/Jakobovski/free-spoken-digit-dataset.
"""

import argparse
import math
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import pandas as pd

SOUND = {"sampling_rate": 8000, "bands": 40, "seconds": 0.8}
TRAINING = {"epochs": 25, "batch_size": 32, "learning_rate": 2e-3, "validation_data": False, "verbose": 0}
PAIRS = ((0, 1), (2, 3), (4, 5))


def digits(data):
    """DataFrame of the recordings, with whole paths."""
    folder = pathlib.Path(data) / "data" / "audio"
    df = pd.read_csv(folder / "audio.csv")
    return df.assign(file=[str(folder / name) for name in df["file"]], digit=df["digit"].astype(str))


def learnt(train, seed=0, beside=(), **settings):
    """A Pipeline that has learnt digits of `train`."""
    import mmkeras as mm

    modalities = [mm.Audio("file", **{**SOUND, **settings}), *beside]
    pipe = mm.Pipeline(modalities, mm.MultiClass("digit"), dropout=0.3)
    pipe.fit(train, seed=seed, **TRAINING)
    return pipe


def accuracy(pipe, rows):
    return float((np.array(pipe.predict_labels(rows)) == rows["digit"].to_numpy()).mean())


def speakers(df, seed):
    """Accuracy on each speaker by a model that heard the others."""
    scores = {}
    for speaker in sorted(df["speaker"].unique()):
        start, out = time.monotonic(), df["speaker"] == speaker
        scores[speaker] = accuracy(learnt(df[~out], seed), df[out])
        print(f"  {speaker:<10} {scores[speaker]:.3f}   {time.monotonic() - start:.0f} s", flush=True)
    print(f"leave one speaker out: mean accuracy {np.mean(list(scores.values())):.3f} (MFCC + SVM .743)")


def official(df, seed):
    """Accuracy on takes 0 to 4 by a model that heard the others."""
    judged = df["take"] < 5
    print(f"official split: accuracy {accuracy(learnt(df[~judged], seed), df[judged]):.4f} (MFCC + SVM .977)")


def choice(df, seed):
    """For each speaker, how settings do on another speaker, by models that heard neither.

    What is judged on a speaker takes the setting that was best on the other of the pair.
    """
    names = sorted(df["speaker"].unique())
    for settings in ({}, {"augment": False}, {"bands": 64}):
        for pair in PAIRS:
            out = [df["speaker"] == names[number] for number in pair]
            pipe = learnt(df[~(out[0] | out[1])], seed, **settings)
            for number, judged in zip(pair, out[::-1], strict=True):
                other = names[pair[1] if number == pair[0] else pair[0]]
                print(f"  {settings}: for {names[number]}, {accuracy(pipe, df[judged]):.3f} on {other}", flush=True)


def beside(df, seed):
    """What each modality gives, judged on the official split."""
    import mmkeras as mm

    judged = df["take"] < 5
    pipe = learnt(df[~judged], seed, beside=[mm.Tabular(categorical=["gender", "accent"], name="speaker")])
    report = pipe.evaluate(df[judged], missing=True, explain=True, verbose=0)
    print(report.missing.round(3).to_string(), "\n", report.earned.round(4).to_string())


def exact(df):
    """How far sounds are from what scipy, librosa and `predict` make of them."""
    import tensorflow as tf
    from scipy.signal import resample_poly

    import mmkeras as mm
    from mmkeras.data.sounds import wav_bytes

    rng = np.random.default_rng(0)
    for rate in (8000, 11025, 22050, 32000, 44100, 48000, 96000, 192000, 44101):
        noise, shared = rng.normal(size=rate // 2).astype("float32"), math.gcd(rate, 16000)
        wanted = resample_poly(noise.astype("float64"), 16000 // shared, rate // shared)
        given = mm.layers.DecodeSound(16000, len(wanted))(tf.constant([wav_bytes(noise, rate)]))["samples"][0].numpy()
        error = 10 * np.log10(np.mean((given - wanted) ** 2) / np.mean(wanted**2))
        print(f"  {rate:>7} Hz to 16,000: {error:.0f} dB from scipy's polyphase filter")
    try:
        import librosa
    except ImportError:
        print("  librosa is not installed: pip install librosa")
    else:
        decode = mm.layers.DecodeSound(8000, 8000)
        samples = decode(tf.constant([pathlib.Path(df["file"][0]).read_bytes()]))["samples"][0].numpy()
        form = {"n_fft": 256, "win_length": 200, "hop_length": 80, "center": True, "pad_mode": "reflect", "power": 2.0}
        form |= {"n_mels": 40, "fmin": 20, "fmax": 4000, "htk": True, "norm": None}
        wanted = np.log(np.maximum(librosa.feature.melspectrogram(y=samples, sr=8000, **form).T, 1e-6))
        given = mm.layers.LogMel(8000, 40)(samples[None])[0].numpy()
        print(f"  log-mel: {np.abs(given - wanted).max():.1e} from librosa's (htk=True, norm=None, pad_mode='reflect')")
    some = df.sample(200, random_state=0)
    TRAINING["epochs"] = 3
    pipe = learnt(some)
    with tempfile.TemporaryDirectory() as folder:
        pipe.export(folder)
        served = tf.saved_model.load(folder)
        files = tf.constant([pathlib.Path(path).read_bytes() for path in some["file"]])
        apart = np.abs(served.serve({"file": files})["digit"].numpy() - pipe.predict(some).to_numpy()).max()
    print(f"  served model from bytes of WAV files: {apart:.1e} from pipe.predict")


def memory(rows):
    """Peak memory of training on and predicting `rows` recordings of 4 seconds, in a process of their own."""
    if rows is None:
        for count in (1_000, 10_000):
            subprocess.run([sys.executable, __file__, ".", "--memory-of", str(count)], check=True)
        return
    import resource

    import mmkeras as mm
    from mmkeras.data.sounds import wav_bytes

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        noise, paths = rng.integers(-9000, 9000, 200_000).astype("int16"), []
        for number in range(rows):
            path, start = pathlib.Path(folder) / f"{number}.wav", int(rng.integers(0, 100_000))
            path.write_bytes(wav_bytes(noise[start : start + 64_000], 16_000))
            paths.append(str(path))
        df = pd.DataFrame({"call": paths, "label": rng.choice(["a", "b"], rows)})
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        pipe = mm.Pipeline([mm.Audio("call", seconds=1.0, bands=16)], mm.MultiClass("label"))
        pipe.fit(df, epochs=1, batch_size=32, validation_data=False, verbose=0)
        pipe.predict(df)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"  {rows:>7,} recordings, {rows * 128_000 / 2**30:.2f} GiB of files: {before / 2**20:.2f} GiB before, peak {peak / 2**20:.2f} GiB"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    for option in ("--speakers", "--official", "--choice", "--beside", "--exact", "--memory"):
        parser.add_argument(option, action="store_true")
    parser.add_argument("--memory-of", type=int)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.memory or options.memory_of:
        memory(options.memory_of)
        return
    df = digits(options.data)
    for task in (speakers, official, choice, beside):
        if getattr(options, task.__name__):
            task(df, options.seed)
    if options.exact:
        exact(df)


if __name__ == "__main__":
    main()
