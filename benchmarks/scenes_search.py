"""Pictures of things that were never seen, named by words: "a red star", when red things and stars were drawn, never together.

    python benchmarks/scenes_search.py [--sets 2 3 4 5] [--encoder scratch] [--loss sigmoid] [--scenes 6000]

The 24 pairs of six colours and four shapes are cut in six sets, each with all four shapes in four colours. For each set a model learns from
nothing, from drawn scenes of the other 20 pairs with a sentence each, which picture belongs to which sentence. Then it names the pictures of
the set, among all 24 pairs, by prompts. Settings were chosen on sets 0 and 1, which are not among those that are judged: sums of what words
say, without a hidden layer, know a pair by its two words; hidden layers, word pairs and transformers learn the pairs that are there.
Prints for each set the accuracy and seconds, and over all sets the accuracy with its interval, for which pairs are drawn anew.
"""

import argparse
import tempfile
import time

import numpy as np

import mmkeras as mm
from mmkeras.samples.scenes import COLOURS, SHAPES

PAIRS = {f"{colour} {shape}": i + j for i, colour in enumerate(COLOURS) for j, shape in enumerate(SHAPES)}
SETS = 6
PROMPTS = {pair: [f"a {pair}", f"two {pair}s", f"three {pair}s"] for pair in PAIRS}
RESAMPLES = 2000


def learn(df, options):
    """A fitted Pipeline from scenes with a sentence each."""
    text = mm.Text("caption", encoder=options.encoder, sequence_length=24, pooling="mean")
    image = mm.Image("image", encoder="scratch", image_size=(64, 64), pooling=options.pooling, augment=False)
    # Scenes of the same content are never set against each other.
    task = mm.Retrieval(query="text", items="image", group="content", width=options.width, loss=options.loss)
    pipe = mm.Pipeline([text, image], task, depth=options.depth, dropout=options.dropout)
    settings = {name: getattr(options, name) for name in ("epochs", "batch_size", "learning_rate", "seed")}
    pipe.fit(df, validation_data=False, verbose=0, **settings)
    return pipe


def interval(means):
    """The 2.5th and 97.5th percentile of the mean of (N,) values that are drawn anew."""
    drawn = np.random.default_rng(0).choice(means, (RESAMPLES, len(means)))
    return np.percentile(drawn.mean(axis=1), [2.5, 97.5])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", type=int, nargs="+", choices=range(SETS), default=[2, 3, 4, 5])
    parser.add_argument("--scenes", type=int, default=6000)
    parser.add_argument("--encoder", default="characters", help="of sentences: characters, lexical or scratch")
    parser.add_argument("--pooling", default="avg", help="of pictures: avg or max")
    parser.add_argument("--loss", default="infonce")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--depth", type=int, default=0, help="hidden layers of each side")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    means, pictures = [], 0
    with tempfile.TemporaryDirectory() as folder:
        df = mm.samples.captions(options.scenes, seed=options.seed, directory=folder, groups=1)
        df = df.drop_duplicates("image").assign(pair=df["colours"] + " " + df["shapes"])
        df["content"] = df["counts"] + " " + df["pair"]
        for number in options.sets:
            judged = df["pair"].map(PAIRS) % SETS == number
            start = time.perf_counter()
            pipe = learn(df[~judged], options)
            seconds, pairs = time.perf_counter() - start, df.loc[judged, "pair"]
            right = (mm.zero_shot(pipe, df[judged], PROMPTS).idxmax(axis=1) == pairs).to_numpy()
            each = {pair: float(right[pairs == pair].mean()) for pair in pairs.unique()}
            means, pictures = [*means, *each.values()], pictures + len(right)
            told = ", ".join(f"{pair} {share:.3f}" for pair, share in each.items())
            print(
                f"set {number}: {right.mean():.3f} of {len(right)} pictures; {told}; learnt in {seconds:.0f} s",
                flush=True,
            )
    low, high = interval(means)
    print(
        f"accuracy on {len(means)} unseen pairs among {len(PAIRS)}: {np.mean(means):.3f} [{low:.3f}, {high:.3f}], "
        f"the worst {min(means):.3f}, chance {1 / len(PAIRS):.3f}; {pictures:,} pictures"
    )


if __name__ == "__main__":
    main()
