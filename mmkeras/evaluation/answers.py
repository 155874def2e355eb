"""Answers to questions: how they are written alike, how right they are, and what kind of question was asked.

R = rows, K = kinds of questions, C = answers.
"""

import re

import numpy as np

from mmkeras.evaluation.metrics import bootstrap, interval
from mmkeras.evaluation.rivals import Rival
from mmkeras.evaluation.sections import Section, confusion_section
from mmkeras.layers.scripts import valid

AGREE = 3  # people whose answer is wholly right
SHOWN_KINDS, SHOWN_ANSWERS, SHOWN_ROWS = 25, 12, 6
OTHER = "(other)"
NUMBERS = dict(
    zip(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"],
        map(str, range(11)),
        strict=True,
    )
)
NUMBERS["none"] = "0"
ARTICLES = {"a", "an", "the"}
MARKS = r""";/[]"{}()=+\_-><@`,?!"""
# Short forms that may lack an apostrophe, by their ends.
SHORT = {
    "n't": "ai are ca could did does do had has have is might must need ought sha should was were wo would",
    "n't've": "could had might should would",
    "'d": "he how it someone something there they where who you",
    "'d've": "he it she somebody someone something there they we who y'all you",
    "'ll": "how it somebody someone something they what who why y'all you",
    "'re": "there they what why you",
    "'s": "he how somebody someone that there what when where who why",
    "'ve": "could might must not should they we what where who would you",
    "": "ma'am o'clock 'ow's'at 'twas y'all",
}
WHOLE = {
    word[:place] + word[place + 1 :]: word
    for end, begins in SHORT.items()
    for word in (begin + end for begin in begins.split())
    for place, sign in enumerate(word)
    if sign == "'"
}


def plain_answer(answer):
    """An answer as it is compared with others, by the rules of the public evaluation of VQA (Antol et al., 2015).

    Small letters; no punctuation, but decimal points, colons and apostrophes; no articles; "two" is "2", "none" is "0",
    and "isnt" is "isn't". A sign beside a blank, and all signs beside a number such as "1,000", go without a trace, others leave a blank.
    Otherwise than there, an answer of which nothing would be left stays as it is, in small letters.

    Args:
        answer: str, bytes or a number, of which 1.0 and 1 are the same.

    Example:
        >>> [plain_answer(text) for text in ["The Dog.", "two", "Isnt it?", "1,000.5", "blue/green", "?", 3.0]]
        ['dog', '2', "isn't it", '1000.5', 'blue green', '?', '3']
    """
    if isinstance(answer, bytes):
        answer = answer.decode("utf-8", "replace")
    if isinstance(answer, float | np.floating) and float(answer).is_integer():
        answer = int(answer)
    text = plain = " ".join(valid(str(answer)).lower().split())
    number = re.search(r"\d,\d", text)
    for mark in MARKS:
        plain = plain.replace(mark, "" if number or f"{mark} " in text or f" {mark}" in text else " ")
    words = [NUMBERS.get(word, word) for word in re.sub(r"\.(?!\d)", "", plain).split()]
    return " ".join(WHOLE.get(word, word) for word in words if word not in ARTICLES) or text


def credit(answers, people):
    """How right answers are, beside those of several people to one question: the accuracy of VQA, from 0 to 1.

    An answer that three of the others gave is wholly right, that of one by a third, averaged over leaving out each person in turn
    (Antol et al., 2015). Of fewer than four people, all of the others must agree; one person's answer is right or wrong.

    Args:
        answers: list of plain answers. people: list of plain answers.

    Example:
        >>> [round(x, 2) for x in credit(["red", "pink", "blue"], ["red"] * 7 + ["pink"] * 3)]
        [1.0, 0.9, 0.0]
        >>> credit(["yes", "no"], ["yes"])
        [1.0, 0.0]
    """
    several = len(people)
    if several == 1:
        return [float(answer == people[0]) for answer in answers]
    enough, credits = min(AGREE, several - 1), []
    for answer in answers:
        same = people.count(answer)
        of_same, of_others = min(max(same - 1, 0) / enough, 1.0), min(same / enough, 1.0)
        credits.append((same * of_same + (several - same) * of_others) / several)
    return credits


def shares(people):
    """{answer: how much of a row's target it is}: min(n / 3, 1) of n who gave it, all together 1.

    Example:
        >>> shares(["red", "red", "red", "pink"])
        {'red': 0.75, 'pink': 0.25}
    """
    enough = min(AGREE, len(people))
    counts = {answer: min(people.count(answer) / enough, 1.0) for answer in dict.fromkeys(people)}
    total = sum(counts.values())
    return {answer: share / total for answer, share in counts.items()}


def usual(people):
    """The answer that most people gave; of several, the first."""
    return max(dict.fromkeys(people), key=people.count)


def first_words(question, count=2):
    """The first words of a question, which tell what kind it is.

    Example:
        >>> first_words("What color is the  bus?")
        'what color'
    """
    return " ".join(re.findall(r"\w+", str(question).lower())[:count])


