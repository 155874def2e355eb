"""The OpenAPI document of a server."""

from mmkeras.serving.requests import SERVE

VALUES = {"string": ["string", "number", "boolean", "null"], "file": ["object", "null"]}
NUMBERS = ["number", "string", "boolean", "null"]


def openapi(models, limits, version, finders=()):
    """The document as plain values.

    Args:
        models: {name: {signature: `Answers`}}.
        limits: `Limits`.
        version: str, of mmkeras.
        finders: {name: `Finder`} of the models with an index.
    """
    paths = {
        "/healthz": {"get": {"summary": "Whether the server runs.", "responses": {"200": {"description": "It does."}}}}
    }
    schemas = {"Error": {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}}
    for name, each in models.items():
        for signature, answers in each.items():
            own = _own(name, signature)
            schemas[f"{own}.row"] = row_schema(answers.columns, limits)
            schemas[f"{own}.prediction"] = _object({column: {} for column in answers.nothing.table})
        paths[f"/v1/models/{name}"] = {"get": {"summary": f"The state of {name!r}.", "responses": _responses({})}}
        bodies, results = _either([_predict(name, signature, answers, limits) for signature, answers in each.items()])
        form = _object({column: {} for column in each[SERVE].columns})
        paths[f"/v1/models/{name}:predict"] = _post(each[SERVE].about, bodies, form, results)
    for name in finders:
        finder, answers = finders[name], models[name][finders[name].signature]
        k = {"k": {"type": "integer", "minimum": 1, "maximum": len(finder.index)}}
        found = {"item": {"type": "array"}, "score": {"type": "array", "items": {"type": "number"}}}
        bodies, results = _rows(
            _own(name, finder.signature), answers, limits, prediction=_object(found), outputs=found, beside=k
        )
        form = _object({column: {} for column in answers.columns})
        paths[f"/v1/models/{name}:retrieve"] = _post(finder.about, bodies, form, results)
    return {
        "openapi": "3.1.0",
        "info": {"title": "mmkeras", "version": version},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _own(name, signature):
    """How the schemas of a model's signature begin; the main one's, as the model is called."""
    return name if signature == SERVE else f"{name}.{signature}"


def row_schema(columns, limits):
    """JSON Schema of a row; every column may be left out.

    Args:
        columns: {name: Column}.
        limits: `Limits`.
    """
    return {**_object({name: _cell(column, limits) for name, column in columns.items()}), "additionalProperties": False}


def _cell(column, limits):
    told = ", ".join(filter(None, [f"read as {column.reads}", column.how, "missing when null or left out"]))
    schema = {"description": f"{told[0].upper()}{told[1:]}.", "x-kind": column.reads, "x-dtype": column.dtype}
    if column.files:
        types = ["string", *VALUES["file"]] if limits.paths else VALUES["file"]
        b64 = {"type": "string", "contentEncoding": "base64"}
        file = {"type": types, "properties": {"b64": b64}, "required": ["b64"]}
        if column.shape:
            return {"anyOf": [file, {"type": "array", "items": file}], **schema}
        return {**file, **schema}
    if column.shape:
        size = column.shape[0]
        items = {"type": ["number", "null"]} if size is None else {"type": "number"}
        bounds = {} if size is None else {"minItems": size, "maxItems": size}
        return {"type": ["array", "string", "null"], "items": items, **bounds, **schema}
    return {"type": VALUES["string"] if column.dtype == "string" else NUMBERS, **schema}


def _predict(name, signature, answers, limits):
    """(schemas of bodies, schemas of answers) of a signature."""
    own = _own(name, signature)
    more = {} if answers.nothing.decisions is None else {"decisions": {"type": "array"}}
    prediction = {"$ref": f"#/components/schemas/{own}.prediction"}
    beside = {} if signature == SERVE else {"signature_name": {"const": signature}}
    return _rows(own, answers, limits, prediction=prediction, outputs=answers.nothing.table, beside=beside, more=more)


def _rows(own, answers, limits, *, prediction, outputs, beside, more=()):
    """(schemas of bodies, schemas of answers): by row, and by column.

    Args:
        own: str, how the schemas begin.
        answers: `Answers`. limits: `Limits`.
        prediction: schema of the answer about a row. outputs: names of its columns.
        beside, more: {name: schema} of what stands beside the rows of a body, and of an answer.
    """
    needed = [name for name in beside if "const" in beside[name]]
    lists = {column: {"type": "array", "items": _cell(one, limits)} for column, one in answers.columns.items()}
    rows = {"type": "array", "items": {"$ref": f"#/components/schemas/{own}.row"}, "maxItems": limits.rows}
    by_row = _object({"instances": rows, **beside}, ["instances", *needed])
    columns = {**_object(lists), "additionalProperties": False}
    by_column = _object({"inputs": columns, **beside}, ["inputs", *needed])
    more = {**dict(more), "warnings": {"type": "array", "items": {"type": "string"}}}
    outputs = _object({column: {"type": "array"} for column in outputs})
    predictions = {"type": "array", "items": prediction}
    results = [
        _object({"predictions": predictions, **more}, ["predictions"]),
        _object({"outputs": outputs, **more}, ["outputs"]),
    ]
    return [by_row, by_column], results


def _either(pairs):
    """Pairs of lists as one pair."""
    return tuple([schema for some in kind for schema in some] for kind in zip(*pairs, strict=True))


def _post(summary, bodies, form, results):
    content = {
        "application/json": {"schema": {"oneOf": bodies}},
        "multipart/form-data": {"schema": form},
    }
    return {
        "post": {
            "summary": summary,
            "security": [{}, {"token": []}],
            "requestBody": {"required": True, "content": content},
            "responses": _responses({"oneOf": results}),
        }
    }


def _responses(schema):
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        "200": {"description": "The answer.", "content": {"application/json": {"schema": schema}}},
        "default": {"description": "What is wrong, and what to do.", "content": error},
    }


def _object(properties, required=()):
    schema = {"type": "object", "properties": properties}
    return {**schema, "required": list(required)} if required else schema
