"""Replies of NESO's data portal: CKAN actions and CSV downloads.

Source: CKAN 2.8 and recorded replies. ``datastore_search`` gives numbers, while
``datastore_search_sql`` gives ``int8`` and ``numeric`` columns as text and no total. A wrong id is
404 with ``success`` false; an unknown action is 400 with a bare JSON string.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from email.utils import format_datetime
from uuid import NAMESPACE_URL, uuid5

from scenarios.publication import Published
from scenarios.scenario import Scenario
from scenarios.wire.neso_files import FILES, DataFile, Rows, Value
from scenarios.wire.reply import Refused, Reply, json_reply

Query = Mapping[str, Sequence[str]]
_HELP = "https://api.neso.energy/api/3/action/help_show?name="
_DOWNLOADS = "https://api.neso.energy/dataset"
_DEFAULT_LIMIT = 100
_ROW_CAP = 32_000
_AS_TEXT = {"int8", "numeric"}
_SQL = re.compile(
    r'\s*SELECT\s+(?P<what>\*|"[^;]*?)\s+FROM\s+"(?P<id>[0-9a-f-]{36})"'
    r"(?:\s+WHERE\s+(?P<where>.*?))?(?:\s+ORDER\s+BY\s+(?P<order>.*?))?"
    r"(?:\s+LIMIT\s+(?P<limit>\d+))?\s*;?\s*",
    re.IGNORECASE | re.DOTALL,
)
_CONDITION = re.compile(r"""\s*"([^"]+)"(?:::\w+)?\s*(>=|<=|=|>|<)\s*'?([^']*)'?(?:::\w+)?\s*""")
_ORDER = re.compile(r'\s*"?([^",]+?)"?(?:\s+(asc|desc))?\s*', re.IGNORECASE)


