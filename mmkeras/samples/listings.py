"""Made-up offers of second-hand toys: text, photo, numbers, a category and a date that each tell something."""

import numpy as np

from mmkeras.samples import pictures
from mmkeras.samples.writing import draw_rows, pick, write_picture

SOLD = ("at once", "within a week", "later")
_WORTH = {"balloon": 8.0, "kite": 30.0, "ball": 15.0, "umbrella": 22.0}
_BRANDS = {"Albatross": 1.35, "Northwind": 1.1, "Pomelo": 1.0, "Tinker & Co": 0.8, "no name": 0.6}
# what a text says of the condition → its worth
_CONDITIONS = {
    1.2: ["Never used, still in its box.", "As good as new.", "Bought last week, wrong size for us."],
    1.0: ["Used a few times, works well.", "Small signs of use.", "Our children have outgrown it."],
    0.65: ["Has a small tear.", "Faded by the sun.", "A bit worn, hence the price.", "Needs some glue."],
}
_ASIDES = [
    "Pick up only.",
    "Can be sent by post.",
    "From a home without pets.",
    "Only today!",
    "First come, first served.",
]
_OPENINGS = ["For sale:", "We part with this one.", "Tidying the attic.", "Looking for a new home.", "Nice find."]
_NO_PHOTO, _NO_TEXT, _NO_AGE, _NO_BRAND, _NO_DATE = 0.06, 0.06, 0.12, 0.1, 0.04


def listings(n=600, seed=0, directory=None):
    """Made-up offers of second-hand balloons, kites, balls and umbrellas, with a price and how fast they sold.

    What is offered, and its colour, only the photo shows; its condition only the text tells; brand, size, age and the
    day it was posted are columns of their own. Price: the thing's worth, times brand, condition and size, less with
    age, more in summer. How fast it sold: bright colours, good condition and weekends help, a high price does not.
    Some cells of photo, text, brand, age and date are empty.

    A photo is written to `directory`/offer_{seed}_{number}.jpg or .png, beside its place and then renamed; one that is
    there already and would not change is left alone.

    Args:
        n: int, how many rows; a larger sample begins with the smaller one.
        seed: int, at least 0; the same seed gives the same rows and files.
        directory: the folder for the photos, 64×64 pixels; made if absent. It must be given, so that nothing is written
            where nobody asked.

    Returns:
        DataFrame with the columns photo (a path, or ''), description ('' for none), brand ('' where unknown), size_cm,
        age_years (NaN where unknown), posted ("2021-07-15", or ''), and the targets price (a float) and sold ("at once",
        "within a week" or "later").

    Raises:
        ValueError: n below 1, seed below 0, or no directory.
        NotADirectoryError, OSError: `directory` is a file, or cannot be written.

    Example:
        >>> import tempfile
        >>> import mmkeras as mm
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     df = mm.samples.listings(3, seed=0, directory=folder)
        >>> df.columns.tolist()
        ['photo', 'description', 'brand', 'size_cm', 'age_years', 'posted', 'price', 'sold']
    """
    import pandas as pd

    return pd.DataFrame(draw_rows(_offer, n, seed, directory))


def _offer(rng, seed, row, folder):
    thing, colour, scene = pick(rng, _WORTH), pick(rng, pictures.COLOURS), pick(rng, pictures.SCENES)
    brand, condition = pick(rng, _BRANDS), float(rng.choice(list(_CONDITIONS)))
    size, age = rng.uniform(20, 120), rng.gamma(2.0, 1.5)
    day = np.datetime64("2021-01-01") + int(rng.integers(0, 3 * 365))
    text = f"{pick(rng, _OPENINGS)} {pick(rng, _CONDITIONS[condition])} {pick(rng, _ASIDES)}"
    month, weekend = int(str(day)[5:7]), not np.is_busday(day)
    worth = _WORTH[thing] * _BRANDS[brand] * condition * (size / 60) ** 0.6 * np.exp(-0.06 * age)
    worth *= 1.25 if month in (5, 6, 7, 8) else 1.0
    price = worth * np.exp(rng.normal(0, 0.12))
    appeal = {"red": 0.9, "yellow": 0.3, "white": -0.6}[colour] + 2.2 * (condition - 1) + 0.9 * weekend
    appeal += rng.normal(0, 0.35) - 0.5 * np.log(price / 15)
    path = folder / f"offer_{seed}_{row:06d}.{pick(rng, ['jpg', 'png'])}"
    known = rng.random(5) > (_NO_PHOTO, _NO_TEXT, _NO_AGE, _NO_BRAND, _NO_DATE)
    photo = pictures.poster(rng, scene, thing, colour)
    return {
        "photo": write_picture(path, photo) if known[0] else "",
        "description": text if known[1] else "",
        "brand": brand if known[3] else "",
        "size_cm": round(float(size)),
        "age_years": round(float(age), 1) if known[2] else float("nan"),
        "posted": str(day) if known[4] else "",
        "price": round(float(price), 2),
        "sold": SOLD[0] if appeal > 0.7 else SOLD[1] if appeal > -0.2 else SOLD[2],
    }