def credits_of(answers, people):
    """((R,) accuracy of VQA, (R,) 1 where it is what most people said) of an answer to each question.

    Args:
        answers: (R,) plain answers. people: list of R lists of plain answers.
    """
    right = np.array([credit([answer], some)[0] for answer, some in zip(answers, people, strict=True)])
    return right, np.array([float(answer == usual(some)) for answer, some in zip(answers, people, strict=True)])


def kinds_section(kinds, people, right, *, notes=(), together=None):
    """A row for each kind of question, most questions first: how right its answers are, and the answer that people gave most.

    Args:
        kinds: (R,) str. people: list of R lists. right: (R,) from 0 to 1. notes: sentences.
        together: (R,) ints, equal where rows are drawn in resamples as one, or None.
    """
    import pandas as pd

    names, counts = np.unique(kinds, return_counts=True)
    order = names[np.argsort(-counts, kind="stable")]
    rows = {}
    for name in [*order[:SHOWN_KINDS], *([OTHER] if len(order) > SHOWN_KINDS else [])]:
        members = np.flatnonzero(~np.isin(kinds, order[:SHOWN_KINDS]) if name == OTHER else kinds == name)

        def mean(weights, members=members):
            return {"right": weights @ right[members] / weights.sum(axis=1)}

        point, drawn = bootstrap(mean, len(members), 200, 0, together=None if together is None else together[members])
        low, high = interval(drawn["right"])
        said = [usual(people[row]) for row in members]
        rows[name] = {"questions": len(members), "vqa_accuracy": point["right"], "low": low, "high": high, "most said": usual(said)}  # fmt: skip
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index.name = "kind"
    return Section("kinds", "By kind of question", table, notes=list(notes))


def said_section(said, people):
    """Counts of the most frequent answers: what people said down, what was answered across.

    Args:
        said: (R,) str. people: list of R lists.
    """
    truth = np.array([usual(some) for some in people], dtype=object)
    names, counts = np.unique(truth.astype(str), return_counts=True)
    names = names[np.argsort(-counts, kind="stable")][:SHOWN_ANSWERS].tolist()
    names += [OTHER] if not {*truth, *said} <= set(names) else []
    numbers = {name: number for number, name in enumerate(names)}

    def place(answers):
        return np.array([numbers.get(answer, len(names) - 1) for answer in answers])

    return confusion_section(names, place(truth), place(said))


def extremes(sure, right):
    """Numbers of the rows that were answered best, sure and right, and worst, sure and wrong; the worst last.

    Args:
        sure: (R,) probabilities of what was said. right: (R,).
    """
    best, worst = (np.argsort(-sign * (right - 0.5) * sure, kind="stable")[:SHOWN_ROWS] for sign in (1, -1))
    return [*best, *(row for row in worst[::-1] if row not in best)]


def rows_section(target, said, *, sure, right, pictures):
    """The questions that were answered best and worst, see `extremes`.

    Args:
        target: `tasks.answer.Answers`. said: (R,) str. sure, right: see `extremes`.
        pictures: a picture of each row, or None.
    """
    import pandas as pd

    rows = extremes(sure, right)
    table = pd.DataFrame({
        "question": [target.question[row] for row in rows],
        "answered": [said[row] for row in rows],
        "people said": [", ".join(dict.fromkeys(target.people[row])) for row in rows],
        "probability": [float(sure[row]) for row in rows],
    })  # fmt: skip
    if pictures is None:
        return Section("asked", "Answered best, and worst", table)
    table.insert(0, "image", [pictures[row] for row in rows])
    return Section("asked", "Answered best, and worst", table, pictures=("image",))


class PriorByKind(Rival):
    """For each kind of question the answers that its training rows have, whatever is shown or asked; for others those of all rows."""

    needs_trunk = False

    def __init__(self, task, shares):
        self.task, self.shares = task, shares

    @classmethod
    def fit(cls, bench):
        task, target = bench.task, bench.rows.target
        known = target.said >= 0
        rows = {"": known, **{kind: known & (target.kinds == kind) for kind in np.unique(target.kinds) if kind}}
        counts = {
            kind: np.bincount(target.said[some], minlength=len(task.answers)) for kind, some in rows.items() if some.any()
        }  # fmt: skip
        return {"prior by kind of question": cls(task, {kind: some / some.sum() for kind, some in counts.items()})}

    def predict(self, trunk, df):
        each = [self.shares.get(kind, self.shares[""]) for kind in self.task.kinds(df)]
        return self.task.said_of(np.array(each).reshape(len(df), len(self.task.answers)))

    def write(self, path):
        kinds = sorted(self.shares)
        np.savez_compressed(path.with_suffix(".npz"), kinds=np.array(kinds), shares=np.stack([self.shares[k] for k in kinds]))  # fmt: skip
        return {}

    @classmethod
    def read(cls, path, saved):
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as stored:
            return cls(None, dict(zip(stored["kinds"].tolist(), stored["shares"], strict=True)))
