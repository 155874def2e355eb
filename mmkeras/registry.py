"""Settings as frozen dataclasses that learn, and classes by name: how what was saved finds its class again."""

import copy
import dataclasses
import difflib


def subclasses(base):
    """Every class derived from `base` that exists in this process, in the order of their definition."""
    classes = []
    for child in base.__subclasses__():
        classes += [child, *subclasses(child)]
    return classes


def import_path(cls):
    """The name under which a class is saved: of this package its name alone, of others module and name."""
    name = cls.__qualname__
    return name if cls.__module__.partition(".")[0] == "mmkeras" else f"{cls.__module__}.{name}"


def find_class(base, path, classes=()):
    """The class that was saved under an import path.

    It must be defined already, or be given: nothing is imported because a file names it.

    Args:
        base: class that it derives from.
        path: str, see `import_path`.
        classes: more classes to choose from.

    Raises:
        ValueError: there is no such class.
    """
    known = {import_path(cls): cls for cls in (*subclasses(base), *classes)}
    if path not in known:
        raise ValueError(
            f"A saved {base.__name__.lower()} needs its class. Received: {path!r}, which is not defined in this program. "
            f"Import the file that defines it first, or give the class: mm.load(path, classes=[{path.rpartition('.')[2]}])."
        )
    return known[path]


def named(base, label, argument):
    """The class derived from `base` whose `label` a user gave; `names(base)` are all there are.

    Raises:
        ValueError: there is none; the message tells the nearest.
    """
    known = {cls.label: cls for cls in subclasses(base) if cls.label}
    if not isinstance(label, str) or label not in known:
        near = difflib.get_close_matches(str(label), known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"`{argument}` must be one of {tuple(known)}. Received: {label!r}.{hint}")
    return known[label]


def names(base):
    """The labels of all classes derived from `base`."""
    return tuple(dict.fromkeys(cls.label for cls in subclasses(base) if cls.label))


@dataclasses.dataclass(frozen=True)
class Learner:
    """Settings as plain values, fixed after construction; what is learnt from rows lies apart, in `state`.

    `learn(**state)` gives a copy that knows more; where a setting of that name was left open, reading it gives what was
    learnt. `settings` is the object as the user wrote it.
    """

    state: dict = dataclasses.field(default=None, init=False, repr=False, compare=False)

    @property
    def settings(self):
        return self.__dict__.get("_settings", self)

    def learn(self, **state):
        """A copy that holds also what was learnt."""
        settings = self.settings
        open_settings = {f.name for f in dataclasses.fields(self) if f.init and getattr(settings, f.name) is None}
        filled = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in state.items()
            if name in open_settings
        }
        return self._copy(state={**(self.state or {}), **state}, _settings=settings, **filled)

    def get_config(self):
        """The settings as plain values, for JSON."""
        settings = self.settings
        return {f.name: _plain(getattr(settings, f.name)) for f in dataclasses.fields(self) if f.init}

    def _copy(self, **values):
        twin = copy.copy(self)
        twin._set(**values)
        return twin

    def _set(self, **values):
        for name, value in values.items():
            object.__setattr__(self, name, value)


def _plain(value):
    return list(value) if isinstance(value, tuple) else value


def describe(learner):
    """{"class", and the settings} of a modality or a task, for a manifest."""
    return {"class": import_path(type(learner)), **learner.get_config()}


def rebuild(base, config, classes=()):
    """The modality or task that `describe` described."""
    config = dict(config)
    return find_class(base, config.pop("class"), classes)(**config)
