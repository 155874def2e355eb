"""Running a server until it is told to stop."""

import contextlib
import errno
import signal
import socket

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

SIGNALS = (signal.SIGINT, signal.SIGTERM)
HEADER_SECONDS = 10.0  # from a connection, or the first byte of a further request, to the end of its headers


def listen(host, port):
    """A socket that listens; who connects waits until the server answers.

    Args:
        host: str, a name or an address.
        port: int; 0 takes any that is free.

    Raises:
        ValueError: no port, or no host of that name.
        OSError: another program has the port, or this one may not.
    """
    if not 0 <= port < 2**16:
        raise ValueError(f"A port must be a number from 0 to 65535. Received: {port}.")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise ValueError(f"There is no host {host!r}. Give an address of this machine, such as 127.0.0.1.") from error
    place = socket.socket(family, socket.SOCK_STREAM)
    try:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind(address)
        place.listen(2048)
    except OSError as error:
        place.close()
        if error.errno == errno.EADDRINUSE:
            fault = f"Port {port} of {host} is taken by another program. Give another --port, or 0 for any."
        else:
            fault = f"Nothing can listen on port {port} of {host}: {error.strerror}. Give another --port or --host."
        raise OSError(fault) from error
    return place


def address_of(place):
    """The URL of a socket that listens."""
    host, port = place.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(app, place, *, ready=None):
    """Answer until SIGINT or SIGTERM; requests that have begun are answered first.

    Args:
        app: what `make_app` gave.
        place: what `listen` gave.
        ready: function to call when it answers, or None.
    """
    settings = {"log_level": "warning", "access_log": False, "server_header": False}
    config = uvicorn.Config(app, http=PromptProtocol, timeout_graceful_shutdown=30, **settings)
    with _calm():
        if ready is not None:
            ready()
        uvicorn.Server(config).run(sockets=[place])


@contextlib.contextmanager
def _calm():
    """Signals to stop, which uvicorn hands on once it has stopped, end nothing else."""
    before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class PromptProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with a time limit for headers: uvicorn waits for them without end, and holds the connection."""

    def connection_made(self, transport):
        super().connection_made(transport)
        self._deadline = self.loop.call_later(HEADER_SECONDS, transport.close)

    def on_message_begin(self):
        super().on_message_begin()
        self._deadline.cancel()
        self._deadline = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def on_headers_complete(self):
        self._deadline.cancel()
        super().on_headers_complete()

    def connection_lost(self, exc):
        self._deadline.cancel()
        super().connection_lost(exc)
