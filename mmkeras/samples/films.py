"""Made-up films: text and numbers that each tell some genres."""

import numpy as np

from mmkeras.samples.writing import check_counts, pick

# theme: (genres that the text tells, settings, troubles, things)
_THEMES = {
    "space": (["Science Fiction"], ["a mining station near Saturn", "the last colony ship", "an orbital shipyard", "a frozen moon"],
              ["the oxygen fails", "a signal arrives from the dark", "the android pilot stops obeying", "the hull begins to sing"],
              ["a reactor core", "a cryogenic sleeper", "an alien seed", "a star map"]),
    "crime": (["Crime"], ["the harbour district", "a pawnshop on Ninth Street", "the county jail", "a casino back room"],
              ["a heist goes wrong", "an informer disappears", "the detective takes a bribe", "a body floats ashore"],
              ["a suitcase of cash", "a forged passport", "the mayor's ledger", "a loaded revolver"]),
    "love": (["Romance"], ["a flower shop", "a seaside guesthouse", "a wedding in the vineyards", "a night train to Lisbon"],
             ["an old flame writes back", "the engagement is called off", "two strangers share an umbrella", "a letter comes ten years late"],
             ["a ring", "a box of letters", "a borrowed piano", "a recipe for plum cake"]),
    "ghosts": (["Horror"], ["an abandoned sanatorium", "a house by the marsh", "the village chapel", "a cellar without stairs"],
               ["the children draw the same face", "something scratches below the floor", "the dead ring at midnight", "the mirror answers"],
               ["a cracked doll", "a black candle", "a bricked-up door", "an unmarked grave"]),
    "war": (["War"], ["a trench on the eastern front", "an occupied village", "a field hospital", "a convoy in the Atlantic"],
            ["the platoon is cut off", "orders come to hold the bridge", "a truce breaks at dawn", "the radio falls silent"],
            ["a torn flag", "a coded message", "the last morphine", "a soldier's diary"]),
    "fairy": (["Fantasy", "Family"], ["a kingdom under the lake", "a forest that moves", "a school for dragons", "a tower of clocks"],
              ["the moon is stolen", "a spell turns the queen to glass", "the giant wakes early", "a talking fox goes missing"],
              ["a wooden crown", "a bottle of thunder", "a silver acorn", "a map that lies"]),
    "laughs": (["Comedy"], ["a failing karaoke bar", "the office party", "a retirement home in Florida", "a dog show"],
               ["the wrong twin gets the job", "a parrot repeats everything", "the wedding cake explodes", "nobody can find the groom's trousers"],
               ["a rented tuxedo", "a stolen garden gnome", "an inflatable swan", "forty pizzas"]),
    "music": (["Music"], ["a basement club", "a tour bus", "the conservatory", "a festival in the mud"],
              ["the drummer quits", "an old record becomes a hit", "the singer loses her voice", "the band meets again after twenty years"],
              ["a blue guitar", "a demo tape", "a broken microphone", "a borrowed trumpet"]),
    "past": (["History"], ["the court of a young king", "a printing house in Antwerp", "the salt road", "a shipyard of the old republic"],
             ["the plague reaches the gates", "a treaty is forged", "the guilds rise", "the heir is declared mad"],
             ["a royal seal", "a forbidden book", "a chest of silver", "the charter of the city"]),
    "puzzle": (["Mystery", "Thriller"], ["a snowed-in hotel", "an island observatory", "a lecture hall", "a sleeper carriage"],
               ["every guest has an alibi", "a witness remembers too much", "the same call comes each night", "a painting changes"],
               ["a missing page", "a locked cabinet", "a second key", "an anonymous tape"]),
}  # fmt: skip
_HEROES = [
    "a widowed teacher", "two brothers", "a retired boxer", "a young clerk", "a stubborn grandmother", "an apprentice",
    "a nurse from the provinces", "a disgraced captain", "three cousins", "a night watchman", "a runaway", "a translator",
    "a taxi driver", "a botanist", "the mayor's daughter", "an ageing actor",
]  # fmt: skip
_OPENINGS = ["In {place}, {hero} must act when {trouble}.", "When {trouble}, {hero} returns to {place}.",
             "{hero} finds {thing} in {place}, and soon {trouble}.", "Nobody in {place} trusts {hero} until {trouble}."]  # fmt: skip
_MIDDLES = ["All hope rests on {thing}.", "The only clue is {thing}.", "Someone else wants {thing}.", "There is little time left.",
            "Nothing goes as planned.", "The price is higher than expected.", "By morning everything has changed.",
            "It is a story about promises.", "Old friends turn into rivals."]  # fmt: skip
