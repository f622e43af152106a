#!/usr/bin/env python3
"""Writes what the JSON door follows from the contract: the Swift tables of Gateway, the OpenAPI document,
and the table of paths in Docs/json-api.md.

    generate-openapi.py DESCRIPTORS TABLES_SWIFT OPENAPI_JSON PAGE_MD

Called by generate-proto.sh; standard library only. Sources: services, methods, messages and comments of
`skein.v1` and `grpc.health.v1`. A line `HTTP: METHOD /v1/template` in the comment of an rpc is a route
(Sources/Gateway/Routing/Route.swift says how templates are written); every unary rpc also has
`POST /v1/<service>/<Method>`.
"""

import importlib.util
import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
spec = importlib.util.spec_from_file_location("generate_wire", HERE / "generate-wire.py")
wire = importlib.util.module_from_spec(spec)
spec.loader.exec_module(wire)

PACKAGES = ("skein.v1", "grpc.health.v1")
OWN_PARAMETERS = ("timeout", "bytes")
HTTP_LINE = re.compile(r"^HTTP: (GET|POST|PATCH|PUT|DELETE) (/v1/\S+)$")
BOOL, STRING, BYTES, MESSAGE, ENUM, DOUBLE, FLOAT = 8, 9, 12, 11, 14, 1, 2
INT32, UINT32 = (5, 15, 17), (13, 7)
UNSIGNED64 = (4, 6)


def camel(name):
    head, *rest = name.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest)


# -- The contract ---------------------------------------------------------------------------------

class Method:
    def __init__(self, service, data, doc):
        f = wire.group(data)
        self.name = f"{service}/{wire.text(f, 1)}"
        self.short = wire.text(f, 1)
        self.service = service
        self.input = wire.text(f, 2).lstrip(".")
        self.output = wire.text(f, 3).lstrip(".")
        self.unary = not f.get(5, [0])[0] and not f.get(6, [0])[0]
        lines = [line.strip() for line in doc.strip().split("\n")]
        self.routes = [m.groups() for m in map(HTTP_LINE.match, lines) if m]
        self.doc = "\n".join(line for line in lines if not line.startswith("HTTP: ")).strip()
        if any(line.startswith("HTTP:") and not HTTP_LINE.match(line) for line in lines):
            raise SystemExit(f"{self.name}: an HTTP: line is not METHOD /v1/template")
        if self.routes and not self.unary:
            raise SystemExit(f"{self.name}: a stream has no HTTP route")


class Contract:
    def __init__(self, descriptors):
        self.methods, self.types, self.services = [], {}, {}
        for data in wire.group(Path(descriptors).read_bytes())[1]:
            file = wire.File(data)
            for item in file.messages + file.enums:
                self.register(item)
            if file.package not in PACKAGES:
                continue
            f, docs = wire.group(data), self.docs(data)
            for i, service in enumerate(f.get(6, [])):
                s = wire.group(service)
                full = f"{file.package}.{wire.text(s, 1)}"
                self.services[full] = docs.get((6, i), "")
                for j, method in enumerate(s.get(2, [])):
                    self.methods.append(Method(full, method, docs.get((6, i, 2, j), "")))
        self.methods.sort(key=lambda m: m.name)

    def docs(self, data):
        out = {}
        for info in wire.group(data).get(9, []):
            for location in wire.group(info).get(1, []):
                where = wire.group(location)
                note = wire.text(where, 3) or wire.text(where, 4)
                if note and 1 in where:
                    out[wire.packed(where[1][0])] = note
        return out

    def register(self, item):
        self.types[item.full] = item
        for nested in getattr(item, "nested", []) + getattr(item, "enums", []):
            self.register(nested)

    def is_map(self, field):
        item = self.types.get(field.type_name)
        return isinstance(item, wire.Message) and item.is_map_entry

    def field(self, message, path):
        """The field at a dotted path, or an error that names it."""
        for name in path.split("."):
            found = [f for f in self.types[message].fields if f.name == name]
            if not found:
                raise SystemExit(f"{message} has no field {name} (of {path})")
            message = found[0].type_name
        return found[0]


