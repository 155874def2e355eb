"""The OpenAPI document of a server."""

VALUES = {"string": ["string", "number", "boolean", "null"], "picture": ["object", "null"]}
NUMBERS = ["number", "string", "boolean", "null"]


def openapi(models, limits, version):
    """The document as plain values.

    Args:
        models: {name: `Answers`}.
        limits: `Limits`.
        version: str, of mmkeras.
    """
    paths = {
        "/healthz": {"get": {"summary": "Whether the server runs.", "responses": {"200": {"description": "It does."}}}}
    }
    schemas = {"Error": {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}}
    for name, answers in models.items():
        schemas[f"{name}.row"] = row_schema(answers.columns, limits)
        schemas[f"{name}.prediction"] = _object({column: {} for column in answers.nothing.table})
        paths[f"/v1/models/{name}"] = {"get": {"summary": f"The state of {name!r}.", "responses": _responses({})}}
        paths[f"/v1/models/{name}:predict"] = {"post": _predict(name, answers, limits)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "mmkeras", "version": version},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


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
    if column.picture:
        types = ["string", *VALUES["picture"]] if limits.paths else VALUES["picture"]
        b64 = {"type": "string", "contentEncoding": "base64"}
        picture = {"type": types, "properties": {"b64": b64}, "required": ["b64"]}
        if column.shape:
            return {"anyOf": [picture, {"type": "array", "items": picture}], **schema}
        return {**picture, **schema}
    if column.shape:
        size = column.shape[0]
        return {
            "type": ["array", "string", "null"],
            "items": {"type": "number"},
            "minItems": size,
            "maxItems": size,
            **schema,
        }
    return {"type": VALUES["string"] if column.dtype == "string" else NUMBERS, **schema}


def _predict(name, answers, limits):
    row, prediction = ({"$ref": f"#/components/schemas/{name}.{what}"} for what in ("row", "prediction"))
    lists = {column: {"type": "array", "items": _cell(one, limits)} for column, one in answers.columns.items()}
    by_row = _object({"instances": {"type": "array", "items": row, "maxItems": limits.rows}}, ["instances"])
    by_column = _object({"inputs": {**_object(lists), "additionalProperties": False}}, ["inputs"])
    form = _object({column: {} for column in answers.columns})
    more = {"warnings": {"type": "array", "items": {"type": "string"}}}
    if answers.nothing.decisions is not None:
        more["decisions"] = {"type": "array"}
    outputs = _object({column: {"type": "array"} for column in answers.nothing.table})
    answer = {
        "oneOf": [
            _object({"predictions": {"type": "array", "items": prediction}, **more}, ["predictions"]),
            _object({"outputs": outputs, **more}, ["outputs"]),
        ]
    }
    content = {
        "application/json": {"schema": {"oneOf": [by_row, by_column]}},
        "multipart/form-data": {"schema": form},
    }
    return {
        "summary": answers.about,
        "security": [{}, {"token": []}],
        "requestBody": {"required": True, "content": content},
        "responses": _responses(answer),
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
