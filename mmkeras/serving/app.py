"""The ASGI application of one model or several."""

import asyncio
import concurrent.futures
import contextlib
import functools
import hmac
import json
import math

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from mmkeras.persistence import VERSION
from mmkeras.serving.answers import signatures
from mmkeras.serving.batching import Batcher
from mmkeras.serving.finding import Finder
from mmkeras.serving.hearing import all_warnings
from mmkeras.serving.limits import Limits, Refused
from mmkeras.serving.openapi import openapi
from mmkeras.serving.requests import SERVE, Reader, parsed, signature_of

OPEN = ("/", "/healthz")  # what anybody may ask
LARGE = 2**16  # bytes of a body that others do not wait for to be read
STATE = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}


def make_app(pipes, token=None, limits=None, indexes=None):
    """An ASGI application that answers as TensorFlow Serving's REST does; see `docs/serving.md`.

    Args:
        pipes: {name: fitted `Pipeline`}.
        token: str that clients must send as "Authorization: Bearer …", or None.
        limits: `Limits`, or None.
        indexes: {name of a model for `Retrieval`: `Index` of its items}, in which queries are found; or None.

    Raises:
        ValueError: an index of another model, or of one that is not served.

    Example:
        >>> import mmkeras as mm
        >>> pipe = mm.Pipeline([mm.Tabular(numeric=["budget", "runtime"])], mm.MultiLabel("genres"))
        >>> history = pipe.fit(mm.samples.movies(60, seed=0), epochs=1, verbose=0)
        >>> app = make_app({"films": pipe})  # `uvicorn.run(app)` serves it
        >>> [route.path for route in app.routes][-1]
        '/v1/models/{name}:retrieve'
    """
    models = {name: signatures(pipe) for name, pipe in pipes.items()}
    for name in indexes or {}:
        if name not in pipes:
            raise ValueError(f"An index belongs to a model that is served, one of {list(pipes)}. Received: {name!r}.")
    finders = {name: Finder(pipes[name], index) for name, index in (indexes or {}).items()}
    server = Server(models, limits or Limits(), finders)
    app = Starlette(
        routes=[
            Route("/", server.front),
            Route("/healthz", server.health),
            Route("/openapi.json", server.schema),
            Route("/v1/models/{name}", server.state),
            Route("/v1/models/{name}:predict", server.predict, methods=["POST"]),
            Route("/v1/models/{name}:retrieve", server.retrieve, methods=["POST"]),
        ],
        exception_handlers={Refused: refused, HTTPException: not_there, Exception: failed},
        lifespan=server.running,
    )
    if token is not None:
        app.add_middleware(Guard, token=token)
    return app


class Server:
    """What the application does with requests.

    Args:
        models: {name: {signature: `Answers`}}.
        limits: `Limits`.
        finders: {name: `Finder`} of the models with an index.
    """

    def __init__(self, models, limits, finders):
        self.models, self.limits, self.finders = models, limits, finders
        self._pool = concurrent.futures.ThreadPoolExecutor(1, "predict")
        self._readers, self._batchers = {}, {}
        for name, each in models.items():
            for signature, answers in each.items():
                self._readers[name, signature] = Reader(answers.columns, limits)
                self._batchers[name, signature] = Batcher(answers, self._pool)
        self._schema = openapi(models, limits, VERSION, finders)

    @contextlib.asynccontextmanager
    async def running(self, app):
        """While the server runs."""
        with all_warnings():
            yield
        self._pool.shutdown()

    async def front(self, request):
        lines = [f"mmkeras {VERSION} serves:"]
        lines += [f"  POST /v1/models/{name}:predict   {each[SERVE].about}" for name, each in self.models.items()]
        lines += [f"  POST /v1/models/{name}:retrieve   {finder.about}" for name, finder in self.finders.items()]
        columns = next(iter(self.models.values()))[SERVE].columns
        row = json.dumps({"instances": [dict.fromkeys(list(columns)[:3])]})
        return PlainTextResponse("\n".join([*lines, f"with rows as JSON, such as {row}", "see /openapi.json", ""]))

    async def health(self, request):
        return answered({"status": "ok"})

    async def schema(self, request):
        return answered(self._schema)

    async def state(self, request):
        if request.path_params["name"].endswith((":predict", ":retrieve")):
            raise HTTPException(405)
        self._known(request)
        return answered({"model_version_status": [STATE]})

    async def predict(self, request):
        """What a model says of rows; vectors of a side where the request names that signature."""
        return await self._timed(self._predict(request, self._known(request)))

    async def retrieve(self, request):
        """The items of a model's index that queries find."""
        name = self._known(request)
        if name not in self.finders:
            sentence = f"The server has an index for the models {list(self.finders)}. Received: {name!r}. Start it with --index."
            raise Refused(404, sentence)
        return await self._timed(self._retrieve(request, name))

    async def _timed(self, answering):
        try:
            async with asyncio.timeout(self.limits.seconds):
                return answered(await answering)
        except TimeoutError:
            sentence = f"A request may take {self.limits.seconds:g} seconds. Send fewer rows, or try again in a while."
            raise Refused(503, sentence) from None
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it

    async def _predict(self, request, name):
        content, read = await self._content(request, ["signature_name"])
        signature = signature_of(content, self.models[name])
        question = await read(self._readers[name, signature])
        return said(await self._batchers[name, signature].ask(question), question.by_row)

    async def _retrieve(self, request, name):
        content, read = await self._content(request, ["k"])
        finder, signature = self.finders[name], Finder.signature
        k = finder.checked(content.get("k"))
        question = await read(self._readers[name, signature])
        answer = await self._batchers[name, signature].ask(question)
        find = functools.partial(finder.found, answer, k)
        return said(await asyncio.get_running_loop().run_in_executor(self._pool, find), question.by_row)

    def _known(self, request):
        name = request.path_params["name"]
        if name not in self.models:
            raise Refused(404, f"The server has the models {list(self.models)}. Received: {name[:100]!r}.")
        return name

    async def _content(self, request, beside):
        """(content of a body, function of a `Reader` to its `Question`); of a form the content is {}."""
        body = await read_body(request, self.limits.body)
        # Anything but a form is taken for JSON: `curl -d` says that it sends a form.
        if request.headers.get("content-type", "").lower().startswith("multipart/"):
            fields = await form_fields(request, body, self.limits)
            return {}, lambda reader: asyncio.to_thread(reader.form, fields)
        content = await _run(body, parsed, body, beside)
        return content, lambda reader: _run(body, reader.json, content)