class Route:
    """One way in: the parsed template."""

    def __init__(self, contract, rpc, method, template, generic=False):
        self.rpc, self.method, self.text, self.generic = rpc, method, template, generic
        self.path, _, query = template.partition("?")
        self.has_body = method in ("POST", "PATCH", "PUT")
        self.variables = [self.binding(v) for v in re.findall(r"\{([^}]*)\}", self.path)]
        self.query, self.constants = [], {}
        for part in filter(None, query.split("&")):
            if part.startswith("{"):
                self.query.append(self.binding(part[1:-1]))
            else:
                name, _, value = part.partition("=")
                self.constants[name] = value
        for _, field in self.variables + self.query + [(c, c) for c in self.constants]:
            contract.field(rpc.input, field)
        self.free = [] if self.has_body else [f for f in contract.types[rpc.input].fields if self.is_free(contract, f)]
        for name in [camel(f.name) for f in self.free] + [name for name, _ in self.query]:
            if name in OWN_PARAMETERS:
                raise SystemExit(f"{rpc.name}: the parameter {name} is the door's own")
        for members in OpenAPI.exclusive(contract.types[rpc.input]):
            if not self.has_body and sum(f in self.free for f in members) > 1:
                raise SystemExit(f"{rpc.name}: OpenAPI cannot say that parameters exclude each other; route it with a body")

    @staticmethod
    def binding(text):
        name, _, field = text.partition("=")
        return name, field or name

    def is_free(self, contract, field):
        if field.type == MESSAGE and (field.repeated or field.type_name != "google.protobuf.Duration"):
            return False
        return field.name not in [f.split(".")[0] for _, f in self.variables]

    @property
    def openapi_path(self):
        return re.sub(r"\{([^=}]*)=?[^}]*\}", r"{\1}", self.path)


def routes_of(contract):
    out = []
    for rpc in contract.methods:
        for method, template in rpc.routes:
            out.append(Route(contract, rpc, method, template))
    seen = set()
    for route in out:
        key = (route.method, re.sub(r"\{[^}]*\}", "{}", route.path))
        if key in seen:
            raise SystemExit(f"{route.rpc.name}: {route.method} {route.path} is taken")
        seen.add(key)
    return sorted(out, key=lambda r: (r.path, r.method))


# -- OpenAPI --------------------------------------------------------------------------------------

STATUSES = {
    "400": "The body, a parameter or a field is wrong: JSON_INVALID, PARAMETER_INVALID, INVALID_REQUEST and others.",
    "401": "UNAUTHENTICATED: the certificate names no principal.",
    "403": "PERMISSION_DENIED.",
    "404": "TOPIC_NOT_FOUND, PARTITION_NOT_FOUND, PATH_UNKNOWN and others.",
    "406": "NOT_ACCEPTABLE: the accept header excludes application/json.",
    "409": "TOPIC_EXISTS, CONFLICT and others.",
    "413": "MESSAGE_TOO_LARGE.",
    "415": "MEDIA_TYPE_UNSUPPORTED, ENCODING_UNSUPPORTED.",
    "429": "A limit is met: TOPIC_LIMIT, DISK_FULL and others.",
    "default": "Any other refusal; `code` is gRPC's.",
}


