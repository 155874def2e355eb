"""Connections on which a client may not take for ever to say what it wants."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

SECONDS = 10.0  # from a connection, or the first byte of a further request, to the end of its headers


class PromptProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with a time limit for headers: uvicorn waits for them without end, and holds the connection."""

    def connection_made(self, transport):
        super().connection_made(transport)
        self._deadline = self.loop.call_later(SECONDS, transport.close)

    def on_message_begin(self):
        super().on_message_begin()
        self._deadline.cancel()
        self._deadline = self.loop.call_later(SECONDS, self.transport.close)

    def on_headers_complete(self):
        self._deadline.cancel()
        super().on_headers_complete()

    def connection_lost(self, exc):
        self._deadline.cancel()
        super().connection_lost(exc)
