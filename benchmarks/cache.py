"""What the checks of the feature cache cost: fits whose rows are all stored, with checksums and without, in turn.

    python benchmarks/cache.py [--rows 4000] [--epochs 3] [--rounds 7]

Made-up pictures of noise, MobileNetV2 with random weights; once one vector a picture (read once), once its patches (read from the
cache in each epoch). Printed are the medians of seconds and of the rounds' ratios, and what looking at every page of the file
takes when a process opens it.
"""

import argparse
import statistics
import tempfile
import time

import numpy as np
import pandas as pd
import tensorflow as tf

import mmkeras as mm
from mmkeras.trunk import folder, store
from mmkeras.trunk.pages import Snapshot


def pictures(rows):
    noise = np.random.default_rng(0).integers(0, 256, (rows, 32, 32, 3), dtype=np.uint8)
    return pd.DataFrame({"photo": [tf.io.encode_png(image).numpy() for image in noise], "y": np.arange(rows) % 7.0})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    df, checked = pictures(options.rows), store.unsealed
    for pooling, size in (("avg", 32), (None, 64)):
        with tempfile.TemporaryDirectory() as cache:
            image = mm.Image("photo", encoder="MobileNetV2", weights=None, image_size=(size, size), pooling=pooling)
            pipe = mm.Pipeline([image], mm.Regression("y"), encode_engine="tensorflow")

            def fit(check, pipe=pipe, cache=cache):
                store.unsealed = checked if check else lambda key, value: value[:-8]
                start = time.perf_counter()
                pipe.fit(df, validation_data=False, epochs=options.epochs, verbose=0, cache_dir=cache)
                return time.perf_counter() - start

            fit(True)
            seconds = []
            for turn in range(options.rounds):
                order = (True, False) if turn % 2 else (False, True)
                taken = {check: fit(check) for check in order}
                seconds.append((taken[True], taken[False]))
            start = time.perf_counter()
            Snapshot(store.open_store(cache).path / folder.DATA)
            pages = time.perf_counter() - start
            store.close_store(cache)
        with_, without = (statistics.median(column) for column in zip(*seconds, strict=True))
        ratio = statistics.median(one / other for one, other in seconds)
        print(
            f"{'vectors' if pooling else 'patches'}: {with_:.2f} s with checksums, {without:.2f} s without, ratio {ratio:.3f}; "
            f"pages looked at in {pages:.3f} s, {pages / without:.3f} of a fit"
        )


if __name__ == "__main__":
    main()
