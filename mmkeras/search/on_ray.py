"""The trials of a search on a Ray cluster: KerasTuner's chief, which chooses them, and workers, in processes that Ray starts."""

import os
import socket

from mmkeras.search.study import read_records
from mmkeras.trunk.cluster import connected, library, room
from mmkeras.trunk.store import CacheFolder

PLACES = ("local", "ray")
EVERY = 2.0  # seconds between looks at what has ended
STARTS = 2  # times that a trial may end its worker


class Member:
    """A chief or a worker; Ray makes it in a process of its own."""

    def address(self):
        """(host, port) of this process, which becomes a chief."""
        host = library().util.get_node_ip_address()
        with socket.socket() as free:
            free.bind((host, 0))
            port = free.getsockname()[1]
        _name("chief", host, port)
        return host, port

    def serve(self, study):
        """Choose trials for workers until there is none left."""
        from mmkeras.search.autokeras import tuners

        tuners.run(study, None)

    def work(self, number, chief, study, make, *, cache_dir):
        """Run the trials that a chief chooses.

        Args:
            number: int. chief: its (host, port). study: `Study`.
            make: function of a `CacheFolder` to trials. cache_dir: str or None.
        """
        from mmkeras.search.autokeras import tuners

        _name(f"worker_{number}", *chief)
        tuners.run(study, make(CacheFolder(cache_dir)).run)


def _name(name, host, port):
    """Tell KerasTuner by its own variables what this process is, which ends with the search."""
    os.environ.update(
        KERASTUNER_TUNER_ID=name, KERASTUNER_ORACLE_IP=host, KERASTUNER_ORACLE_PORT=str(port), no_grpc_proxy=host
    )


def run_on_ray(study, make, cache_dir, *, workers, gpus):
    """Run the trials of a search, which goes on where an earlier call was broken off.

    Args:
        study: `Study`, in a folder that all machines see.
        make: function of a `CacheFolder` to trials; it is shipped once, with its rows.
        cache_dir: str or None, of the cache of each worker.
        workers: int. gpus: float, of each.

    Raises:
        ImportError: no Ray. ConnectionError: the cluster does not answer. RuntimeError: it has no room, or a process failed.
    """
    ray, say = library(), print if study.verbose else lambda *_, **__: None
    with connected(ray):
        count, kind = room(ray, workers, gpus, say), ray.remote(Member)
        often = STARTS * study.max_trials
        options = {"num_cpus": 1, "num_gpus": gpus, "max_restarts": often, "max_task_retries": often}
        chief, *members = kind.options(num_cpus=0).remote(), *(kind.options(**options).remote() for _ in range(count))
        try:
            address, shared = ray.get(chief.address.remote()), [ray.put(study), ray.put(make)]
            serving = chief.serve.remote(shared[0])
            working = [
                member.work.remote(number, address, *shared, cache_dir=cache_dir)
                for number, member in enumerate(members)
            ]
            _wait(ray, serving, working, study, say=say)
        finally:  # all that matters is in the folder
            for member in (chief, *members):
                ray.kill(member)


def _wait(ray, serving, working, study, *, say):
    """Wait for all workers; trials are told as they end."""
    told, left = {record["trial"] for record in read_records(study.directory)}, [serving, *working]
    while set(left) - {serving}:
        ended, left = ray.wait(left, timeout=EVERY)
        try:
            ray.get(ended)
        except ray.exceptions.RayError as error:
            raise RuntimeError(
                f"The chief and the workers of a search must live until it ends. Received: {_reason(error)}. Call again: it goes on "
                f"in {str(study.directory)!r}."
            ) from error
        for record in read_records(study.directory):
            if record["trial"] not in told:
                told.add(record["trial"])
                say(study.line(record), flush=True)


def _reason(error):
    cause = getattr(error, "cause", None) or error
    return " ".join(f"{type(cause).__name__}: {cause}".split())[:500]


def check_place(on, engine, directory, workers):
    """Raise a ValueError unless a search may run there."""
    if on not in PLACES:
        raise ValueError(f"`on` must be one of {PLACES}. Received: {on!r}.")
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ValueError(f"`workers` must be an integer of 1 or more. Received: {workers!r}.")
    if on == "local":
        return
    if engine != "kerastuner":
        raise ValueError(
            f"Processes share the trials of engine='kerastuner'. Received: on='ray' with engine={engine!r}, whose trials share features "
            "in memory. Use engine='kerastuner', or on='local'."
        )
    if directory is None:
        raise ValueError("on='ray' needs a folder that all machines see. Received: directory=None. Give `directory`.")
    if "KERASTUNER_ORACLE_IP" in os.environ:
        raise ValueError(
            "on='ray' names chief and workers itself. Received: KERASTUNER_ORACLE_IP in the environment. Unset it, or use on='local'."
        )