async def _run(body, function, *args):
    """What a function gives; of a large body from another thread."""
    return function(*args) if len(body) < LARGE else await asyncio.to_thread(function, *args)


def said(answer, by_row):
    """A `Reply` as the content of a response."""
    content = {} if answer.decisions is None else {"decisions": answer.decisions}
    if answer.told:
        content["warnings"] = answer.told
    if by_row:
        rows = zip(*answer.table.values(), strict=True)
        return {"predictions": [dict(zip(answer.table, row, strict=True)) for row in rows], **content}
    return {"outputs": answer.table, **content}


class Guard:
    """Lets through who knows the token.

    Args:
        app: ASGI application.
        token: str.
    """

    def __init__(self, app, token):
        self._app, self._token = app, f"bearer {token}".encode()

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http" and scope["path"] not in OPEN and not self._knows(dict(scope["headers"])):
            sentence = 'This server wants a token: "Authorization: Bearer TOKEN". Received: none, or another one.'
            response = answered({"error": sentence}, 401, {"www-authenticate": "Bearer"})
            await response(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _knows(self, headers):
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        return hmac.compare_digest(scheme.lower() + b" " + token.strip(), self._token)


async def read_body(request, most):
    """The bytes of a body.

    Raises:
        Refused: there are more than `most`. What comes is thrown away for a while first, so that the client hears it.
    """
    announced = int(request.headers.get("content-length", 0))
    waits = "expect" in request.headers  # for a word before it sends anything
    chunks, size = [], 0
    if announced <= most or not (waits or announced > 8 * most):
        async for chunk in request.stream():
            size += len(chunk)
            if size <= most:
                chunks.append(chunk)
            elif size > 8 * most:
                break
    if max(size, announced) > most:
        received = f"{max(size, announced):,}"
        raise Refused(
            413, f"A body may have {most:,} bytes. Received: {received}. Send fewer rows, or smaller pictures."
        )
    return b"".join(chunks)


async def form_fields(request, body, limits):
    """[(name, str or bytes)] of a form of several parts, in order.

    Raises:
        Refused: it is none.
    """

    async def whole():
        return {"type": "http.request", "body": body, "more_body": False}

    most = 100 * limits.rows
    try:
        form = await Request(request.scope, whole).form(max_files=most, max_fields=most, max_part_size=limits.body)
    except HTTPException as error:
        raise Refused(400, f"The body must be a form of several parts. Received: {error.detail}") from error
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(form.close)
        return [(name, cell if isinstance(cell, str) else await cell.read()) for name, cell in form.multi_items()]


def answered(content, status=200, headers=None):
    """A response of JSON; what is no number is null."""
    try:
        text = json.dumps(content, allow_nan=False, default=_plain)
    except ValueError:
        text = json.dumps(_finite(content), default=_plain)
    return Response(text, status, headers, "application/json")


async def refused(request, error):
    headers = {"retry-after": "1"} if error.status == 503 else None
    return answered({"error": error.sentence}, error.status, headers)


async def not_there(request, error):
    shown = f"{request.method} {request.url.path[:100]}"
    sentence = f"{error.detail}: {shown}. The server answers GET /, and POST /v1/models/NAME:predict."
    return answered({"error": sentence}, error.status_code, error.headers)


async def failed(request, error):
    return answered({"error": "The server failed at this request; its log tells why."}, 500)


def _plain(value):
    """What JSON has no form for."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
