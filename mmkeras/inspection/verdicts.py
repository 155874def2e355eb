"""What each column of a table is: who would read it, or why nobody should."""

import dataclasses
import hashlib

import numpy as np

from mmkeras.data.column import Claim
from mmkeras.data.numbers import NumberColumn
from mmkeras.data.sample import Sample
from mmkeras.inspection.alone import FEWEST_VALUES, SOME, skills
from mmkeras.inspection.strangers import stranger
from mmkeras.modalities import with_claims

CERTAIN = 0.97  # strength of a claim beside which no other counts
CLOSE = 0.1  # claims whose strengths differ by no more are alike
WEAK = 0.6  # strength of a claim that is told as unsure
FEWEST = 20  # rows of which anything is sure
SAME, LEAK, MUCH = 0.9995, 0.97, 0.85  # R² of unseen rows, by a column alone
RECURS = 2  # rows of each value, of what may be a group
FEWEST_GROUPS = 5
MOST_CLASSES = 20  # of a target, where more are rather groups that share one


@dataclasses.dataclass
class Verdict:
    """What a column is.

    Attributes:
        sample: `data.sample.Sample`.
        claim: the strongest `Claim`.
        readers: {class of modality: Claim} that would read it; none where it is left out.
        doubts: list of str.
        says: str, why it is left out although it can be read, or ''.
        as_what: str, what it is then.
        group: bool, whether rows of one value belong together.
    """

    sample: object
    claim: Claim
    readers: dict
    doubts: list
    says: str = ""
    as_what: str = ""
    group: bool = False

    @property
    def reads(self):
        """In a word or two, what it is."""
        return self.as_what or " and ".join(
            dict.fromkeys([self.claim.reads, *(c.reads for c in self.readers.values())])
        )

    def leave_out(self, as_what, says):
        self.as_what, self.says, self.readers = as_what, says, {}

    @property
    def sentence(self):
        """Why, and what speaks against it."""
        why = f"{self.says}; {self.claim.why}" if self.says else self.claim.why
        return f"unsure: {why}; {'; '.join(self.doubts)}" if self.doubts else why


def judge(sample):
    """`Verdict` on a column by its cells alone.

    Args:
        sample: `data.sample.Sample`.
    """
    claims = [(claim, cls) for cls in with_claims() for claim in cls.claims(sample)]
    numbers = [claim for claim, _ in claims if claim.reads == NumberColumn.reads]
    unread = stranger(sample, *numbers[:1])
    claims += [(unread, None)] if unread else []
    if not claims:
        example = sample.distinct[0]
        return Verdict(sample, Claim(0.5, f"cells such as {example!r:.60}, which no modality reads", "unread"), {}, [])
    claims.sort(key=lambda pair: -pair[0].strength)
    (best, cls), *others = claims
    readers, doubts = ({} if cls is None else {cls: best}), [best.doubt] if best.doubt else []
    for other, its in others:
        if other.strength < best.strength - CLOSE or best.strength >= CERTAIN:
            break
        if readers and its is not None and its not in readers:
            readers[its] = other  # both tell something, such as a name and its words
        elif its is not cls or other.reads != best.reads:
            doubts.append(f"it may be of kind {other.reads}")
    if best.strength < WEAK and not doubts:
        doubts.append("the cells say little of what they are")
    if sample.count < FEWEST and best.strength < 1:
        doubts.append(f"{sample.count} cells are few to tell by")
    return Verdict(sample, best, readers, doubts)


