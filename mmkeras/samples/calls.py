"""Made-up calls: what a sound on the phone means was said in words before."""

import numpy as np

from mmkeras.persistence import write_changed
from mmkeras.samples.writing import draw_rows, pick

RATE = 8000  # samples a second
SIGNALS = ("beep", "buzz", "hiss")
OUTCOMES = ("solved", "not solved", "unclear")
_NOTES = [
    "If it is solved, {yes} now; if not, {no} now.",
    "The agent said: {yes} when it works, and {no} when it fails.",
]
_NO_CALL, _NO_NOTE = 0.02, 0.02


def calls(n=600, seed=0, directory=None):
    """Made-up calls of customers, recorded, with the agent's note: "If it is solved, beep now; if not, hiss now."

    A recording holds a beep, a buzz or a hiss. Which of them means that the problem is solved, and which that it is not, the note says;
    the third means neither. All are as frequent under every note, and all notes under every sound, so that only both together tell.
    Some cells are empty.

    A recording is written to `directory`/call_{seed}_{number}.wav, beside its place and then renamed; one that is there already and would
    not change is left alone.

    Args:
        n: int, how many rows; a larger sample begins with the smaller one.
        seed: int, at least 0; the same seed gives the same rows and files.
        directory: the folder for the recordings, of 8,000 samples a second; made if absent.

    Returns:
        DataFrame with the columns note, call (a path, or '' for none) and the target outcome ("solved", "not solved" or "unclear").

    Raises:
        ValueError: n below 1, seed below 0, or no directory.
        NotADirectoryError, OSError: `directory` is a file, or cannot be written.

    Example:
        >>> import tempfile
        >>> import mmkeras as mm
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     df = mm.samples.calls(3, seed=0, directory=folder)
        >>> df.columns.tolist()
        ['note', 'call', 'outcome']
    """
    import pandas as pd

    return pd.DataFrame(draw_rows(_call, n, seed, directory))


def _call(rng, seed, row, folder):
    yes, no, neither = (str(signal) for signal in rng.permutation(SIGNALS))
    outcome = int(rng.integers(0, 3))
    path = folder / f"call_{seed}_{row:06d}.wav"
    written = str(write_changed(path, recording(rng, (yes, no, neither)[outcome])))
    known = rng.random(2) > (_NO_NOTE, _NO_CALL)
    note = pick(rng, _NOTES).format(yes=yes, no=no)
    return {"note": note if known[0] else "", "call": written if known[1] else "", "outcome": OUTCOMES[outcome]}


def recording(rng, signal):
    """The bytes of a WAV file of about a second with one of `SIGNALS` in it, over a faint noise.

    Args:
        rng: numpy Generator.
        signal: str.
    """
    import tensorflow as tf

    samples = rng.normal(0, 0.004, int(RATE * rng.uniform(0.7, 1.1)))
    length = int(RATE * rng.uniform(0.25, 0.4))
    start = int(rng.integers(0, len(samples) - length))
    turns = np.arange(length) / RATE * {"beep": rng.uniform(900, 1500), "buzz": rng.uniform(90, 150), "hiss": 0}[signal]
    wave = {"beep": np.sin(2 * np.pi * turns), "buzz": 2 * (turns % 1) - 1, "hiss": rng.uniform(-1, 1, length)}[signal]
    samples[start : start + length] += rng.uniform(0.1, 0.5) * wave * np.hanning(length)
    return tf.audio.encode_wav(samples.astype("float32")[:, None], RATE).numpy()
