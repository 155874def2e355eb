"""Saved models behind HTTP, over a real socket: one server with four models, in a process of its own."""

import asyncio
import base64
import concurrent.futures
import contextlib
import http.client
import io
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import types
import warnings
import zlib

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import uvicorn
from PIL import Image as Picture

import mmkeras as mm
from mmkeras.__main__ import main
from mmkeras.serving import answers as serving_answers
from mmkeras.serving import app as serving_app
from mmkeras.serving import running as serving_running
from mmkeras.serving.answers import Answers, Part, Reply
from mmkeras.serving.batching import MOST_WAITING, Batcher
from mmkeras.serving.hearing import all_warnings
from mmkeras.serving.limits import Limits, Refused
from mmkeras.serving.pictures import pixels_of
from mmkeras.serving.requests import Question, Reader, parsed
from mmkeras.serving.running import address_of, listen

TOKEN, ROWS, BYTES, PIXELS = "swordfish", 200, 400_000, 10_000
QUICK = {"epochs": 1, "verbose": 0, "optimizer": "sgd"}  # whose step is made in the shortest time
COLUMNS = ["overview", "budget", "run time", "released", "language"]
FILM = {
    "overview": "A card sharp on a train",
    "budget": 2e6,
    "run time": 90,
    "released": "1999-05-02",
    "language": "en",
}


def films(rows=60):
    df = mm.samples.movies(rows, seed=0).assign(language=[("en", "fr", None)[n % 3] for n in range(rows)])
    return df.rename(columns={"runtime": "run time", "release_date": "released"})[[*COLUMNS, "genres"]]


@pytest.fixture(scope="module")
def film_pipe():
    tabular = mm.Tabular(numeric=["budget", "run time"], datetime="released", categorical=["language"])
    pipe = mm.Pipeline([mm.Text("overview", encoder="lexical"), tabular], mm.MultiLabel("genres"))
    pipe.fit(films(), **QUICK)
    return pipe


def drawn(colour, side=12):
    return tf.io.encode_png(np.full((side, side, 3), colour, "uint8")).numpy()


@pytest.fixture(scope="module")
def picture_pipes():
    """(a regression of pictures, a captioner of pictures of which unreadable ones count as missing)."""
    df = pd.DataFrame({"picture": [drawn(20 * n) for n in range(12)], "light": np.arange(12.0)})
    df["said"] = [["a dark square", "it is dark"] if n < 6 else ["a light square"] for n in range(12)]
    image = {"encoder": "scratch", "image_size": (32, 32), "augment": False}
    light = mm.Pipeline([mm.Image("picture", **image)], mm.Regression("light"))
    light.fit(df, False, **QUICK)
    task = mm.Caption("said", sequence_length=6, min_count=1)
    writer = mm.Pipeline([mm.Image("picture", pooling=None, on_error="missing", **image)], task, width=8, heads=2)
    writer.fit(df, False, **QUICK)
    return light, writer


@pytest.fixture(scope="module")
def finder():
    """(a Pipeline for retrieval of lights by words, items with ids)."""
    rows = pd.DataFrame(
        {"words": [f"light {n}" for n in range(12)], "light": np.arange(12.0), "id": list("abcdefghijkl")}
    )
    sides = [mm.Text("words", encoder="lexical"), mm.Tabular(numeric="light")]
    pipe = mm.Pipeline(sides, mm.Retrieval(query="text", items="tabular", width=4))
    pipe.fit(rows, False, **QUICK)
    return pipe, rows


