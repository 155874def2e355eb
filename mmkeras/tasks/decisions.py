"""The family of tasks whose answer is a probability for each class, or numbers: (R, C) predictions."""

import dataclasses

import keras

from mmkeras.data.targets import Values
from mmkeras.evaluation.linear import Linear
from mmkeras.evaluation.rivals import Alone, Prior
from mmkeras.heads.decisions import MEMBERS, SETTINGS, build_head, check_settings, decisions_of, unknown_settings
from mmkeras.losses.around import EachMember
from mmkeras.tasks.base import Task, finite
from mmkeras.trunk.training import Training

# What a search tries of the settings of `build_head`; those without values only where a space names them.
CHOICES = {
    "units": [512, 128, 256, 1024],
    "depth": [1, 2],
    "members": [],
    "dropout": [0.5, 0.2, 0.35, 0.65],
    "projection": [],
    "modality_dropout": [],
    "attention_heads": [],
}


@dataclasses.dataclass(frozen=True)
class Decisions(Task):
    """Base of `MultiLabel`, `MultiClass` and `Regression`: a hidden vector → logits (B, C) → `activate` → predictions.

    A concrete one writes `adapt`, `encode`, `logits`, `activate`, `loss`, `metrics`, `frame`, `decide`, `read` and `score`;
    `prior`, `fit_linear` and `link` for the simple rivals.
    """

    rivals = (Prior, Linear, Alone)
    # Whether logits of several modalities add up, as parts of a number do. Those of classes are averaged, as opinions are.
    adds = False
    stops_early = streams = True
    # Settings of a head that follow from what it reads, where the user gave none: of wide features, and of a table alone.
    usual_head = {"projection": 128}  # noqa: RUF012 never changed
    usual_of_tables = {"dropout": 0.1, "depth": 2}  # noqa: RUF012
    # Whether predictions are means, so that `least_squares` may tell them.
    mean_is_told = True
    worth_name = "prediction"
    # What the report calls the rival that knows only the training rows' target.
    prior_name = "label prior"

    def encode(self, df):
        """The target as an array by row."""
        raise NotImplementedError

    def target(self, df):
        return Values(self.encode(df))

    # --- model

    def logits(self, hidden, target=None, name="logits"):
        """(B, D) → (B, C), as a layer of this name; its start may learn from the encoded training target."""
        raise NotImplementedError

    def least_squares(self, target):
        """(R, C) numbers, in the units of logits or from 0 to 1, of which predictions are the means, where `mean_is_told`."""
        return target

    def activate(self, logits, name="probabilities"):
        """Logits → predictions."""
        raise NotImplementedError

    def loss(self):
        """The Keras loss of the encoded target and the predictions, or its name."""
        raise NotImplementedError

    def metrics(self):
        """New Keras metrics to watch in training."""
        return []

    def weighed(self, loss):
        """A loss as it trains, such as one in units of the training target's variance."""
        return loss

    def check_settings(self, names, fusion="concat", **settings):
        unknown_settings(SETTINGS, settings, f"A head for {type(self).__name__}")
        check_settings(names, fusion, **settings)

    def head_choices(self, modalities):
        own = {f"dropout_{modality.name}": [] for modality in modalities}
        if len(modalities) > 1:
            own.update({name: values for modality in modalities for name, values in modality.choices().items()})
        return {**CHOICES, **own}

    def build_head(self, inputs, target=None, **settings):
        usual = self.usual_of_tables if set(inputs.names) <= set(inputs.whole) else self.usual_head
        settings = {**usual, **settings}
        return build_head(
            inputs.features, self, target=None if target is None else target.values, modalities=inputs.names,
            normalise=inputs.normalise, whole=inputs.whole, **settings,
        )  # fmt: skip

    def training(self, head, loss=None):
        outputs, decisions = {self.column: head.output[self.column]}, decisions_of(head)
        for name, logits in decisions.items():
            outputs[f"{self.column}.{name}"] = self.activate(logits, name=f"{name}_activated")
        loss = self.weighed(self.loss() if loss is None else loss)
        losses = {key: EachMember(loss) if len(x.shape) == 3 else loss for key, x in outputs.items()}
        weights = dict.fromkeys(outputs, 1.0 / len(outputs))
        if list(decisions) == [MEMBERS]:  # their mean, which the head gives, would train them to lean on each other
            weights = {key: float(key != self.column) for key in outputs}
        return Training(
            model=head if len(outputs) == 1 else keras.Model(head.input, outputs, name="trained"),
            losses=losses,
            metrics={self.column: self.metrics()},
            loss_weights=weights,
            main=self.column,
        )

    # --- predictions

    def predict(self, run, head):
        return run(head)[self.column]

    def check_predictions(self, predictions):
        return finite(predictions)

    def worth(self, outputs, outcomes):
        """(B,) predictions of an output of each row."""
        return keras.ops.take_along_axis(outputs[self.column], outcomes[:, None], axis=1)[:, 0]

    # --- simple rivals

    def prior(self, target):
        """(C,) what to predict of a row that nothing is known of, from the encoded training target."""
        return target.mean(axis=0)

    def link(self, values):
        """What a linear model gives, (R, C), as predictions."""
        return values