def judge_by_target(verdict, target, codes, rows):
    """Leave a column out where it alone tells the target, or says the same; tell of one that tells much.

    Args:
        verdict: `Verdict`.
        target: (R, K), see `alone.outputs`.
        codes: (R,) ints of the different targets.
        rows: bools, those of the sampled rows that the target is of.
    """
    sample, values, cells = verdict.sample, verdict.claim.values, verdict.sample.codes[rows]
    there = (cells >= 0).astype(int)
    presence = skills(None, there, target)["values"] if 0 < there.sum() < len(there) else 0.0
    if presence >= LEAK:
        says = "known only afterwards, as it seems: whether it is there tells the target"
        verdict.leave_out("leak", f"{says} with R² {presence:.3f} on unseen rows")
        return
    if len(sample.distinct) < 2:
        return
    told = skills(None if values is None else values[rows], cells, target)
    best, recurs = max(told.values()), sample.repeated >= RECURS
    score = f"on unseen rows, this column alone tells the target with R² {best:.3f}"
    grouped = recurs and told["values"] >= LEAK and len(sample.distinct) >= FEWEST_GROUPS
    many = len(sample.distinct) >= 2 * len(np.unique(codes)) or (
        told["near"] < LEAK and len(sample.distinct) > MOST_CLASSES
    )
    if grouped and many:
        verdict.group = True
        verdict.leave_out("group", f"rows of one value have one target, so that it stands for the target: {score}")
    elif recurs and _are_one(cells, codes):
        verdict.leave_out(
            "copy of the target", "each of its values stands for one of the target, and the other way round"
        )
    elif best >= LEAK and told["order"] >= LEAK:
        same = best >= SAME
        what = "it says what the target says" if same else "known only afterwards, as it seems"
        verdict.leave_out("copy of the target" if same else "leak", f"{what}: {score}")
    elif told["values"] >= LEAK:
        verdict.leave_out("leak", f"known only afterwards, as it seems: {score}")
    elif len(sample.distinct) == 2 and (of := _flag_of(cells, target)):
        verdict.leave_out("leak", f"one of its values stands exactly where the target has {of}")
    elif best >= MUCH and verdict.readers:
        verdict.doubts.append(f"{score}: is it known when predictions are wanted?")
    elif (
        recurs
        and told["values"] >= SOME
        and len(sample.distinct) >= FEWEST_VALUES
        and told["near"] < 0.5 * told["values"]
        and _is_float(values)
    ):
        verdict.doubts.append(
            "near numbers do not mean the like for the target, as of codes: it may be of kind category"
        )


def recurs(verdict, series):
    """Whether rows share what a column names, such as a picture or somebody's number, so that they belong together.

    Args:
        verdict: `Verdict`.
        series: pandas Series of all rows.
    """
    if not verdict.claim.of_things or len(verdict.sample.distinct) < FEWEST_GROUPS:
        return False
    return not Sample(series).unique


def _is_float(values):
    return values is not None and values.dtype.kind == "f"


def same_as(verdicts):
    """{name: name of an earlier column that says the same, cell for cell} of columns that are read."""
    first, same = {}, {}
    for name, verdict in verdicts.items():
        if verdict.readers and len(verdict.sample.distinct) > 1:
            other = first.setdefault(_key(verdict), name)
            if other != name:
                same[name] = other
    return same


def _key(verdict):
    """Bytes that are equal where columns say the same: in other words, too, where they recur."""
    sample, values = verdict.sample, verdict.claim.values
    if sample.repeated >= RECURS:
        data = _numbered(sample.codes).tobytes()
    elif values is not None and values.dtype.kind == "f":
        data = values.astype("float64").tobytes()
    else:
        data = "\0".join([str(cell).strip() for cell in sample.distinct]).encode() + sample.codes.tobytes()
    return hashlib.blake2b(data, digest_size=16).digest()


def _numbered(codes):
    return codes.astype("int64")  # distinct cells have numbers in the order in which they come


def _are_one(codes, others):
    """Whether two partitions of rows are one, where both are known."""
    known = (codes >= 0) & (others >= 0)
    if known.sum() < FEWEST or known.mean() < 0.5:
        return False
    pairs = len(set(zip(codes[known].tolist(), others[known].tolist(), strict=True)))
    sizes = len(set(codes[known].tolist())), len(set(others[known].tolist()))
    return pairs == sizes[0] == sizes[1] and sizes[0] > 1


def _flag_of(codes, target):
    """A class that a column of two values tells exactly, in words; '' where there is none, or the target is no classes."""
    if len(codes) < FEWEST or not np.isin(target, (0, 1)).all():
        return ""
    for value in (0, 1):
        flags = codes == value
        alike = (flags[:, None] == (target == 1)).all(axis=0)
        if alike.any() and min(flags.sum(), (~flags).sum()) > 1:
            return "one certain class"
    return ""
