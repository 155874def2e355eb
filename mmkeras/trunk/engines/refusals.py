"""What towers engines refused, remembered beside the cache, so that no process tries in vain again."""

import contextlib
import json
import pathlib
import time
import uuid

from mmkeras.data.recent import Recent
from mmkeras.trunk.engines.base import EngineError, Inexact

_known = Recent(
    256
)  # key of features → (kind of error, why): in one process it will not do better, whatever cache it has
ENDING = ".refused.json"


def open_tower(engine, tower, key, *, folder, **how):
    """`run` for a tower by an engine, see `OpenVINO.open`, unless the engine is known to refuse it.

    Raises:
        EngineError: it refuses, or did before: in this process, or in another with this folder and the same versions.
    """
    place = pathlib.Path(folder) / f"{key.hex()}-{engine.versions}{ENDING}"
    refusal = _known.get(key) or _remembered(place)
    if refusal:
        kind, why = refusal
        raise kind(why)
    try:
        return engine.open(tower, key, folder=folder, **how)
    except EngineError as error:
        _known.put(key, (type(error), str(error)))  # an error itself would hold the tower
        name = tower.name.removesuffix("_frozen")
        _keep(place, {"tower": name, "engine": str(engine), "why": str(error), "inexact": isinstance(error, Inexact)})
        raise


def refused(folder):
    """A list of {"tower", "engine", "why", "created", "inexact"} of what is remembered in a folder."""
    facts = [_facts(place) for place in sorted(pathlib.Path(folder).glob(f"*{ENDING}"))]
    return [fact for fact in facts if fact]


def _facts(place):
    """What a file remembers; {} where there is none, or none that can be read."""
    try:
        facts = json.loads(place.read_text(encoding="utf-8"))
        told = {name: str(facts[name]) for name in ("tower", "engine", "why", "created")}
        return {**told, "inexact": facts.get("inexact") is True}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _remembered(place):
    """(kind of error, why) that a file tells; None without one."""
    facts = _facts(place)
    if not facts:
        return None
    kind = Inexact if facts["inexact"] else EngineError
    return kind, f"{facts['why']} It was tried on {facts['created']}; `mmkeras cache clear` forgets that."


def _keep(place, facts):
    facts, fresh = (
        {**facts, "created": time.strftime("%Y-%m-%d %H:%M")},
        place.with_name(f"part-{uuid.uuid4().hex[:8]}"),
    )
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(json.dumps(facts), encoding="utf-8")
        fresh.rename(place)
    except OSError:  # then another process tries for itself
        with contextlib.suppress(OSError):
            fresh.unlink()
