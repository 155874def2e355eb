"""Series of sensors: each encoder of `mm.Series` on BasicMotions, beside MiniRocket with a ridge classifier as aeon has it.

    python benchmarks/sensors.py DATA [--seeds 3] [--epochs 60]

DATA is the folder that holds data/sensors/basic_motions.csv: BasicMotions of the UEA archive as a table with a line for each step, 80 series of 100
steps in 6 channels, 4 classes; of each class half are for training. Printed are errors on the 40 test rows, of each seed; "minirocket" must make
at most one error more than aeon's in the same run. Settings are the same for all encoders, and were not chosen on these rows. Without
aeon (`pip install aeon`) its line says so.
"""

import argparse
import pathlib
import tempfile
import time

import numpy as np

import mmkeras as mm

CHANNELS = ["acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z"]


def ours(encoder, train, test, seeds, epochs):
    """Errors of a model of one modality, for each seed."""
    errors = []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            pipe = mm.Pipeline([mm.Series(CHANNELS, encoder=encoder)], mm.MultiClass("label"))
            pipe.fit(train, epochs=epochs, validation_data=False, seed=seed, cache_dir=folder, verbose=0)
            errors.append(int((pipe.predict_labels(test) != test["label"]).sum()))
    return errors


def ridge(train, test):
    """Errors of our features of MiniRocket with scikit-learn's ridge classifier, as the paper has it."""
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    modality = mm.Series(CHANNELS, encoder="minirocket").adapt(train)
    prepare = mm.build_prepare([modality])
    model = mm.chain(prepare, mm.build_encode([modality], prepare))
    features = [model({name: np.stack(df[name]) for name in CHANNELS})["series"].numpy() for df in (train, test)]
    classifier = make_pipeline(StandardScaler(with_mean=False), RidgeClassifierCV(alphas=np.logspace(-3, 3, 10)))
    classifier.fit(features[0], train["label"])
    return int((classifier.predict(features[1]) != test["label"]).sum())


def rival(train, test, seeds):
    """Errors of aeon's MiniRocket with its ridge classifier, for each seed; None where it is not installed."""
    try:
        from aeon.classification.convolution_based import MiniRocketClassifier
    except ImportError:
        return None
    x, y = (np.stack([np.stack(df[name]) for name in CHANNELS], axis=1) for df in (train, test))  # (rows, C, T)
    errors = []
    for seed in range(seeds):
        classifier = MiniRocketClassifier(random_state=seed).fit(x, train["label"].to_numpy())
        errors.append(int((classifier.predict(y) != test["label"]).sum()))
    return errors


def timed(what, function):
    start = time.perf_counter()
    errors = function()
    print(f"{what:<34} errors of 40: {errors}   {time.perf_counter() - start:6.1f} s", flush=True)
    return errors


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=60)
    options = parser.parse_args()
    import pandas as pd

    lines = pd.read_csv(options.data / "data" / "sensors" / "basic_motions.csv")
    rows = mm.Series.rows(lines, "case", "time", CHANNELS)
    train, test = rows[rows["split"] == "train"], rows[rows["split"] == "test"]
    theirs = timed("aeon's MiniRocket, ridge", lambda: rival(train, test, options.seeds))
    if theirs is None:
        print("  aeon is not installed: pip install aeon")
    timed("features of minirocket, ridge", lambda: ridge(train, test))
    own = timed("mm.Series, minirocket", lambda: ours("minirocket", train, test, options.seeds, options.epochs))
    for encoder in ("scratch", "gru"):
        timed(f"mm.Series, {encoder}", lambda e=encoder: ours(e, train, test, options.seeds, options.epochs))
    if theirs is not None:
        verdict = "at most one error more" if max(own) <= min(theirs) + 1 else "MORE THAN one error more"
        print(f"minirocket makes {verdict} than aeon's in this run")


if __name__ == "__main__":
    main()
