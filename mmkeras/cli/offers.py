"""What tasks, modalities and fusions offer to the command line, and what they make of its options."""

import json

from mmkeras.cli.options import HEAD, Offers, place_of
from mmkeras.decoding.settings import METHODS
from mmkeras.fusion import Fusion
from mmkeras.modalities import with_options
from mmkeras.registry import names, subclasses
from mmkeras.search.run import ENGINES, TUNERS
from mmkeras.tasks.base import Task


def known_offers():
    """`Offers` of the classes that are known now, a user's among them."""
    losses = [way.get("loss") for cls in subclasses(Task) for way in cls.ways.values()]
    return Offers(
        targets={name: cls.option_help for name, cls in _targets().items()},
        fusions=list(names(Fusion)),
        losses=list(dict.fromkeys(loss for loss in losses if isinstance(loss, str))),
        methods=list(METHODS),
        engines=list(ENGINES),
        tuners=list(TUNERS),
        add_columns=_add_columns,
    )


def make_table():
    """The same as plain values, for `options.kept_offers`."""
    offers = dict(vars(known_offers()))
    add, every, few = offers.pop("add_columns"), _Options(), _Options()
    add(every, True)
    add(few, False)
    return {**offers, "columns": [[*option, option not in few.added] for option in every.added]}


class _Options:
    """Keeps what is added, as plain values, in the place of an argparse parser."""

    def __init__(self):
        self.added = []

    def add_argument(self, *flags, **settings):
        plain = {**settings, "type": settings["type"].__name__} if "type" in settings else settings
        self.added.append([list(flags), plain])


def _add_columns(parser, towers):
    for cls in with_options():
        cls.add_options(parser, towers=towers)


def _targets():
    """{option: class of the task that its column is for}; of two with one option, the latest."""
    return {cls.option: cls for cls in subclasses(Task) if vars(cls).get("option")}


def make_task(options):
    """The task of the one target that is given.

    Raises:
        ValueError: no target is given, or several.
    """
    tasks = _targets()
    columns = {name: getattr(options, place_of(name)) for name in tasks if getattr(options, place_of(name))}
    if len(columns) != 1:
        *others, last = (f"--{name}" for name in tasks)
        raise ValueError(f"Give exactly one of {', '.join(others)} and {last}. Received: {list(columns) or 'none'}.")
    ((name, column),) = columns.items()
    return tasks[name](column)


def make_modalities(options, sequences=False):
    """The modalities of the columns that are given; `sequences` where the task reads those.

    Raises:
        ValueError: no column is given.
    """
    classes = with_options()
    modalities = [modality for cls in classes for modality in cls.from_options(options, sequences=sequences)]
    if not modalities:
        listed = ", ".join(f"--{cls.option}" for cls in classes)
        raise ValueError(
            f"Give columns to read, for example by one of {listed}. Received: none. "
            f"`mmkeras {options.command} --help` tells all options."
        )
    return modalities


def head_settings(options):
    """Settings of the head that were given, other than those that any head has by itself."""
    return {name: getattr(options, name) for name, default in HEAD.items() if getattr(options, name) != default}


if __name__ == "__main__":
    print(json.dumps(make_table(), indent=1))
