"""What all tasks share."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Task:
    """Base of the tasks. `adapt` learns the classes from the training rows and returns an adapted copy."""

    column: str

    def __post_init__(self):
        if not isinstance(self.column, str) or not self.column:
            raise ValueError(f"`column` must be a column name. Received: {self.column!r}.")

    def get_config(self):
        config = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.init}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in config.items()}

    @property
    def loss_weight(self):
        """What the loss is multiplied by."""
        return 1.0

    def unknown(self, df):
        """{label: rows} of target values outside the classes."""
        return {}

    def row_weights(self, target, class_weight):
        """Sample weights (rows,) for `class_weight`, or None."""
        if class_weight is None:
            return None
        raise ValueError(
            f"`class_weight` applies to MultiClass. Received: {class_weight!r} for {type(self).__name__}. Leave it None."
        )


def check_target(series):
    missing = int(series.isna().sum())
    if missing:
        raise ValueError(
            f"The target {series.name!r} must be known in every row. Received: {missing} missing values. "
            f"Use df.dropna(subset=[{series.name!r}])."
        )