class NesoWire:
    """Answers for one scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario

    def answer(self, path: str, query: Query, now: datetime) -> Reply:
        """Answer a GET for an action (``/package_show``) or a download."""
        out = Published(self._scenario, now)
        action = path.rstrip("/").rsplit("/", 1)[-1]
        try:
            if "/download/" in path or "/dump/" in path:
                return _download(path, out)
            match action:
                case "package_show":
                    return self._package_show(_required(query, "id", action), out)
                case "resource_show":
                    file = _file(_required(query, "id", action), action)
                    return _success(action, _resource(file, out))
                case "package_search":
                    return _package_search(query, out)
                case "datastore_search":
                    return _datastore_search(query, out)
                case "datastore_search_sql":
                    return _datastore_sql(_required(query, "sql", action), out)
                case _:
                    text = f"Bad request - Action name not known: {action}"
                    return json_reply(text, status=400)
        except Refused as refused:
            return refused.reply

    def _package_show(self, wanted: str, out: Published) -> Reply:
        files = [f for f in FILES if wanted in {f.package, _package_id(f.package)}]
        if not files:
            raise _not_found("package_show", "Not found")
        return _success("package_show", _package(files, out))


def _package_id(slug: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"neso/{slug}"))


def _package(files: list[DataFile], out: Published) -> dict[str, object]:
    first = files[0]
    return {
        "license_title": "NESO Open Data Licence v1.0",
        "license_id": "ESO",
        "id": _package_id(first.package),
        "name": first.package,
        "title": first.title,
        "state": "active",
        "num_resources": len(files),
        "resources": [_resource(file, out) for file in files],
    }


def _resource(file: DataFile, out: Published) -> dict[str, object]:
    modified = file.modified(out)
    name = f"{file.stem}_{modified:%Y%m%d%H%M}.csv"
    return {
        "package_id": _package_id(file.package),
        "id": file.resource_id,
        "name": file.name,
        "format": "CSV",
        "mimetype": "text/csv",
        "url_type": "upload",
        "datastore_active": True,
        "state": "active",
        # CKAN writes times without a zone; they are UTC.
        "last_modified": f"{modified:%Y-%m-%dT%H:%M:%S}.000000",
        "url": f"{_DOWNLOADS}/{_package_id(file.package)}/resource/{file.resource_id}"
        f"/download/{name}",
    }


def _package_search(query: Query, out: Published) -> Reply:
    needle = _one(query, "q", "").lower()
    packages: dict[str, list[DataFile]] = {}
    for file in FILES:
        if needle in f"{file.package} {file.title} {file.name}".lower():
            packages.setdefault(file.package, []).append(file)
    results = [_package([f for f in FILES if f.package == slug], out) for slug in packages]
    return _success("package_search", {"count": len(results), "results": results})


def _datastore_search(query: Query, out: Published) -> Reply:
    action = "datastore_search"
    file = _file(_required(query, "resource_id", action), action)
    limit = min(_whole(query, "limit", _DEFAULT_LIMIT), _ROW_CAP)
    offset = _whole(query, "offset", 0)
    records = _records(file, out)
    for name, value in _filters(query).items():
        wanted = {str(v) for v in value} if isinstance(value, list) else {str(value)}
        _column(file, name, action)
        records = [record for record in records if str(record[name]) in wanted]
    records = _sorted(file, records, _one(query, "sort", ""), action)
    total = len(records)
    names = [name for name, _ in _fields(file)]
    if chosen := _one(query, "fields", ""):
        names = [name.strip() for name in chosen.split(",")]
    page = records[offset : offset + limit]
    link = f"/api/3/action/{action}?resource_id={file.resource_id}"
    return _success(
        action,
        {
            "include_total": True,
            "resource_id": file.resource_id,
            "fields": [{"type": kind, "id": n} for n, kind in _fields(file) if n in names],
            "records_format": "objects",
            "records": [{name: record[name] for name in names} for record in page],
            "limit": limit,
            "_links": {"start": link, "next": f"{link}&offset={offset + limit}"},
            "total": total,
        },
    )


def _datastore_sql(sql: str, out: Published) -> Reply:
    action = "datastore_search_sql"
    match = _SQL.fullmatch(sql)
    if match is None:
        raise _invalid(action, "query", "(ProgrammingError) syntax error: only SELECT is allowed")
    file = _file(match["id"], action)
    records = _records(file, out)
    for condition in re.split(r"\s+AND\s+", match["where"] or "", flags=re.IGNORECASE):
        if condition.strip():
            records = _where(file, records, condition)
    records = _sorted(file, records, match["order"] or "", action)
    records = records[: min(int(match["limit"] or _ROW_CAP), _ROW_CAP)]
    fields = _fields(file)
    if match["what"] != "*":
        names = [part.strip().strip('"') for part in match["what"].split(",")]
        fields = [_column(file, name, action) for name in names]
    written = [
        {name: _sql_value(record[name], kind) for name, kind in fields} for record in records
    ]
    if match["what"] == "*":
        fields = [*fields, ("_full_text", "tsvector")]
        written = [{**record, "_full_text": ""} for record in written]
    result = {
        "sql": sql,
        "fields": [{"type": kind, "id": name} for name, kind in fields],
        "records": written,
    }
    return _success(action, result)


def _sql_value(value: Value, kind: str) -> Value:
    if value is None or kind not in _AS_TEXT:
        return value
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _where(
    file: DataFile, records: list[dict[str, Value]], condition: str
) -> list[dict[str, Value]]:
    match = _CONDITION.fullmatch(condition)
    if match is None:
        raise _invalid("datastore_search_sql", "query", f"syntax error near {condition!r}")
    name, sign, wanted = match.groups()
    _column(file, name, "datastore_search_sql")

    def holds(value: Value) -> bool:
        if value is None:
            return False
        order: float
        if isinstance(value, str):
            other = wanted.replace(" ", "T") if "T" in value else wanted
            order = (value > other) - (value < other)
        else:
            order = float(value) - float(wanted)
        return {
            "=": order == 0,
            ">=": order >= 0,
            "<=": order <= 0,
            ">": order > 0,
            "<": order < 0,
        }[sign]

    return [record for record in records if holds(record[name])]


def _sorted(
    file: DataFile, records: list[dict[str, Value]], order: str, action: str
) -> list[dict[str, Value]]:
    for part in reversed(order.split(",") if order.strip() else []):
        match = _ORDER.fullmatch(part)
        name = match[1] if match else part
        _column(file, name, action)
        down = bool(match and match[2] and match[2].lower() == "desc")
        records = sorted(
            records,
            key=lambda r, n=name: (isinstance(r[n], str), r[n]),  # type: ignore[misc]
            reverse=down,
        )
    return records


def _fields(file: DataFile) -> list[tuple[str, str]]:
    return [("_id", "int"), *file.columns]


def _column(file: DataFile, name: str, action: str) -> tuple[str, str]:
    for field in _fields(file):
        if field[0] == name:
            return field
    raise _invalid(action, "fields", f'field "{name}" not in table')


def _records(file: DataFile, out: Published) -> list[dict[str, Value]]:
    names = [name for name, _ in file.columns]
    return [
        {"_id": number, **dict(zip(names, row, strict=True))}
        for number, row in enumerate(_rows(file, out), start=1)
    ]


def _rows(file: DataFile, out: Published) -> Rows:
    """Give the rows of the last release: what came out since then is not in it."""
    return file.rows(Published(out.scenario, file.modified(out)))


def _download(path: str, out: Published) -> Reply:
    for file in FILES:
        if file.resource_id in path:
            text = io.StringIO(newline="")
            end = "\r\n" if file.crlf else "\n"
            writer = csv.writer(
                text,
                quoting=csv.QUOTE_NONNUMERIC if file.quoted else csv.QUOTE_MINIMAL,
                lineterminator=end,
            )
            writer.writerow([name for name, _ in file.columns])
            writer.writerows(_rows(file, out))
            body = text.getvalue().encode("utf-8-sig" if file.bom else "utf-8")
            return Reply(200, body, "text/csv", _validators(file.modified(out), len(body)))
    return Reply(404, b"<html><body><h1>404 Not Found</h1></body></html>", "text/html")


def _validators(modified: datetime, size: int) -> tuple[tuple[str, str], ...]:
    """Give the headers of an uploaded file, as CKAN 2.8 writes them; its API sends none."""
    return (
        ("last-modified", format_datetime(modified.replace(microsecond=0), usegmt=True)),
        ("etag", f'"{modified.timestamp():.0f}-{size}"'),
    )


def _file(resource_id: str, action: str) -> DataFile:
    for file in FILES:
        if file.resource_id == resource_id:
            return file
    found = f'Resource "{resource_id}" was not found.'
    raise _not_found(action, "Not found" if action == "resource_show" else f"Not found: {found}")


def _filters(query: Query) -> dict[str, object]:
    text = _one(query, "filters", "{}")
    try:
        filters = json.loads(text)
    except ValueError:
        filters = None
    if not isinstance(filters, dict):
        raise _invalid("datastore_search", "filters", "Cannot parse JSON")
    return filters


def _whole(query: Query, name: str, default: int) -> int:
    text = _one(query, name, str(default))
    if not text.isdigit():
        raise _invalid("datastore_search", name, "Invalid integer")
    return int(text)


def _one(query: Query, name: str, default: str) -> str:
    values = query.get(name, ())
    return values[0] if values else default


def _required(query: Query, name: str, action: str) -> str:
    value = _one(query, name, "")
    if not value:
        raise _invalid(action, name, "Missing value")
    return value


def _success(action: str, result: object) -> Reply:
    return json_reply({"help": f"{_HELP}{action}", "success": True, "result": result})


def _not_found(action: str, message: str) -> Refused:
    error = {"message": message, "__type": "Not Found Error"}
    body = {"help": f"{_HELP}{action}", "success": False, "error": error}
    return Refused(json_reply(body, status=404))


def _invalid(action: str, field: str, message: str) -> Refused:
    error = {field: [message], "__type": "Validation Error"}
    body = {"help": f"{_HELP}{action}", "success": False, "error": error}
    return Refused(json_reply(body, status=409))