class OpenAPI:
    def __init__(self, contract, routes):
        self.contract, self.routes, self.needed, self.schemas = contract, routes, [], {}

    def document(self):
        paths = {}
        for route in self.routes:
            operation = self.operation(route)
            paths.setdefault(route.openapi_path, {})[route.method.lower()] = operation
        paths["/v1/openapi.json"] = {"get": {
            "operationId": "openapi", "tags": ["meta"], "summary": "This document.",
            "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": {"type": "object"}}}}}}}
        self.reference("google.rpc.Status")
        while self.needed:
            full = self.needed.pop()
            if full not in self.schemas:
                self.schemas[full] = None
                self.schemas[full] = self.schema(full)
        responses = {
            f"Error{status}": {"description": text, "content": {"application/json": {
                "schema": {"$ref": "#/components/schemas/google.rpc.Status"}}}}
            for status, text in STATUSES.items()}
        return {
            "openapi": "3.1.0",
            "info": {
                "title": "Skein", "version": "v1",
                "description": "The unary calls of skein.v1 as JSON over HTTP/2 with a client certificate, on the same port "
                               "as gRPC. Generated from Proto/ (`make proto`); Docs/json-api.md explains."},
            "servers": [{"url": "https://localhost:7600"}],
            "security": [{"certificate": []}],
            "tags": [{"name": name, "description": clean(doc) or name}
                     for name, doc in sorted(self.contract.services.items())
                     if any(r.rpc.service == name for r in self.routes)] + [
                         {"name": "meta", "description": "About this API."}],
            "paths": dict(sorted(paths.items())),
            "components": {
                "schemas": {name: self.schemas[name] for name in sorted(self.schemas)},
                "responses": responses,
                "parameters": {
                    "timeout": {"name": "timeout", "in": "query", "required": False,
                                "description": "How long the answer may take, for example 500ms, 5s or 2m; at most 600s. Without it: 90s. "
                                               "The headers `timeout` and `grpc-timeout` say the same.",
                                "schema": {"type": "string", "pattern": "^([1-9][0-9]{0,4}ms|[1-9][0-9]?s|[1-9]m)$"}},
                    "bytes": {"name": "bytes", "in": "query", "required": False,
                              "description": "How bytes stand in JSON: base64 (the proto JSON mapping), or text: UTF-8 as it is, "
                                             "anything else as {\"base64\": \"…\"}.",
                              "schema": {"type": "string", "enum": ["base64", "text"]}}},
                "securitySchemes": {"certificate": {
                    "type": "mutualTLS", "description": "A client certificate with a SAN URI skein:<tenant>/<principal>."}},
            },
        }

    def reference(self, full):
        self.needed.append(full)
        return {"$ref": f"#/components/schemas/{full}"}

    def operation(self, route):
        doc = clean(route.rpc.doc)
        summary = re.split(r"(?<=[.:])\s", doc.replace("\n", " "))[0]
        name = route.rpc.name.replace("/", ".")
        index = [r for r in self.routes if r.rpc is route.rpc].index(route)
        out = {"operationId": name if route.generic else f"{name}.{index + 1}", "tags": [route.rpc.service]}
        if summary:
            out["summary"] = summary
        out["description"] = (doc + "\n\n" if doc else "") + f"gRPC: `{route.rpc.name}`"
        parameters = []
        for variable, path in route.variables:
            field = self.contract.field(route.rpc.input, path)
            parameters.append(self.parameter(variable, field, "path"))
        for variable, path in route.query:
            parameters.append(self.parameter(variable, self.contract.field(route.rpc.input, path), "query"))
        for field in route.free:
            parameter = self.parameter(camel(field.name), field, "query")
            if field.name in route.constants:
                parameter["schema"]["default"] = {"true": True, "false": False}.get(
                    route.constants[field.name], route.constants[field.name])
            parameters.append(parameter)
        parameters += [{"$ref": f"#/components/parameters/{name}"} for name in OWN_PARAMETERS]
        out["parameters"] = parameters
        if route.has_body:
            bound = {path.split(".")[0] for _, path in route.variables}
            out["requestBody"] = {"required": False, "content": {"application/json": {
                "schema": self.body(route.rpc.input, bound)}}}
        out["responses"] = {"200": {"description": "OK", "content": {"application/json": {
            "schema": self.reference(route.rpc.output)}}}}
        for status in STATUSES:
            out["responses"][status] = {"$ref": f"#/components/responses/Error{status}"}
        return out

    def body(self, full, bound):
        if not bound:
            return self.reference(full)
        schema = self.schema(full)
        schema["properties"] = {k: v for k, v in schema["properties"].items()
                                if k not in {camel(name) for name in bound}}
        for members in self.exclusive(self.contract.types[full]):
            if not bound.isdisjoint(f.name for f in members):
                raise SystemExit(f"{full}: a path binds a member of a oneof; say here what that leaves to the body")
        return schema

    @staticmethod
    def exclusive(message):
        """The members of each oneof of several."""
        groups = [message.members(index) for index in range(len(message.oneofs))]
        return [members for members in groups if len(members) > 1]

    @staticmethod
    def at_most_one(members):
        """One of the names, or none: each alternative excludes the others, as the door does (JSON_INVALID)."""
        given = [{"required": [camel(f.name)]} for f in members]
        return {"oneOf": given + [{"not": {"anyOf": given}}]}

    def parameter(self, name, field, place):
        out = {"name": name, "in": place, "required": place == "path"}
        if field.doc.strip():
            out["description"] = clean(field.doc)
        out["schema"] = self.element(field)
        if field.repeated:
            out["schema"] = {"type": "array", "items": out["schema"]}
            out.update({"style": "form", "explode": True})
        return out

    # -- Messages --

    def schema(self, full):
        item = self.contract.types[full]
        if full == "google.protobuf.Duration":
            return {"type": "string", "description": "Seconds with up to nine digits behind the point.",
                    "pattern": "^-?[0-9]{1,12}(\\.[0-9]{1,9})?s$"}
        if full == "google.protobuf.Any":
            return {"type": "object", "properties": {"@type": {"type": "string"}}, "additionalProperties": True,
                    "description": "A message of the type that @type names, with its members; here usually one of google.rpc "
                                   "(ErrorInfo, BadRequest, RetryInfo)."}
        if isinstance(item, wire.Enum):
            lines = [f"- `{name}` ({number}){': ' + clean(doc) if doc.strip() else ''}" for name, number, doc in item.values]
            text = (clean(item.doc) + "\n\n" if item.doc.strip() else "") + "\n".join(lines)
            return {"description": text, "anyOf": [{"type": "string", "enum": [name for name, _, _ in item.values]},
                                                   {"type": "integer", "format": "int32", "minimum": -(1 << 31), "maximum": (1 << 31) - 1}]}
        out = {"type": "object"}
        if item.doc.strip():
            out["description"] = clean(item.doc)
        out["properties"] = {camel(f.name): self.property(f) for f in item.fields}
        out["additionalProperties"] = False
        oneofs = [self.at_most_one(members) for members in self.exclusive(item)]
        if len(oneofs) > 1:
            out["allOf"] = oneofs
        elif oneofs:
            out.update(oneofs[0])
        return out

    def property(self, field):
        doc = clean(field.doc)
        if self.contract.is_map(field):
            value = [f for f in self.contract.types[field.type_name].fields if f.number == 2][0]
            out = {"type": "object", "additionalProperties": self.element(value)}
        elif field.repeated:
            out = {"type": "array", "items": self.element(field)}
        else:
            out = self.element(field)
        if doc:
            out["description"] = doc
        return out

    def element(self, field):
        kind = field.type
        if kind in (MESSAGE, ENUM):
            return self.reference(field.type_name)
        if kind == BOOL:
            return {"type": "boolean"}
        if kind == STRING:
            return {"type": "string"}
        if kind == BYTES:
            return {"type": "string", "contentEncoding": "base64",
                    "pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"}
        if kind in INT32:
            return {"type": "integer", "format": "int32", "minimum": -(1 << 31), "maximum": (1 << 31) - 1}
        if kind in UINT32:
            return {"type": "integer", "format": "uint32", "minimum": 0, "maximum": (1 << 32) - 1}
        if kind in (DOUBLE, FLOAT):
            return {"anyOf": [{"type": "number"}, {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}]}
        if kind in UNSIGNED64:
            return {"type": "string", "format": "uint64", "pattern": "^(0|[1-9][0-9]{0,18})$"}
        return {"type": "string", "format": "int64", "pattern": "^(0|-?[1-9][0-9]{0,17})$"}


