"""The task of answering questions: what both of its kinds share, an answer chosen of many, and one written in words."""

import dataclasses
import re
import warnings

import numpy as np

from mmkeras.data.categories import ALWAYS, CategoryColumn, group
from mmkeras.data.columns import check_frame
from mmkeras.data.frames import column_label
from mmkeras.data.targets import Values
from mmkeras.data.telling import shortened
from mmkeras.data.texts import texts as read_texts
from mmkeras.evaluation.answers import (
    credits_of,
    extremes,
    first_words,
    kinds_section,
    plain_answer,
    rows_section,
    said_section,
    shares,
    usual,
)
from mmkeras.evaluation.linear import word_columns
from mmkeras.evaluation.sentences import words_of
from mmkeras.registry import subclasses
from mmkeras.tasks.base import Task
from mmkeras.tasks.label_cells import LabelError, entries_of, is_gap


class Answers(Values):
    """What people answered to questions.

    Attributes:
        values, said: (R,) int32 numbers of what most people said of the task's answers, −1 where they said none of these.
        people: list of R lists of plain answers. question, kinds: (R,) str. picture: (R,) ints, equal for one picture.
        shown, asked, strange: (R,) bools: whether there is a picture, a question, and one in words that no training question has.
    """

    together = property(lambda self: self.picture)

    def __init__(self, numbers, people, told):
        known = [[answer for answer in some if answer in numbers] for some in people]
        super().__init__(np.array([numbers[usual(some)] if some else -1 for some in known], "int32"))
        vars(self).update(told, said=self.values)
        self.people, self._count = people, len(numbers)
        self._shares = [{numbers[a]: share for a, share in shares(some).items()} for some in known]

    def take(self, rows):
        """({}, (b, C) float32): how much of each answer, together 1; zeros where none is an answer of the task."""
        dense = np.zeros((len(rows), self._count), "float32")
        for place, row in enumerate(rows):
            for number, share in self._shares[row].items():
                dense[place, number] = share
        return {}, dense / np.maximum(dense.sum(axis=1, keepdims=True), 1e-9)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer(Task):
    """Answers to questions about images, or about anything else that modalities read.

    A cell of the target holds one answer, or those of several people: a list, or a list written as text. Answers are compared as the
    public evaluation of VQA does: small letters, no articles and punctuation, numbers in digits; see `evaluation.answers.plain_answer`.
    An answer is one of the `top` most frequent of the training rows, or is written word by word (`free`). Rows whose answers are none of
    these teach nothing, and count as wrong.

    Args:
        column: the column of answers.
        top: int, how many answers there are to choose from.
        min_count: int, in how many training rows an answer, or a word of free ones, must occur.
        free: bool. False chooses: softmax over answers, of which several people's are targets together, each by min(n / 3, 1), all together 1.
            True writes, with the decoder of `Caption`, which reads all modalities as patches: give `Text` and `Image` `pooling=None`.
        question_kind: name of a column that tells what kind of question it is, by which reports are divided; None takes the first two words.
        classes: answers to choose from, in order, in place of the most frequent ones; not with `free`.
        vocabulary_size, sequence_length, label_smoothing, decoding, vocabulary: of free answers, see `Caption`.

    Metrics: vqa_accuracy (Antol et al., 2015, https://arxiv.org/abs/1505.00468, see `evaluation.answers.credit`), and accuracy, the share of
        rows whose answer is what most people said; they are the same where each question has one answer.

    Predictions: (B, answers) probabilities; of `free`, an answer and its score, the log-probability of its words.

    Raises:
        ValueError: a setting outside its range; when adapting, a row without an answer, or fewer than two answers that are frequent enough.

    Example:
        >>> import mmkeras as mm
        >>> mm.Answer("answer", top=100).free, mm.Answer("answer", free=True).free
        (False, True)
    """

    top: int = 1000
    min_count: int = 2
    free: bool = False
    question_kind: str | None = None

    primary = "vqa_accuracy"
    metric_names = ("vqa_accuracy", "accuracy")
    writes = None  # whether a concrete one writes answers
    option = None
    asks = True

    def __new__(cls, *settings, free=False, **more):
        """The kind that `free` asks for."""
        kinds = {
            kind.writes: kind for kind in reversed(subclasses(Answer))
        }  # the first of a kind, not one derived from it
        return super().__new__(kinds[bool(free)] if cls is Answer else cls)

    def __post_init__(self):
        super().__post_init__()
        for name, least in (("top", 2), ("min_count", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"`{name}` of Answer must be an int of at least {least}. Received: {value!r}.")
        if not isinstance(self.free, bool) or self.free != self.writes:
            raise ValueError(
                f"`free` must be True or False. Received: {self.free!r}. Use mm.Answer({self.column!r}, free=True)."
            )
        if self.question_kind is not None:
            self._set(question_kind=column_label(self.question_kind))

    # --- rows

    @property
    def columns(self):
        return (self.column,) if self.question_kind is None else (self.column, self.question_kind)

    def _told(self, what):
        """Name of the column in which `units` tells something of each row."""
        return f"{self.column}: {what}"

    @property
    def together(self):
        return self._told("picture")

    def units(self, df, modalities):
        """The rows with plain answers, the question, its kind and the number of its picture, in columns of their own."""
        import pandas as pd

        check_frame(df, self.columns)
        words = word_columns(modalities)
        pictures = [name for m in modalities for name, column in m.columns_read.items() if column.picture]
        questions = np.array(read_texts(df[words[0]]) if words else [""] * len(df), dtype=object)
        if self.question_kind is None:
            kinds = [first_words(question) for question in questions]
        else:
            kinds = CategoryColumn(ALWAYS).values(df[self.question_kind])
        return df.assign(**{
            self.column: pd.Series(people_of(df[self.column]), df.index, dtype=object),
            self._told("question"): questions,
            self._told("kinds"): np.array(kinds, dtype=object),
            self._told("picture"): _numbers(df[pictures]),
            self._told("shown"): ~group(df[pictures])[1] | (not pictures),
            self._told("asked"): [bool(re.search(r"\w", question)) or not words for question in questions],
        })  # fmt: skip

    def kinds(self, df):
        """(R,) str, what kind of question each row of `units` asks."""
        return df[self._told("kinds")].to_numpy(dtype=str)

    def frequent(self, df):
        """The `top` most frequent answers of the training rows, most frequent first, equals by alphabet."""
        people, counts = self._people(df), {}
        for some in people:
            for answer in dict.fromkeys(some):
                counts[answer] = counts.get(answer, 0) + 1
        enough = sorted((a for a, n in counts.items() if n >= self.min_count), key=lambda a: (-counts[a], a))[
            : self.top
        ]
        if len(enough) < 2:
            most = max(counts, key=counts.get, default=None)
            raise ValueError(
                f"The target {self.column!r} must hold at least two answers that occur in {self.min_count} rows each. Received: "
                f"{len(counts)} different answers in {len(people)} rows, the most frequent {shortened(most)} in "
                f"{counts.get(most, 0)}. Add rows, or lower `min_count`."
            )
        return enough

    def _people(self, df):
        """Lists of plain answers of rows of `units`, each with one at least."""
        check_frame(df, [self.column], "the task")
        people = people_of(df[self.column])
        empty = sum(not some for some in people)
        if empty:
            raise ValueError(
                f"The target {self.column!r} must be known in every row. Received: {empty} rows without an answer. "
                f"Use df[df[{self.column!r}].str.len() > 0]."
            )
        return people

    def tell_of_others(self, people, answers):
        """[a sentence about rows whose answers are none of the task's]."""
        others = sum(not set(some) & set(answers) for some in people)
        if not others:
            return []
        return [
            f"{others:,} of {len(people):,} rows have answers that are none of the {len(answers):,} to choose from: they count as wrong."
        ]

    def warn_of_others(self, people, answers):
        for sentence in self.tell_of_others(people, answers):
            warnings.warn(sentence.replace("count as wrong", "teach nothing"), stacklevel=5)

    def judged(self, df):
        return df, self.tell_of_others(self._people(df), self.answers)

    def words_asked(self, df):
        """The different words of the questions of training rows; [] of rows that `units` did not give."""
        questions = list(df[self._told("question")].unique()) if self._told("question") in df else []
        return sorted({word for words in words_of(questions) for word in words})

    def told_of_rows(self, df):
        """{attribute of `Answers`: (R,) array} of rows of `units`."""
        dtypes = {"question": str, "kinds": str, "picture": int, "shown": bool, "asked": bool}
        told = {what: df[self._told(what)].to_numpy(dtype=dtype) for what, dtype in dtypes.items()}
        return {**told, "strange": self.strange(told["question"].tolist())}

    def strange(self, questions):
        """(R,) bools: which of a list of questions ask in words of which no training question has one."""
        known = set((self.state or {}).get("words", ()))
        return np.array(
            [bool(known and words) and not known.intersection(words) for words in words_of(questions)], bool
        )

    def usual_fusion(self, modalities):
        """ "word_attention" where there are words and patches, "film" where patches alone are there, else "bilinear"."""
        if len(modalities) < 2:
            return "concat"
        sequences = [modality for modality in modalities if modality.sequence]
        if len(sequences) > 1 and word_columns(sequences):
            return "word_attention"
        return "film" if sequences else "bilinear"

    # --- judgement

    @property
    def answers(self):
        """The answers of the task, in the order of their numbers."""
        raise NotImplementedError

    def said_of(self, probabilities):
        """Predictions in the task's form of probabilities (R, answers)."""
        raise NotImplementedError

    def sure_of(self, predictions):
        """(R,) how sure predictions are."""
        raise NotImplementedError

    def read(self, target):
        """What most people said of each row, as a list."""
        return [usual(some) for some in target.people]

    def score(self, target, predictions):
        right, same = credits_of(self.decide(predictions), target.people)

        def scored(weights):
            total = weights.sum(axis=1)
            return {"vqa_accuracy": weights @ right / total, "accuracy": weights @ same / total}

        return scored

    def gallery(self, target, predictions):
        right, _ = credits_of(self.decide(predictions), target.people)
        return extremes(self.sure_of(predictions), right)

    def sections(self, target, predictions, pictures=None):
        said = self.decide(predictions)
        right, _ = credits_of(said, target.people)
        gaps = {
            "show nothing: the question alone answers": ~target.shown,
            "ask nothing": ~target.asked,
            "ask in words of which no training question has one": target.strange,
        }
        notes = [f"{gap.sum():,} of {len(gap):,} rows {told}." for told, gap in gaps.items() if gap.any()]
        return [
            kinds_section(target.kinds, target.people, right, notes=notes, together=target.together),
            said_section(said, target.people),
            rows_section(target, said, sure=self.sure_of(predictions), right=right, pictures=pictures),
        ]


def _numbers(pictures):
    """(R,) ints, equal where rows show the same pictures; those that show none are by themselves."""
    numbers, nothing = group(pictures)
    return np.where(nothing, numbers.max(initial=0) + 1 + np.arange(len(numbers)), numbers)


def people_of(series):
    """The plain answers of each cell of a pandas Series: a list of lists.

    A cell is an answer, a list or set of answers or of dicts with an "answer", such a list written as text, or nothing.

    Raises:
        ValueError: a list in a list.

    Example:
        >>> import pandas as pd
        >>> people_of(pd.Series(["A dog", ["Two", "2"], None, "['yes', 'no']", 3.0], dtype=object))
        [['dog'], ['2', '2'], [], ['yes', 'no'], ['3']]
    """
    return [[answer for answer in map(plain_answer, _listed(cell, series.name)) if answer] for cell in series]


def _listed(cell, column):
    """The answers of a cell, as they are."""
    if isinstance(cell, bytes):
        cell = cell.decode("utf-8", "replace")
    try:
        cells = entries_of(cell) if isinstance(cell, str) else cell
    except LabelError:  # what begins as a list is none, or holds others
        cells = [[cell]] if cell.strip().startswith("[[") else cell
    if hasattr(cells, "tolist"):
        cells = cells.tolist()
    if isinstance(cells, set | frozenset):
        cells = sorted(cells, key=str)
    cells = cells if isinstance(cells, list | tuple) else [cells]
    cells = [one.get("answer") if isinstance(one, dict) else one for one in cells]
    if any(np.ndim(one) for one in cells):
        raise ValueError(
            f"Cells of {column!r} must be answers or lists of answers. Received: {shortened(cell, 80)}. Flatten the lists first."
        )
    return [one for one in cells if not is_gap(one)]