class Client:
    """What asks the server, with its token unless told otherwise."""

    def __init__(self, process, port, log):
        self.process, self.port, self.log = process, port, log

    def ask(self, path, body=None, **headers):
        """(status, JSON or text of the answer)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        if isinstance(body, dict | list):
            body = json.dumps(body)
        headers = {"Authorization": f"Bearer {TOKEN}", **headers}
        connection.request("GET" if body is None else "POST", path, body, headers)
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, json.loads(text) if response.headers["content-type"] == "application/json" else text

    def predict(self, body, model="films", **headers):
        return self.ask(f"/v1/models/{model}:predict", body, **headers)


def start(arguments, folder):
    """`Client` of a server that has just been started."""
    log = open(folder / "log", "w+")  # noqa: SIM115
    command = [sys.executable, "-m", "mmkeras", "serve", *arguments, "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, "MMKERAS_TOKEN": TOKEN}
    )
    line = process.stdout.readline()
    port = re.search(r":(\d+)/", line)
    assert port, (line, (folder / "log").read_text())
    return Client(process, int(port[1]), folder / "log")


def stop(client):
    """Tell it to stop while it is at work: what it has begun it answers, and then it ends well."""
    body = {"instances": films(50)[COLUMNS].to_dict("records")}
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(client.predict, body) for _ in range(4)]
        concurrent.futures.wait(asked, return_when=concurrent.futures.FIRST_COMPLETED)
        client.process.send_signal(signal.SIGTERM)
        said, _ = client.process.communicate(timeout=30)
    assert [status for status, _ in (answer.result() for answer in asked)] == [200] * 4
    assert client.process.returncode == 0 and said.endswith("Stopped.\n")
    assert "Traceback" not in client.log.read_text()
    with pytest.raises(OSError):
        client.predict(body)


@pytest.fixture(scope="module")
def server(film_pipe, picture_pipes, finder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve")
    film_pipe.save(folder / "films" / "model")  # as `train` writes it
    finder[0].save(folder / "finder")
    mm.index_items(*finder, ids="id").save(folder / "items")
    for name, pipe in zip(("light", "writer"), picture_pipes, strict=True):
        pipe.save(folder / name)
    limits = f"--max-rows {ROWS} --max-bytes {BYTES} --max-pixels {PIXELS}".split()
    models = [folder / "films", f"lights={folder}/light", folder / "writer", folder / "finder"]
    client = start([*map(str, models), "--index", f"finder={folder}/items", *limits], folder)
    yield client
    stop(client)


def b64(data):
    return {"b64": base64.b64encode(data).decode()}


# === Answers ===


def test_rows_and_columns_are_answered_as_predict_answers(server, film_pipe):
    df = films(9)[COLUMNS]
    table, labels = film_pipe.predict(df), film_pipe.predict_labels(df).tolist()
    status, answer = server.predict({"instances": df.to_dict("records")})
    assert status == 200 and set(answer) == {"predictions", "decisions"}
    np.testing.assert_allclose(pd.DataFrame(answer["predictions"])[table.columns], table, atol=1e-6)
    assert answer["decisions"] == labels
    status, answer = server.predict({"inputs": df.to_dict("list"), "signature_name": "serving_default"})
    assert status == 200 and list(answer["outputs"]) == list(table.columns)
    np.testing.assert_allclose(pd.DataFrame(answer["outputs"]), table, atol=1e-6)


def test_cells_are_read_as_columns_read_them(server, film_pipe):
    written = {"overview": 1984, "budget": "2,000,000", "run time": True, "released": "2 May 1999", "language": None}
    status, answer = server.predict({"instances": [written]})
    assert status == 200
    expected = film_pipe.predict(pd.DataFrame([written]).astype(object)).iloc[0]
    np.testing.assert_allclose(pd.Series(answer["predictions"][0])[expected.index], expected, atol=1e-6)


def test_columns_that_are_left_out_are_missing_and_may_have_their_names_in_a_graph(server):
    (_, bare), (_, nulls) = server.predict({"instances": [{}]}), server.predict({"instances": [dict.fromkeys(COLUMNS)]})
    assert bare == nulls and len(bare["predictions"]) == 1
    renamed = {name.replace(" ", "_"): value for name, value in FILM.items()}
    assert server.predict({"instances": [renamed]}) == server.predict({"instances": [FILM]})
    assert server.predict({"inputs": {"language": ["en", None]}})[0] == 200


def test_no_rows_have_no_predictions(server, film_pipe):
    assert server.predict({"instances": []}) == (200, {"predictions": [], "decisions": []})
    status, answer = server.predict({"inputs": {"budget": []}})
    assert status == 200 and answer["outputs"] == {name: [] for name in film_pipe.predict(films(2)).columns}


def test_pictures_come_as_base64_or_as_files(server, picture_pipes):
    df = pd.DataFrame({"picture": [drawn(30), None]})
    expected = picture_pipes[0].predict(df)["light"].tolist()
    status, answer = server.predict({"instances": [{"picture": b64(drawn(30))}, {"picture": None}]}, "lights")
    assert status == 200 and set(answer) == {"predictions"}  # the decision is the number
    assert [row["light"] for row in answer["predictions"]] == pytest.approx(expected, rel=1e-5)
    # A model of one column takes bare values, as TensorFlow Serving does.
    assert server.predict({"instances": [b64(drawn(30)), ""]}, "lights") == (200, answer)
    assert server.predict({"inputs": [b64(drawn(30)), None]}, "lights")[1]["outputs"]["light"] == pytest.approx(
        expected
    )
    part = b'--X\r\nContent-Disposition: form-data; name="picture"; filename="a.png"\r\n\r\n'
    body = part + drawn(30) + b"\r\n" + part + b"\r\n--X--\r\n"
    status, form = server.predict(body, "lights", **{"Content-Type": "multipart/form-data; boundary=X"})
    assert (status, form) == (200, answer)


def test_fields_of_a_form_are_cells(server):
    parts = [f'--X\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{cell}\r\n' for name, cell in FILM.items()]
    body = ("".join(parts) + "--X--\r\n").encode()
    form = server.predict(body, **{"Content-Type": "multipart/form-data; boundary=X"})
    assert form == server.predict({"instances": [FILM]})


def test_captions_are_sentences_with_scores(server, picture_pipes):
    status, answer = server.predict({"instances": [b64(drawn(30))]}, "writer")
    expected = picture_pipes[1].predict(pd.DataFrame({"picture": [drawn(30)]})).iloc[0]
    assert status == 200 and set(answer) == {"predictions"}
    assert answer["predictions"][0]["said"] == expected["said"]
    assert answer["predictions"][0]["score"] == pytest.approx(expected["score"], rel=1e-4)


def test_what_counts_as_missing_is_told_to_the_one_it_is_about(server):
    bad = {"instances": [b64(drawn(30)), b64(b"no picture")]}
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        good = [pool.submit(server.predict, {"instances": [b64(drawn(n))]}, "writer") for n in range(6)]
        status, answer = server.predict(bad, "writer")
        assert all("warnings" not in asked.result()[1] for asked in good)
    assert status == 200 and "row 1 of 'picture'" in answer["warnings"][0]
    assert server.predict(bad, "writer") == (status, answer)  # not only the first time


def test_vectors_of_a_side_are_those_that_embed_gives(server, finder):
    pipe, rows = finder
    for side, columns in (("query", ["words"]), ("items", ["light"])):
        body = {"signature_name": f"embed_{side}", "instances": rows[columns].to_dict("records")}
        status, answer = server.predict(body, "finder")
        assert status == 200
        vectors = [row[side] for row in answer["predictions"]]
        np.testing.assert_allclose(vectors, mm.embed(pipe, rows, side=side), atol=1e-6)
    body = {"signature_name": "embed_query", "inputs": {"words": []}}
    assert server.predict(body, "finder") == (200, {"outputs": {"query": []}})


def test_queries_find_items_of_the_index(server, finder):
    pipe, rows = finder
    found = mm.retrieve(pipe, rows[["words"]], mm.index_items(pipe, rows, "id"), k=3)
    body = {"instances": rows["words"].tolist(), "k": 3}
    status, answer = server.ask("/v1/models/finder:retrieve", body)
    assert status == 200
    assert [item for row in answer["predictions"] for item in row["item"]] == found["item"].tolist()
    scores = [score for row in answer["predictions"] for score in row["score"]]
    np.testing.assert_allclose(scores, found["score"], atol=1e-6)
    status, answer = server.ask("/v1/models/finder:retrieve", {"inputs": {"words": ["light 3"]}})
    assert status == 200 and [len(items) for items in answer["outputs"]["item"]] == [10]
    assert server.ask("/v1/models/finder:retrieve", {"instances": []}) == (200, {"predictions": []})
    form = b'--x\r\nContent-Disposition: form-data; name="words"\r\n\r\nlight 3\r\n--x--\r\n'
    content = {"Content-Type": "multipart/form-data; boundary=x"}
    status, answer = server.ask("/v1/models/finder:retrieve", form, **content)
    assert status == 200 and len(answer["predictions"][0]["item"]) == 10


@pytest.mark.parametrize(
    ("model", "body", "status", "message"),
    [
        ("finder", {"instances": [], "k": 0}, 422, "`k` must be an int from 1 to the number of items, 12. Received: 0"),
        ("finder", {"instances": [], "k": 13}, 422, "Received: 13"),
        ("finder", {"instances": [], "k": "3"}, 422, "Received: '3'"),
        ("finder", {"instances": [{"light": 3}]}, 422, "The model reads the columns ['words']. Received: 'light'"),
        ("finder", {"instances": [], "signature_name": "embed_query"}, 400, "the keys ['instances', 'signature_name']"),
        ("films", {"instances": [FILM]}, 404, "The server has an index for the models ['finder']. Received: 'films'"),
        ("film", {"instances": [FILM]}, 404, "Received: 'film'"),
    ],
)
def test_bad_queries_get_a_sentence(server, model, body, status, message):
    got, answer = server.ask(f"/v1/models/{model}:retrieve", body)
    assert got == status and message in answer["error"]


def test_an_index_belongs_to_its_model(film_pipe, finder):
    pipe, rows = finder
    index = mm.index_items(pipe, rows, "id")
    with pytest.raises(ValueError, match="one of \\['other'\\]. Received: 'mine'"):
        serving_app.make_app({"other": pipe}, indexes={"mine": index})
    with pytest.raises(ValueError, match="takes a Pipeline for Retrieval"):
        serving_app.make_app({"mine": film_pipe}, indexes={"mine": index})
    with pytest.raises(ValueError, match="must hold vectors of 4 numbers"):
        serving_app.make_app({"mine": pipe}, indexes={"mine": mm.Index(np.eye(3))})
    index.model = "another"
    with pytest.raises(ValueError, match="Received: one that model another made"):
        serving_app.make_app({"mine": pipe}, indexes={"mine": index})


# === About the server ===


def test_state_health_and_schema(server):
    state = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for name in ("films", "lights", "writer"):
        assert server.ask(f"/v1/models/{name}") == (200, {"model_version_status": [state]})
    assert server.ask("/healthz", Authorization="") == (200, {"status": "ok"})
    status, text = server.ask("/", Authorization="")
    assert status == 200 and "POST /v1/models/films:predict" in text
    status, page = server.ask("/openapi.json")
    assert status == 200 and page["openapi"].startswith("3.") and "/v1/models/films:predict" in page["paths"]
    row = page["components"]["schemas"]["films.row"]
    assert set(row["properties"]) == set(COLUMNS) and "required" not in row and row["additionalProperties"] is False
    assert row["properties"]["budget"]["x-kind"] == "number" and "number" in row["properties"]["budget"]["type"]
    picture = page["components"]["schemas"]["lights.row"]["properties"]["picture"]
    assert picture["type"] == ["object", "null"] and list(picture["properties"]) == ["b64"]
    finding = page["paths"]["/v1/models/finder:retrieve"]["post"]["requestBody"]["content"]["application/json"]
    assert finding["schema"]["oneOf"][0]["properties"]["k"]["maximum"] == 12
    assert set(page["components"]["schemas"]["finder.embed_query.row"]["properties"]) == {"words"}
    assert "POST /v1/models/finder:retrieve   the nearest of 12 items" in text


def test_who_does_not_know_the_token_is_refused(server):
    for headers in ({"Authorization": ""}, {"Authorization": "Bearer guess"}, {"Authorization": f"Basic {TOKEN}"}):
        status, answer = server.predict({"instances": [FILM]}, **headers)
        assert status == 401 and "token" in answer["error"]
    assert server.ask("/openapi.json", Authorization="")[0] == 401
    assert server.predict({"instances": [FILM]}, Authorization=f"bearer {TOKEN}")[0] == 200


def test_paths_that_are_none(server):
    assert server.predict({"instances": [FILM]}, "film") == (
        404, {"error": "The server has the models ['films', 'lights', 'writer', 'finder']. Received: 'film'."},
    )  # fmt: skip
    assert server.ask("/v2")[0] == 404 and "POST /v1/models/NAME:predict" in server.ask("/v2")[1]["error"]
    for path, body in (
        ("/v1/models/films", {}),
        ("/v1/models/films:predict", None),
        ("/v1/models/finder:retrieve", None),
    ):
        status, answer = server.ask(path, body)
        assert status == 405 and "Method Not Allowed" in answer["error"]


# === Bad input ===


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{", 400, "The body must be JSON"),
        (b"\xff\xfe", 400, "The body must be JSON"),
        (b"[" * 100_000, 400, "The body must be JSON"),
        (b"", 400, "The body must be JSON"),
        ([1, 2], 400, "Received: a list"),
        ({"rows": []}, 400, "Received: the keys ['rows']"),
        ({"instances": [], "inputs": {}}, 400, "the keys ['inputs', 'instances']"),
        ({"instances": [], "signature_name": "other"}, 422, "must be one of ['serve']. Received: 'other'"),
        ({"instances": {"budget": 1}}, 422, "`instances` must be a list of rows. Received: an object"),
        ({"instances": [FILM, 3]}, 422, "Received: a number (3) as row 1"),
        ({"instances": [{"budgets": 1}]}, 422, "Received: 'budgets'. Did you mean 'budget'?"),
        ({"instances": [{"run time": 1, "run_time": 2}]}, 422, "'run time' by two names"),
        ({"inputs": {"budget": 3}}, 422, "a list for each column. Received: a number (3) for 'budget'"),
        ({"inputs": {"budget": [3], "language": []}}, 422, "Received: {'budget': 1, 'language': 0}"),
        ({"inputs": {}}, 422, "`inputs` must be"),
        ({"instances": [FILM, {"budget": [1]}]}, 422, "Received: a list ([1]), in row 1, column 'budget'"),
        ({"instances": [{"overview": {"text": "a"}}]}, 422, "Received: an object"),
        ({"instances": [{"budget": {"b64": "MQ=="}}]}, 422, "must be a number, or null"),
        ({"instances": [{"overview": {"b64": "%"}}]}, 422, "A value of b64 must be Base64"),
        ({"instances": [FILM, FILM, {"budget": "lots"}]}, 422, "Received: 'lots' in row 2, column 'budget'"),
        ({"instances": [{"released": "soon"}]}, 422, "must be a date, or null. Received: 'soon' in row 0"),
        (b'{"instances": [{"budget": Infinity}]}', 422, "Received: inf in row 0, column 'budget'"),
        ({"instances": [{"budget": 10**400}]}, 422, "in row 0, column 'budget'"),
        ({"instances": [{}] * 10_000}, 413, f"A request may have {ROWS} rows. Received: 10,000"),
        ({"inputs": {"budget": [1] * 10_000}}, 413, f"A request may have {ROWS} rows. Received: 10,000"),
        ({"instances": [{"overview": "x" * BYTES}]}, 413, f"A body may have {BYTES:,} bytes. Received: "),
    ],
)  # fmt: skip
def test_bad_bodies_get_a_sentence(server, body, status, message):
    code, answer = server.predict(body)
    assert (code, list(answer)) == (status, ["error"])
    assert message in answer["error"]


def test_gaps_are_no_mistakes(server):
    missing = {"budget": "NA", "released": "", "run time": float("nan"), "language": None}
    assert server.predict({"instances": [missing]}) == server.predict({"instances": [{"language": None}]})
    status, answer = server.predict({"instances": [{"overview": "\ud800 half a sign"}]})
    assert status == 200 and len(answer["predictions"]) == 1


def test_bytes_that_come_in_pieces_are_counted_too(server):
    def pieces():
        for _ in range(3 * BYTES // 1000):
            yield b" " * 1000

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    path, headers = "/v1/models/films:predict", {"Authorization": f"Bearer {TOKEN}"}
    connection.request("POST", path, pieces(), headers, encode_chunked=True)
    response = connection.getresponse()
    assert response.status == 413 and "A body may have" in json.loads(response.read())["error"]
    connection.close()


def bomb(side):
    """A few bytes that claim to be a PNG file of side × side pixels."""
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(head)) + chunk + struct.pack(">I", zlib.crc32(chunk))


def test_bad_pictures(server, tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(drawn(30))
    for cell, status, message in [
        (b64(bomb(101)), 413, "A picture may have 10,000 pixels. Received: 10,201, in row 0, column 'picture'"),
        (b64(bomb(2**31 - 1)), 413, "A picture may have 10,000 pixels"),
        (b64(b"no picture"), 422, "row 0 of 'picture' holds 10 bytes: An image must be a JPEG"),
        (str(secret), 422, "must be a picture as {\"b64\": \"…\"}, or null. Received: a string"),
        (7, 422, "must be a picture"),
    ]:  # fmt: skip
        code, answer = server.predict({"instances": [{"picture": cell}]}, "lights")
        assert code == status and message in answer["error"], answer
    assert server.predict({"instances": [b64(drawn(30, side=99))]}, "lights")[0] == 200
    broken = {"Content-Type": "multipart/form-data; boundary=X"}
    assert server.predict(b"no parts", "lights", **broken)[0] == 400
    assert server.predict(b"--X", "lights", **{"Content-Type": "multipart/form-data"})[0] == 400


def test_a_client_that_hangs_up_disturbs_nobody(server):
    body = json.dumps({"instances": [FILM] * 50}).encode()
    head = f"POST /v1/models/films:predict HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: "
    for sent in (body[:100], body):  # in the middle of the body; before the answer
        with socket.create_connection(("127.0.0.1", server.port)) as place:
            place.sendall(f"{head}{len(body)}\r\n\r\n".encode() + sent)
            place.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset, at once
    assert server.predict({"instances": [FILM]})[0] == 200
    assert "Traceback" not in server.log.read_text()


def test_a_client_that_does_not_say_what_it_wants_is_cut_off(monkeypatch):
    monkeypatch.setattr(serving_running, "HEADER_SECONDS", 0.3)

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    def ask(place, *parts, pause):
        with socket.create_connection(place.getsockname(), timeout=10) as client:
            heard = b""
            for part in parts:
                client.sendall(part)
                time.sleep(pause)
            with contextlib.suppress(ConnectionResetError):
                while data := client.recv(1000):
                    heard += data
            return heard

    async def run():
        server = uvicorn.Server(
            uvicorn.Config(app, http=serving_running.PromptProtocol, lifespan="off", log_level="critical")
        )
        with listen("127.0.0.1", 0) as place:
            running = asyncio.create_task(server.serve([place]))
            head = b"GET / HTTP/1.1\r\nHost: x\r\n"
            heard = await asyncio.gather(
                asyncio.to_thread(ask, place, b"", pause=0),
                asyncio.to_thread(ask, place, head, b"Slow: 1\r\n", pause=0.1),
                asyncio.to_thread(ask, place, head, b"Connection: close\r\n\r\n", pause=0.1),
                asyncio.to_thread(ask, place, head + b"\r\n", head, pause=0.1),
            )
            server.should_exit = True
            await running
        return heard

    nothing, slow, prompt_enough, second_slow = asyncio.run(run())
    assert (nothing, slow) == (b"", b"")
    assert prompt_enough.endswith(b"ok") and second_slow.endswith(b"ok") and second_slow.count(b"200 OK") == 1


def test_many_clients_get_what_each_would_get_alone(server):
    rows = films(40)[COLUMNS].to_dict("records")
    bodies = [{"instances": rows[n : n + 1 + n % 3]} for n in range(40)]
    bodies[7] = {"instances": [FILM, {"budget": "lots"}]}
    alone = [server.predict(body) for body in bodies]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        together = list(pool.map(server.predict, bodies))
    assert [status for status, _ in together] == [status for status, _ in alone] == [200] * 7 + [422] + [200] * 32
    assert together[7] == alone[7]
    for (_, one), (_, other) in zip(alone[8:], together[8:], strict=True):
        np.testing.assert_allclose(pd.DataFrame(one["predictions"]), pd.DataFrame(other["predictions"]), atol=1e-6)


# === Starting and stopping ===


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("nowhere", "There is no folder 'nowhere'"),
        ("{folder}", "must be whole|holds|saved"),
        ("{folder} {folder}", "different names. Received: 'model' twice"),
        ("a:b={folder}", "A model's name must be letters"),
        ("{folder} --port {taken}", "Port {taken} of 127.0.0.1 is taken by another program"),
        ("{folder} --port 70000", "A port must be a number from 0 to 65535"),
        ("{folder} --host no.such.host.invalid", "There is no host"),
        ("{folder} --host 192.0.2.1 --port 0", "Nothing can listen on port 0 of 192.0.2.1"),
        ("{folder} --max-rows 0", "A limit must be greater than 0. Received: rows=0"),
        ("{folder} --token=", "--token must be ASCII"),
        ("{folder} --index other={folder}", "--index must be NAME=FOLDER, once for each of the models \\['model'\\]"),
        ("{folder} --index {folder} --index model={folder}", "Received: 'model="),
    ],
)
def test_what_cannot_be_served(tmp_path, capsys, arguments, message):
    (tmp_path / "model").mkdir()
    with listen("127.0.0.1", 0) as place:
        words = {"folder": tmp_path / "model", "taken": place.getsockname()[1]}
        more = "" if "--port" in arguments else " --port 0"
        assert main(["serve", *f"{arguments}{more}".format(**words).split()]) == 2
    captured = capsys.readouterr().err
    assert re.search(message.format(**words), captured) and "Traceback" not in captured


def test_a_server_without_its_packages_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "mmkeras.serving.running")
    monkeypatch.delattr("mmkeras.serving.running")
    assert main(["serve", str(tmp_path)]) == 2
    assert "pip install 'mmkeras[serve]'" in capsys.readouterr().err


def test_addresses():
    with listen("127.0.0.1", 0) as place:
        assert address_of(place) == f"http://127.0.0.1:{place.getsockname()[1]}"
    place = types.SimpleNamespace(getsockname=lambda: ("::1", 80, 0, 0))
    assert address_of(place) == "http://[::1]:80"


# === Its parts ===


def test_what_waits_is_predicted_together_and_many_rows_in_parts():
    calls = []

    class Counted:
        nothing = Reply({"x": []}, None)

        def together(self, parts):
            calls.append([part.rows for part in parts])
            if any(part.cells["x"][0] == "bad" for part in parts):
                raise RuntimeError("broken")
            return [Reply({"x": part.cells["x"]}, None, [f"row {part.start}"]) for part in parts]

    async def run():
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            batcher = Batcher(Counted(), pool)
            many = Question({"x": list(range(150))}, 150)
            asked = [batcher.ask(many), *(batcher.ask(Question({"x": [n]}, 1)) for n in range(30))]
            answers = await asyncio.gather(*asked)
            with pytest.raises(RuntimeError, match="broken"):
                await batcher.ask(Question({"x": ["bad"]}, 1))
            late = asyncio.create_task(batcher.ask(Question({"x": [1]}, 1)))
            await asyncio.sleep(0)
            late.cancel()
            batcher._rows = MOST_WAITING
            with pytest.raises(Refused, match="The server is busy"):
                await batcher.ask(Question({"x": [1]}, 1))
            return answers

    first, *others = asyncio.run(run())
    assert first.table["x"] == list(range(150)) and first.told == ["row 0", "row 64", "row 128"]
    assert [answer.table["x"] for answer in others] == [[n] for n in range(30)]
    assert max(map(sum, calls)) <= 64 and max(map(len, calls)) >= 15 and len(calls) <= 7


def test_requests_that_fail_or_take_long_are_told_so_and_what_is_no_number_is_null(monkeypatch):
    class Slow:
        columns, about = mm.Tabular(numeric=["n"]).readers, "a test"
        nothing = Reply({"n": []}, [])

        def __init__(self, pipe):
            pass

        def together(self, parts):
            (number,) = parts[0].cells["n"]
            time.sleep(number)
            return [Reply({"n": [float("nan")]}, [np.float32(1.5)]) if number == 0 else ArithmeticError("a secret")]

    async def ask(app, content):
        sent, body = [], json.dumps(content).encode()

        async def receive():
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message):
            sent.append(message)

        path = "/v1/models/slow:predict"
        scope = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b"", "root_path": ""}
        with contextlib.suppress(ArithmeticError):  # which goes to the log, too
            await app(scope, receive, send)
        return sent[0]["status"], json.loads(sent[1]["body"])

    monkeypatch.setattr(serving_app, "signatures", lambda pipe: {"serve": Slow(pipe)})
    app = serving_app.make_app({"slow": None}, limits=Limits(seconds=0.5))
    answers = [asyncio.run(ask(app, {"instances": [n]})) for n in (0, 0.01, 1)]
    assert answers[0] == (200, {"predictions": [{"n": None}], "decisions": [1.5]})
    assert answers[1] == (500, {"error": "The server failed at this request; its log tells why."})
    assert answers[2][0] == 503 and "A request may take 0.5 seconds" in answers[2][1]["error"]


def test_class_cells_are_equal_alone_and_together_and_faults_stay_with_their_part(film_pipe, monkeypatch):
    answers = Answers(film_pipe)
    rows = films(6)[COLUMNS]
    parts = [Part({name: [cell] for name, cell in row.items()}, 1, 5) for row in rows.to_dict("records")]
    with all_warnings():
        for alone, together in zip([answers.one(part) for part in parts], answers.together(parts), strict=True):
            assert alone.decisions == together.decisions
            np.testing.assert_allclose(list(alone.table.values()), list(together.table.values()), atol=1e-6)
        parts[2].cells["budget"] = ["lots"]
        result = answers.together(parts)
        assert [isinstance(answer, Reply) for answer in result] == [True, True, False, True, True, True]
        assert "in row 5, column 'budget'" in result[2].sentence
        monkeypatch.setattr(serving_answers.pd, "DataFrame", None)
        assert all(isinstance(error, TypeError) for error in answers.together(parts))


def test_warnings_of_others_are_said_as_ever():
    with pytest.warns(UserWarning, match="heard by all"), all_warnings():
        warnings.warn("heard by all", stacklevel=1)


def test_reader_reads_paths_only_where_it_may():
    columns = mm.Image("picture", encoder="scratch").readers
    body = b'{"instances": ["a.png", null]}'
    assert Reader(columns, Limits(paths=True)).json(parsed(body)).cells == {"picture": ["a.png", None]}
    with pytest.raises(Refused, match="a picture as"):
        Reader(columns).json(parsed(body))
    with pytest.raises(Refused, match="no field"):
        Reader(columns).form([])


def saved(form, **settings):
    data = io.BytesIO()
    Picture.new("RGB", (70, 30)).save(data, form, **settings)
    return data.getvalue()


def test_sizes_of_pictures_are_read_from_their_first_bytes():
    assert pixels_of(bomb(40_000)) == 40_000**2
    frames = [Picture.new("P", (70, 30), n) for n in range(2)]
    moving = saved("GIF", save_all=True, append_images=frames, comment=b"of two frames")
    pictures = [saved(form) for form in ("JPEG", "PNG", "BMP", "GIF", "WEBP")]
    for data in (*pictures, moving, saved("WEBP", lossless=True), saved("WEBP", exif=b"Exif")):
        assert pixels_of(data) == 70 * 30
    assert all(pixels_of(data[:size]) <= 70 * 30 for data in pictures[1:] for size in range(2, 64, 3))
    screen = bytearray(saved("GIF"))
    screen[6:10] = struct.pack("<HH", 1, 1)  # smaller than what is drawn on it
    assert pixels_of(bytes(screen)) == 70 * 30
    turned = bytearray(saved("BMP"))
    turned[22:26] = struct.pack("<i", -30)
    assert pixels_of(bytes(turned)) == 70 * 30
    endless = bytes(screen[:13]) + bytes(3 * 2 ** (screen[10] % 8 + 1)) + b"\x21\xfe\x00" * 20_000
    assert pixels_of(b"") == pixels_of(b"text") == 0 and pixels_of(endless) == 1
