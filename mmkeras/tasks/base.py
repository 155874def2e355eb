"""What all tasks share."""

import dataclasses

import keras


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

    def focal_loss(self):
        """The focal loss of this kind of task, with γ = 2."""
        raise ValueError(f"loss='focal' applies to MultiClass and MultiLabel. Received it for {type(self).__name__}.")

    def choose_loss(self, loss):
        """A Keras loss for what a user gave: None (the task's own), "focal", or a Keras loss or its name.

        Raises:
            ValueError: "focal" for a task without classes, or a name that Keras does not know.
        """
        if loss is None:
            return None
        if loss == "focal":
            return self.focal_loss()
        if isinstance(loss, str):
            try:
                return keras.losses.get(loss)
            except ValueError as error:
                raise ValueError(
                    f"`loss` must be None, 'focal', or a Keras loss or its name. Received: {loss!r}."
                ) from error
        return loss

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
