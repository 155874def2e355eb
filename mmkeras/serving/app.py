"""The ASGI application of one model or several."""

import asyncio
import concurrent.futures
import contextlib
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
from mmkeras.serving.answers import Answers
from mmkeras.serving.batching import Batcher
from mmkeras.serving.hearing import all_warnings
from mmkeras.serving.limits import Limits, Refused
from mmkeras.serving.openapi import openapi
from mmkeras.serving.requests import Reader

OPEN = ("/", "/healthz")  # what anybody may ask
LARGE = 2**16  # bytes of a body that others do not wait for to be read
STATE = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}


def make_app(pipes, token=None, limits=None):
    """An ASGI application that answers as TensorFlow Serving's REST does; see `docs/serving.md`.

    Args:
        pipes: {name: fitted `Pipeline`}.
        token: str that clients must send as "Authorization: Bearer …", or None.
        limits: `Limits`, or None.

    Example:
        >>> import mmkeras as mm
        >>> pipe = mm.Pipeline([mm.Tabular(numeric=["budget", "runtime"])], mm.MultiLabel("genres"))
        >>> history = pipe.fit(mm.samples.movies(60, seed=0), epochs=1, verbose=0)
        >>> app = make_app({"films": pipe})  # `uvicorn.run(app)` serves it
        >>> [route.path for route in app.routes][-1]
        '/v1/models/{name}:predict'
    """
    server = Server({name: Answers(pipe) for name, pipe in pipes.items()}, limits or Limits())
    app = Starlette(
        routes=[
            Route("/", server.front),
            Route("/healthz", server.health),
            Route("/openapi.json", server.schema),
            Route("/v1/models/{name}", server.state),
            Route("/v1/models/{name}:predict", server.predict, methods=["POST"]),
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
        models: {name: `Answers`}.
        limits: `Limits`.
    """

    def __init__(self, models, limits):
        self.models, self.limits = models, limits
        self._pool = concurrent.futures.ThreadPoolExecutor(1, "predict")
        self._readers = {name: Reader(answers.columns, limits) for name, answers in models.items()}
        self._batchers = {name: Batcher(answers, self._pool) for name, answers in models.items()}
        self._schema = openapi(models, limits, VERSION)

    @contextlib.asynccontextmanager
    async def running(self, app):
        """While the server runs."""
        with all_warnings():
            yield
        self._pool.shutdown()

    async def front(self, request):
        lines = [f"mmkeras {VERSION} serves:"]
        lines += [f"  POST /v1/models/{name}:predict   {answers.about}" for name, answers in self.models.items()]
        columns = next(iter(self.models.values())).columns
        row = json.dumps({"instances": [dict.fromkeys(list(columns)[:3])]})
        return PlainTextResponse("\n".join([*lines, f"with rows as JSON, such as {row}", "see /openapi.json", ""]))

    async def health(self, request):
        return answered({"status": "ok"})

    async def schema(self, request):
        return answered(self._schema)

    async def state(self, request):
        if request.path_params["name"].endswith(":predict"):
            raise HTTPException(405)
        self._known(request)
        return answered({"model_version_status": [STATE]})

    async def predict(self, request):
        name = self._known(request)
        try:
            async with asyncio.timeout(self.limits.seconds):
                question = await self._question(request, self._readers[name])
                answer = await self._batchers[name].ask(question)
        except TimeoutError:
            sentence = f"A request may take {self.limits.seconds:g} seconds. Send fewer rows, or try again in a while."
            raise Refused(503, sentence) from None
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        content = {} if answer.decisions is None else {"decisions": answer.decisions}
        if answer.told:
            content["warnings"] = answer.told
        if question.by_row:
            rows = zip(*answer.table.values(), strict=True)
            return answered({"predictions": [dict(zip(answer.table, row, strict=True)) for row in rows], **content})
        return answered({"outputs": answer.table, **content})

    def _known(self, request):
        name = request.path_params["name"]
        if name not in self.models:
            raise Refused(404, f"The server has the models {list(self.models)}. Received: {name[:100]!r}.")
        return name

    async def _question(self, request, reader):
        body = await read_body(request, self.limits.body)
        if request.headers.get("content-type", "").lower().startswith("multipart/"):
            return await asyncio.to_thread(reader.form, await form_fields(request, body, self.limits))
        # Anything else is taken for JSON: `curl -d` says that it sends a form.
        return reader.json(body) if len(body) < LARGE else await asyncio.to_thread(reader.json, body)


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
