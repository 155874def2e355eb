"""The rows of a search: which of them its trials learn from, and which score them."""

import dataclasses
import warnings

from mmkeras.data.columns import check_frame, columns_of, digest, raw_values, row_keys
from mmkeras.data.splits import split_frame
from mmkeras.tasks.base import Task
from mmkeras.trunk.trunk import Rows

# Held out of the rows when no validation rows are given: scores of few rows would choose by chance.
VALIDATION_SHARE = 0.2


@dataclasses.dataclass
class Split:
    """Rows to learn from and rows to be scored on, and the task as it was learnt from the former."""

    task: Task
    train: Rows
    validation: Rows


class SearchRows:
    """The rows of a search.

    Args:
        df, validation_data, seed: see `search`.
        modalities: all candidates.
        task: as the user wrote it.

    Raises:
        KeyError, TypeError, ValueError: see `check_frame`.
    """

    def __init__(self, df, validation_data, modalities, task, *, seed=0):
        self.modalities, self.task, self.seed = modalities, task, seed
        read = list(columns_of(modalities))
        columns = list(dict.fromkeys([*read, *task.columns]))
        check_frame(df, columns)
        self.df = task.units(df[columns].copy(), modalities)
        self.share, self.validation = VALIDATION_SHARE if validation_data is None else validation_data, None
        if hasattr(validation_data, "columns"):
            check_frame(validation_data, columns, "validation_data")
            self.validation = task.units(validation_data[columns].copy(), modalities)

    def split(self, number=0):
        """`Split` of the trials, or of a round of finals: another share of the rows, where a share is held out.

        Raises:
            ValueError: no validation row can be judged.
        """
        train, validation = self.df, self.validation
        if validation is None:
            train, validation = split_frame(self.df, self.share, self.seed + number, by=self.task.together)
        task = self.task.adapt(train)
        judged, sentences = task.judged(validation)
        said = task.judged(train)[1]
        sentences = " ".join(sentence for sentence in sentences if sentence not in said)
        if not len(judged):
            raise unjudged(len(validation), sentences)
        if len(judged) < len(validation):
            warnings.warn(f"Validation rows: {sentences}", stacklevel=4)
        return Split(task, Rows(train, task.target(train)), Rows(judged, task.target(judged)))

    def digest(self, split):
        """What tells these rows from others, as a string."""
        keys = []
        for df in (split.train.df, split.validation.df):
            keys += [key for m in self.modalities for key in row_keys(m, raw_values(df, [m]))]
            keys += [repr(cell).encode() for column in self.task.columns for cell in df[column]]
        return digest(keys).hex()


def unjudged(count, sentences):
    """The error for validation rows of which a score would say nothing."""
    return ValueError(
        f"Validation rows must share answers with the training rows. Received: {count} validation rows that the task cannot "
        f"judge. {sentences} Give other `validation_data`."
    )