_TITLES = [
    "The {a}",
    "{a} of {b}",
    "Before the {a}",
    "{a} and {b}",
    "No {a} Tonight",
    "The Last {a}",
    "Under the {b}",
]
_WORDS = ["Harbour", "Winter", "Letter", "Silence", "River", "Stranger", "Garden", "Crown", "Signal", "Promise", "Shadow",
          "Orchard", "Mirror", "Voyage", "Lantern", "Border"]  # fmt: skip


def movies(n=1200, seed=0):
    """Made-up films in the tidy form of the movie data.

    The overview tells a theme (space, crime, love …) and so some genres. The numbers tell others: a large budget
    makes it Action or Adventure, a short film is a Documentary or Animation, the rest is Drama. Neither tells all.
    A tenth of the overviews borrows a sentence from another theme, some numbers are unknown (0 or missing), and some
    labels are left out or added, so that no model can be perfect.

    Args:
        n: int, how many rows.
        seed: int; the same seed gives the same rows.

    Returns:
        DataFrame with the columns id, title, overview, genres ("A|B"), budget and revenue (0 where unknown),
        popularity, runtime (minutes), release_date.

    Raises:
        ValueError: n below 1.

    Example:
        >>> import mmkeras as mm
        >>> list(mm.samples.movies(3, seed=0).columns[:4])
        ['id', 'title', 'overview', 'genres']
    """
    import pandas as pd

    check_counts(n)
    rng = np.random.default_rng(seed)
    return pd.DataFrame([_movie(rng, number + 1) for number in range(n)])


def _movie(rng, number):
    theme = pick(rng, _THEMES)
    kind = str(rng.choice(["big", "short", "plain"], p=[0.35, 0.25, 0.4]))
    genres = set(_THEMES[theme][0]) | _genres_of_numbers(rng, theme, kind)
    if rng.random() < 0.06 and len(genres) > 1:
        genres.discard(pick(rng, sorted(genres)))
    if rng.random() < 0.06:
        genres.add(pick(rng, ["Drama", "Comedy", "Thriller"]))
    budget = np.exp(rng.normal({"big": 17.6, "short": 14.2, "plain": 15.6}[kind], 0.7))
    revenue = budget * np.exp(rng.normal(0.5, 0.9))
    runtime = rng.normal({"big": 124, "short": 74, "plain": 101}[kind], 9)
    popularity = np.exp(rng.normal({"big": 2.4, "short": 0.6, "plain": 1.4}[kind], 0.6))
    known = rng.random(3) > (0.25, 0.3, 0.03)
    day = np.datetime64("1975-01-01") + int(rng.integers(0, 45 * 365))
    return {
        "id": number,
        "title": _title(rng),
        "overview": _overview(rng, theme),
        "genres": "|".join(sorted(genres)),
        "budget": int(round(budget, -4)) if known[0] else 0,
        "popularity": round(float(popularity), 3),
        "revenue": int(round(revenue, -4)) if known[1] else 0,
        "runtime": round(float(runtime)) if known[2] else float("nan"),
        "release_date": str(day),
    }


def _genres_of_numbers(rng, theme, kind):
    """The genres that only budget and length give away; which of two depends a little on the theme."""
    if kind == "big":
        return {"Action", "Adventure"} if theme in ("space", "war", "fairy", "past") else {"Action"}
    if kind == "short":
        return {"Animation"} if theme in ("fairy", "laughs", "space", "ghosts") else {"Documentary"}
    return {"Drama"} if rng.random() < 0.85 else set()


def _title(rng):
    a, b = rng.choice(_WORDS, size=2, replace=False)
    return pick(rng, _TITLES).format(a=a, b=b)


def _overview(rng, theme):
    if rng.random() < 0.03:
        return ""
    sentences = [
        pick(rng, _OPENINGS),
        *map(str, rng.choice(_MIDDLES, size=rng.integers(1, 4), replace=False)),
    ]
    themes = [theme] * len(sentences)
    if rng.random() < 0.1:
        themes[-1] = pick(rng, _THEMES)
    if themes[-1] != theme:
        sentences[-1] = pick(rng, _OPENINGS)
    filled = []
    for sentence, source in zip(sentences, themes, strict=True):
        _, places, troubles, things = _THEMES[source]
        values = {"place": places, "trouble": troubles, "thing": things, "hero": _HEROES}
        text = sentence.format(**{key: pick(rng, options) for key, options in values.items()})
        filled.append(text[0].upper() + text[1:])
    return " ".join(filled)
