"""What towers engines refused, remembered beside the cache, so that no process tries in vain again."""

import contextlib
import json
import pathlib
import time
import uuid

from mmkeras.data.recent import Recent
from mmkeras.trunk.engines.base import EngineError

_known = Recent(256)  # key of features → why: in one process it will not do better, whatever cache it has
ENDING = ".refused.json"


def open_tower(engine, tower, key, *, folder, **how):
    """`run` for a tower by an engine, see `OpenVINO.open`, unless the engine is known to refuse it.

    Raises:
        EngineError: it refuses, or did before: in this process, or in another with this folder and the same versions.
    """
    place = pathlib.Path(folder) / f"{key.hex()}-{engine.versions}{ENDING}"
    why = _known.get(key) or _why(place)
    if why:
        raise EngineError(why)
    try:
        return engine.open(tower, key, folder=folder, **how)
    except EngineError as error:
        _known.put(key, str(error))
        _keep(place, {"tower": tower.name.removesuffix("_frozen"), "engine": str(engine), "why": str(error)})
        raise


def refused(folder):
    """A list of {"tower", "engine", "why", "created"} of what is remembered in a folder."""
    facts = [_facts(place) for place in sorted(pathlib.Path(folder).glob(f"*{ENDING}"))]
    return [fact for fact in facts if fact]


def _facts(place):
    """What a file remembers; {} where there is none, or none that can be read."""
    try:
        facts = json.loads(place.read_text(encoding="utf-8"))
        return {name: str(facts[name]) for name in ("tower", "engine", "why", "created")}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _why(place):
    facts = _facts(place)
    return facts and f"{facts['why']} It was tried on {facts['created']}; `mmkeras cache clear` forgets that."


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
