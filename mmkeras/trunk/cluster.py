"""A Ray cluster: the library, a connection, and how many workers it has room for. No other file imports Ray."""

import contextlib
import os
import socket

ANSWER = 5.0  # seconds


def library():
    """Ray.

    Raises:
        ImportError: it is not there.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise ImportError(
            "`on='ray'` needs the package ray. Received: a Python without it. Run `pip install 'mmkeras[ray]'`, or use on='local'."
        ) from error
    return ray


@contextlib.contextmanager
def connected(ray):
    """Connected to the cluster of $RAY_ADDRESS, or to this machine; a connection that is made here is closed here.

    Raises:
        ConnectionError: the cluster does not answer, or does not start.
    """
    if ray.is_initialized():
        yield
        return
    check_address(os.environ.get("RAY_ADDRESS", ""))
    try:
        try:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
        except Exception as error:  # Ray has no kind of its own for it
            raise ConnectionError(
                f"`on='ray'` needs Ray to start, or to be let in. Received: {str(error).strip() or type(error).__name__:.300} Call "
                "again once other jobs leave it cores and memory, or use on='local'."
            ) from error
        yield
    finally:
        ray.shutdown()


def check_address(address):
    """Raise unless something listens at an address of the form host:port; Ray itself would try for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), ANSWER).close()
    except OSError as error:
        raise ConnectionError(
            f"$RAY_ADDRESS must be that of a running cluster. Received: {address!r}, which does not answer ({error}). Run `ray start "
            "--head` there, or unset it to use this machine."
        ) from error


def room(ray, workers, gpus, say):
    """How many workers fit; fewer than asked for are told.

    Args:
        ray: the library, connected. workers: int. gpus: float, of each. say: function of a sentence.

    Raises:
        RuntimeError: there is room for none.
    """
    free = ray.available_resources()
    fits = {"CPU": int(free.get("CPU", 0))}
    if gpus:
        fits["GPU"] = int(free.get("GPU", 0) / gpus)
    short, count = min(fits, key=fits.get), min(fits.values())
    if not count:
        raise RuntimeError(
            f"Each worker needs a free CPU{f' and {gpus:g} GPUs' if gpus else ''}. Received: a cluster with no free {short} for one "
            f"({resources(ray)}). End other jobs, or add machines."
        )
    if count < workers:
        say(
            f"{workers} workers need more {short}s than are free ({resources(ray)}): {count} run. End other jobs, or add machines.",
            flush=True,
        )
    return min(count, workers)


def resources(ray):
    """What is free of a cluster, as a sentence's part."""
    free, total = ray.available_resources(), ray.cluster_resources()
    told = [f"{free.get(name, 0):g} of {total.get(name, 0):g} {name}s free" for name in ("CPU", "GPU") if name in total]
    return ", ".join(told) or "no CPUs"