def clean(doc):
    return "\n".join(line.strip() for line in doc.strip().split("\n")) if doc.strip() else ""


# -- Swift and the page -----------------------------------------------------------------------------

def swift(contract, routes, document):
    lines = ["// Generated by Deploy/generate-proto.sh. Do not edit.", "", "extension Contract {",
             "  /// Every RPC of the served packages.", "  static let methods: [RPCMethod] = ["]
    for m in contract.methods:
        lines.append(f'    RPCMethod("{m.name}", "{m.input}", "{m.output}", isUnary: {str(m.unary).lower()}),')
    lines += ["  ]", "", "  /// HTTP method, template, RPC.", "  static let routes: [(String, String, String)] = ["]
    for r in routes:
        lines.append(f'    ("{r.method}", "{r.text}", "{r.rpc.name}"),')
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=False)
    if '"##' in text:
        raise SystemExit('the document contains "##')
    # One line a path or schema, so that a change is a small difference.
    text = re.sub(r'(,)("(?:/v1|skein\.v1\.|google\.|grpc\.)[^"]*":\{)', r"\1\n\2", text)
    lines += ["  ]", "", "  /// Docs/openapi.json, without its white space.",
              '  static let openAPI = ##"""', *("    " + line for line in text.split("\n")), '    """##', "}", ""]
    return "\n".join(lines)


BEGIN, END = "<!-- paths: generated by `make proto` -->", "<!-- end of paths -->"


def page(text, routes):
    rows = ["| request | RPC | parameters beside the path |", "|---|---|---|"]
    for r in routes:
        path = r.openapi_path
        parameters = [f"`{name}`" for name, _ in r.query]
        for f in r.free:
            default = r.constants.get(f.name)
            parameters.append(f"`{camel(f.name)}`" + (f" ({default})" if default else ""))
        note = "the message as body" if r.has_body else ", ".join(parameters)
        rows.append(f"| `{r.method} {path}` | `{r.rpc.name}` | {note} |")
    head, rest = text.split(BEGIN)
    return head + BEGIN + "\n" + "\n".join(rows) + "\n" + END + rest.split(END)[1]


def main():
    descriptors, tables, openapi, markdown = sys.argv[1:]
    contract = Contract(descriptors)
    routes = routes_of(contract)
    generic = [Route(contract, m, "POST", f"/v1/{m.name}", generic=True) for m in contract.methods if m.unary]
    document = OpenAPI(contract, routes + generic).document()
    Path(tables).write_text(swift(contract, routes, document))
    Path(openapi).write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n")
    Path(markdown).write_text(page(Path(markdown).read_text(), routes))


if __name__ == "__main__":
    main()
