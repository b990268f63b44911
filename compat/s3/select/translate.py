"""From the tree of a query to the SQL that is run: every word of it is written here, names and constants are quoted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from compat.s3.select import walking
from compat.s3.select.language import MEMBERS, STAR, Call, Literal, Name, Path, Query, wrong
from compat.s3.select.walking import quoted

TEXT, NUMBER, BOOL, TIME, JSON, ANY = "text", "number", "bool", "time", "json", "any"
AGGREGATES = frozenset({"count", "sum", "avg", "min", "max"})
COMPARISONS = frozenset({"=", "<>", "<", ">", "<=", ">="})
PARTS = frozenset({"year", "month", "day", "hour", "minute", "second", "timezone_hour", "timezone_minute"})
TYPES = {
    "bool": ("BOOLEAN", BOOL),
    "boolean": ("BOOLEAN", BOOL),
    "int": ("BIGINT", NUMBER),
    "integer": ("BIGINT", NUMBER),
    "string": ("VARCHAR", TEXT),
    "float": ("DOUBLE", NUMBER),
    "decimal": ("DECIMAL", NUMBER),
    "numeric": ("DECIMAL", NUMBER),
    "timestamp": ("TIMESTAMP", TIME),
}
_POSITION = re.compile(r"_([1-9][0-9]{0,5})")
_FORMAT = re.compile(r"y{1,4}|M{1,4}|d{1,2}|a|h{1,2}|H{1,2}|m{1,2}|s{1,2}|S+|X+|x+|'[^']*'|.")
_STRFTIME = {
    "y": "%Y", "yy": "%y", "yyy": "%Y", "yyyy": "%Y", "M": "%-m", "MM": "%m", "MMM": "%b", "MMMM": "%B", "d": "%-d",
    "dd": "%d", "a": "%p", "h": "%-I", "hh": "%I", "H": "%-H", "HH": "%H", "m": "%-M", "mm": "%M", "s": "%-S",
    "ss": "%S",
}  # fmt: skip


class Sql(NamedTuple):
    """A piece of SQL and what its value is."""

    text: str
    kind: str


class Columns(NamedTuple):
    """What a row has: fields of CSV by position (`names` are its header), a JSON value, or the columns of Parquet."""

    shape: str
    width: int = 0
    names: Sequence[str] = ()
    kinds: Mapping[str, str] = {}


class Plan(NamedTuple):
    """What to run, and the names of the columns that it gives; None where a row is a record as it came. `encoded` says
    which columns hold JSON as text."""

    sql: str
    names: tuple[str, ...] | None
    encoded: tuple[bool, ...] = ()


def identifier(text: str) -> str:
    """A name."""
    return '"' + text.replace('"', '""') + '"'


def plan(query: Query, columns: Columns, relation: str) -> Plan:
    """The SQL of a query over `relation`, a FROM item that gives rows as `columns` says. Raises `AWSError`."""
    made = _Translator(query, columns)
    source = made.source(relation)
    if query.columns:
        chosen = [made.expression(expression) for expression, _ in query.columns]
        summed = [_aggregates(expression) for expression, _ in query.columns]
        if any(summed) and not all(summed):
            raise wrong("UnsupportedSqlStructure", "Aggregates and other columns cannot be mixed without GROUP BY.")
        selected = ", ".join(f"{sql.text} AS c{place}" for place, sql in enumerate(chosen))
        encoded = tuple(sql.kind == JSON for sql in chosen)
        names: tuple[str, ...] | None = tuple(
            alias or _name_of(expression, place) for place, (expression, alias) in enumerate(query.columns, 1)
        )
    else:
        selected, names, encoded = "*", None, ()
    text = f"SELECT {selected} FROM {source}"
    if query.where is not None:
        if _aggregates(query.where):
            raise wrong("UnsupportedSqlOperation", "Aggregates are not allowed in WHERE.")
        text += f" WHERE {made.truth(query.where)}"
    if query.limit is not None:
        text += f" LIMIT {query.limit}"
    return Plan(text, names, encoded)


def _name_of(expression: Any, place: int) -> str:
    """The name of a column of the answer: that of the last step of a path, else its place."""
    if isinstance(expression, Path):
        last = expression.steps[-1]
        if isinstance(last, Name):
            return last.text
    return f"_{place}"


def _aggregates(expression: Any) -> bool:
    if not isinstance(expression, Call):
        return False
    return expression.name in AGGREGATES or any(_aggregates(argument) for argument in expression.arguments)


class _Translator:
    def __init__(self, query: Query, columns: Columns) -> None:
        self._columns, self._query = columns, query
        last = query.source.steps[-1:]
        alias = query.alias or (last[0].text if last and isinstance(last[0], Name) else None)
        self._row_names = {alias.lower()} if alias is not None else {"s3object"}
        if alias is None and query.source.steps and columns.shape == JSON:
            self._row_names.add("_1")

    # --- where rows come from -----------------------------------------------------------------------------------------

    def source(self, relation: str) -> str:
        """The FROM item, with the path behind `S3Object` walked."""
        steps = list(self._query.source.steps)
        if steps[:1] == [STAR]:
            steps = steps[1:]
        if steps and self._columns.shape != JSON:
            raise wrong("InvalidDataSource", "A path behind S3Object needs JSON.")
        return f"{walking.rows(relation, steps)} AS r"

    # --- values -------------------------------------------------------------------------------------------------------

    def expression(self, node: Any) -> Sql:
        if isinstance(node, Literal):
            return _literal(node.value)
        if isinstance(node, Path):
            return self._path(node.steps)
        assert isinstance(node, Call)
        return self._call(node.name, node.arguments)

    def _path(self, steps: tuple[Name | int | str, ...]) -> Sql:
        first = steps[0]
        assert isinstance(first, Name)
        is_row = first.text.lower() in self._row_names
        if is_row and (len(steps) > 1 or self._columns.shape == JSON):
            steps = steps[1:]
        if STAR in steps or MEMBERS in steps:
            raise wrong("UnsupportedSyntax", "A star is only allowed alone in the SELECT list.")
        if self._columns.shape == JSON:
            return Sql(walking.at("r.j", steps), JSON)
        if self._columns.shape == "csv":
            return self._field(steps)
        return self._column(steps)

    def _field(self, steps: tuple[Name | int | str, ...]) -> Sql:
        name = steps[0]
        if len(steps) != 1 or not isinstance(name, Name):
            raise wrong("ParseInvalidPathComponent", "A CSV field has no parts.")
        for place, header in enumerate(self._columns.names, 1):
            if header == name.text or (not name.quoted and header.lower() == name.text.lower()):
                return Sql(f"r.f{place}", TEXT)
        found = _POSITION.fullmatch(name.text)
        if found is None:
            raise wrong(
                "MissingHeaders", "Some headers in the query are missing from the file. Check the file and try again."
            )
        place = int(found[1])
        return Sql(f"r.f{place}" if place <= self._columns.width else "CAST(NULL AS VARCHAR)", TEXT)

    def _column(self, steps: tuple[Name | int | str, ...]) -> Sql:
        name, rest = steps[0], steps[1:]
        assert isinstance(name, Name)
        known = list(self._columns.kinds)
        found = next((one for one in known if one == name.text), None)
        if found is None and not name.quoted:
            found = next((one for one in known if one.lower() == name.text.lower()), None)
        position = _POSITION.fullmatch(name.text)
        if found is None and position is not None and int(position[1]) <= len(known):
            found = known[int(position[1]) - 1]
        if found is None:
            return Sql("NULL", ANY)
        text = f"r.{identifier(found)}"
        for step in rest:
            text += f".{identifier(step.text)}" if isinstance(step, Name) else f"[{int(step) + 1}]"
        return Sql(text, self._columns.kinds[found] if not rest else ANY)

    def truth(self, node: Any) -> str:
        """An expression as a condition."""
        return _as_bool(self.expression(node))

    def _call(self, name: str, arguments: tuple[Any, ...]) -> Sql:
        if name in ("and", "or"):
            return Sql(f"({self.truth(arguments[0])} {name.upper()} {self.truth(arguments[1])})", BOOL)
        if name == "not":
            return Sql(f"(NOT {self.truth(arguments[0])})", BOOL)
        if name == "cast":
            return self._cast(self.expression(arguments[0]), arguments[1])
        if name == "case":
            return self._case(arguments)
        values = [self.expression(argument) for argument in arguments]
        if name in COMPARISONS:
            left, right = _alike(values)
            return Sql(f"({left} {name} {right})", BOOL)
        if name == "between":
            value, low, high = _alike(values)
            return Sql(f"({value} BETWEEN {low} AND {high})", BOOL)
        if name == "in":
            if len(values) < 2:
                raise wrong("ParseUnexpectedToken", "IN needs a list.")
            value, *others = _alike(values)
            return Sql(f"({value} IN ({', '.join(others)}))", BOOL)
        if name == "like":
            text = " ESCAPE ".join([f"{_as_text(values[0])} LIKE {_as_text(values[1])}", *map(_as_text, values[2:])])
            return Sql(f"({text})", BOOL)
        if name in ("is null", "is missing"):
            is_both = name == "is null" and values[0].kind == JSON
            nothing = f" OR json_type({values[0].text}) = 'NULL'" if is_both else ""
            return Sql(f"({values[0].text} IS NULL{nothing})", BOOL)
        if name in ("+", "-", "*", "/", "%"):
            left, right = (_as_number(value) for value in values)
            if name == "/" and all(isinstance(a, Literal) and isinstance(a.value, int) for a in arguments):
                name = "//"
            return Sql(f"({left} {name} {right})", NUMBER)
        if name == "||":
            return Sql(f"({_as_text(values[0])} || {_as_text(values[1])})", TEXT)
        return self._function(name, values, arguments)

    def _cast(self, value: Sql, type_: str) -> Sql:
        base, _, size = type_.partition("(")
        if base not in TYPES or (size and base not in ("decimal", "numeric")):
            raise wrong("ParseUnknownOperator" if size else "ParseInvalidTypeParam", f"{type_} is no type of CAST.")
        target, kind = TYPES[base]
        text = value.text if value.kind in (NUMBER, BOOL, TIME) else _as_text(value)
        if kind == TIME and value.kind in (TEXT, JSON):
            text = _moment(value)
        if base in ("int", "integer") and value.kind == NUMBER:
            return Sql(f"CAST(trunc({text}) AS BIGINT)", kind)
        if base in ("int", "integer") and value.kind != BOOL:
            # A number with a fraction is cut, whatever is no number fails.
            return Sql(f"CAST(trunc(CAST({text} AS DECIMAL(38, 6))) AS BIGINT)", kind)
        return Sql(f"CAST({text} AS {target}{'(' + size if size else '(38, 10)' if target == 'DECIMAL' else ''})", kind)

    def _case(self, arguments: tuple[Any, ...]) -> Sql:
        pairs, otherwise = arguments[:-1], self.expression(arguments[-1])
        results = [self.expression(one) for one in pairs[1::2]]
        kinds = {one.kind for one in (*results, otherwise) if one.text != "NULL"}
        as_is = len(kinds) == 1
        text = "CASE"
        for condition, result in zip(pairs[::2], results, strict=True):
            text += f" WHEN {self.truth(condition)} THEN {result.text if as_is else _as_text(result)}"
        text += f" ELSE {otherwise.text if as_is or otherwise.text == 'NULL' else _as_text(otherwise)} END"
        return Sql(text, kinds.pop() if as_is else TEXT)

    def _function(self, name: str, values: list[Sql], arguments: tuple[Any, ...]) -> Sql:
        if name == "count":
            return Sql(f"count({values[0].text if values else '*'})", NUMBER)
        known = _FUNCTIONS.get(name)
        if known is None:
            raise wrong("UnsupportedFunction", f"We encountered an unsupported SQL function: {name.upper()}.")
        least, most, make = known
        if not least <= len(values) <= most:
            raise wrong(
                "EvaluatorInvalidArguments", f"Incorrect number of arguments in the function call {name.upper()}."
            )
        made: Sql = make(values, arguments)
        return made


def _literal(value: Any) -> Sql:
    if value is None:
        return Sql("NULL", ANY)
    if isinstance(value, bool):
        return Sql(str(value).upper(), BOOL)
    if isinstance(value, str):
        return Sql(quoted(value), TEXT)
    if isinstance(value, int) and abs(value) >= 2**63:
        value = float(value)
    return Sql(repr(value), NUMBER)


def _as_text(value: Sql) -> str:
    if value.kind == JSON:
        return f"json_extract_string({value.text}, '$')"
    return value.text if value.kind == TEXT else f"CAST({value.text} AS VARCHAR)"


def _as_number(value: Sql) -> str:
    if value.kind in (NUMBER, ANY):
        return value.text
    return f"TRY_CAST({_as_text(value)} AS DOUBLE)"


def _as_bool(value: Sql) -> str:
    return value.text if value.kind == BOOL else f"TRY_CAST({_as_text(value)} AS BOOLEAN)"


def _as_time(value: Sql) -> str:
    return value.text if value.kind == TIME else _moment(value, "TRY_CAST")


def _moment(value: Sql, cast: str = "CAST") -> str:
    """A text such as `2007T`, `2007-02-23T` or `2007-02-23T12:14:33.079-08:00` as a time, UTC."""
    text = f"({_as_text(value)})"
    whole = " ".join(
        f"WHEN regexp_full_match({text}, '{pattern}') THEN {made}"
        for pattern, made in (
            (r"\d{4}T?", f"left({text}, 4) || '-01-01'"),
            (r"\d{4}-\d\dT?", f"left({text}, 7) || '-01'"),
            (r"\d{4}-\d\d-\d\dT?", f"left({text}, 10)"),
            (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d.*", text),
        )
    )
    # What is no time at all must fail, and not be taken for what is left of it.
    return f"({cast}(CASE {whole} WHEN {text} IS NULL THEN NULL ELSE 'no time' END AS TIMESTAMPTZ) AT TIME ZONE 'UTC')"


def _alike(values: Sequence[Sql]) -> list[str]:
    """Values that are compared, as the most telling kind among them."""
    kinds = {value.kind for value in values if value.text != "NULL"}
    for kind, convert in ((NUMBER, _as_number), (BOOL, _as_bool), (TIME, _as_time)):
        if kind in kinds:
            return [convert(value) for value in values]
    return [_as_text(value) if value.text != "NULL" else "NULL" for value in values]


def _summed(function: str) -> Any:
    def make(values: list[Sql], arguments: tuple[Any, ...]) -> Sql:
        text_wanted = function in ("min", "max") and values[0].kind in (TEXT, TIME, ANY)
        return Sql(f"{function}({values[0].text if text_wanted else _as_number(values[0])})", NUMBER)

    return make


def _of_text(function: str, kind: str = TEXT) -> Any:
    return lambda values, arguments: Sql(f"{function}({_as_text(values[0])})", kind)


def _substring(values: list[Sql], arguments: tuple[Any, ...]) -> Sql:
    # Positions before the first count, as in the standard: SUBSTRING('abc' FROM 0 FOR 2) is 'a'.
    start = f"CAST({_as_number(values[1])} AS BIGINT)"
    text = _as_text(values[0])
    if len(values) == 2:
        return Sql(f"substring({text}, greatest({start}, 1))", TEXT)
    length = f"CAST({_as_number(values[2])} AS BIGINT)"
    end = f"({start} + {length})"
    return Sql(f"substring({text}, greatest({start}, 1), greatest({end} - greatest({start}, 1), 0))", TEXT)


def _trim(values: list[Sql], arguments: tuple[Any, ...]) -> Sql:
    function = {"leading": "ltrim", "trailing": "rtrim", "both": "trim"}[arguments[0].value]
    return Sql(f"{function}({_as_text(values[2])}, {_as_text(values[1])})", TEXT)


def _coalesce(values: list[Sql], arguments: tuple[Any, ...]) -> Sql:
    kinds = {value.kind for value in values if value.text != "NULL"}
    if len(kinds) == 1 and JSON not in kinds:
        return Sql(f"coalesce({', '.join(value.text for value in values)})", kinds.pop())
    return Sql(f"coalesce({', '.join(_as_text(value) for value in values)})", TEXT)


def _nullif(values: list[Sql], arguments: tuple[Any, ...]) -> Sql:
    left, right = _alike(values)
    return Sql(f"(CASE WHEN {left} = {right} THEN NULL ELSE {values[0].text} END)", values[0].kind)


def _part(argument: Any) -> str:
    if not isinstance(argument, Literal) or argument.value not in PARTS:
        raise wrong("ParseExpectedDatePart", "Did not find the expected date part in the SQL expression.")
    return str(argument.value)


def _extract(values: list[Sql], arguments: tuple[Any, ...]) -> Sql:
    return Sql(f"extract({_part(arguments[0])} FROM {_as_time(values[1])})", NUMBER)


def _date_add(values: list[Sql], arguments: tuple[Any, ...]) -> Sql:
    return Sql(f"({_as_time(values[2])} + {_as_number(values[1])} * INTERVAL 1 {_part(arguments[0])})", TIME)


def _date_diff(values: list[Sql], arguments: tuple[Any, ...]) -> Sql:
    part = quoted(_part(arguments[0]))
    return Sql(f"date_sub({part}, {_as_time(values[1])}, {_as_time(values[2])})", NUMBER)


def _to_string(values: list[Sql], arguments: tuple[Any, ...]) -> Sql:
    if not isinstance(arguments[1], Literal) or not isinstance(arguments[1].value, str):
        raise wrong("EvaluatorInvalidTimestampFormatPattern", "The pattern of TO_STRING must be a text.")
    pattern = ""
    for symbol in _FORMAT.findall(arguments[1].value):
        if symbol[0] == "S":
            pattern += "%g" if len(symbol) <= 3 else "%f"
        elif symbol[0] in "Xx":
            pattern += "Z"
        elif symbol[0] == "'":
            pattern += symbol[1:-1].replace("%", "%%") or "'"
        else:
            pattern += _STRFTIME.get(symbol, symbol.replace("%", "%%"))
    return Sql(f"strftime({_as_time(values[0])}, {quoted(pattern)})", TEXT)


_FUNCTIONS: dict[str, tuple[int, int, Any]] = {
    **{name: (1, 1, _summed(name)) for name in ("sum", "avg", "min", "max")},
    "coalesce": (1, 64, _coalesce),
    "nullif": (2, 2, _nullif),
    "char_length": (1, 1, _of_text("length", NUMBER)),
    "character_length": (1, 1, _of_text("length", NUMBER)),
    "lower": (1, 1, _of_text("lower")),
    "upper": (1, 1, _of_text("upper")),
    "substring": (2, 3, _substring),
    "trim": (3, 3, _trim),
    "extract": (2, 2, _extract),
    "date_add": (3, 3, _date_add),
    "date_diff": (3, 3, _date_diff),
    "to_string": (2, 2, _to_string),
    "to_timestamp": (1, 1, lambda values, arguments: Sql(_moment(values[0]), TIME)),
    "utcnow": (0, 0, lambda values, arguments: Sql("CAST(now() AT TIME ZONE 'UTC' AS TIMESTAMP)", TIME)),
}
