"""Statements of the hot paths: written with SQLAlchemy, compiled once, run on the driver's own cursor.

An indexed read costs some ten microseconds this way, a SQLAlchemy select ten times that, an entity thirty times.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import Dialect, bindparam, insert, inspect
from sqlalchemy.engine import make_url
from sqlalchemy.sql.elements import ClauseElement

T = TypeVar("T")
Row = tuple[Any, ...]

_DIALECTS: dict[str, Callable[[], Dialect]] = {
    "sqlite": lambda: _dialect("sqlite://", "qmark"),
    "postgresql": lambda: _dialect("postgresql+psycopg://", "format"),
}


def _dialect(url: str, paramstyle: str) -> Dialect:
    """A dialect by its URL: one that is not used is not loaded, either."""
    make: Callable[..., Dialect] = make_url(url).get_dialect()
    return make(paramstyle=paramstyle)


class Statement:
    """A SQLAlchemy statement whose bound parameters are given by position, in the order of `names`.

    Where the statement has constants of its own, give the named parameters a value, so that it can be compiled.
    """

    __slots__ = ("_compiled", "names", "source")

    def __init__(self, source: ClauseElement, *names: str) -> None:
        self.source, self.names = source, names
        self._compiled: dict[str, tuple[str, tuple[int, ...] | None, Row]] = {}

    def on(self, dialect: str, values: Row) -> tuple[str, Row]:
        """The SQL text for a database, and `values` in the order that the text wants them."""
        found = self._compiled.get(dialect)
        if found is None:
            found = self._compiled[dialect] = self._compile(dialect)
        sql, order, constants = found
        if order is None:
            return sql, values
        every = values + constants
        return sql, tuple([every[i] for i in order])

    def _compile(self, dialect: str) -> tuple[str, tuple[int, ...] | None, Row]:
        compiled = self.source.compile(dialect=_DIALECTS[dialect](), compile_kwargs={"render_postcompile": True})
        given = compiled.params or {}
        wanted: list[str] = list(getattr(compiled, "positiontup", None) or ())
        order: list[int] = []
        constants: list[Any] = []
        for name in wanted:
            if name in self.names:
                order.append(self.names.index(name))
            else:
                order.append(len(self.names) + len(constants))
                constants.append(given[name])
        plain = order == list(range(len(self.names)))
        return str(compiled), None if plain else tuple(order), tuple(constants)


def bare(row: type[T], **values: Any) -> T:
    """An entity for `Unit.insert`, made without SQLAlchemy's bookkeeping of changes, which costs most of the making.

    It can be read; it cannot be changed, and no session takes it.
    """
    made = object.__new__(row)
    made.__dict__.update(values)
    return made


class Insertion:
    """The insert of one mapped class, from entities that no session knows.

    Column defaults are filled in as a flush would do it; relationships are not followed.
    """

    __slots__ = ("_columns", "_convert", "_statement")

    def __init__(self, row: type[Any]) -> None:
        mapper = inspect(row)
        table = mapper.local_table
        kept = [column for column in table.columns if column.autoincrement is not True]
        names = [f"v_{column.name}" for column in kept]
        values: dict[str, Any] = {column.name: bindparam(name) for column, name in zip(kept, names, strict=True)}
        self._statement = Statement(insert(table).values(values), *names)
        self._convert: dict[str, list[Callable[[Any], Any] | None]] = {}
        self._columns = [(mapper.get_property_by_column(column).key, column) for column in kept]

    def on(self, dialect: str, row: Any) -> tuple[str, Row]:
        """The SQL text, and the entity's values as the driver takes them."""
        held = row.__dict__
        values: list[Any] = []
        for (key, column), convert in zip(self._columns, self._converters(dialect), strict=True):
            value = held.get(key)
            if value is None and column.default is not None:
                default = column.default.arg
                value = default(None) if column.default.is_callable else default
                held[key] = value
            values.append(value if convert is None else convert(value))
        return self._statement.on(dialect, tuple(values))

    def _converters(self, dialect: str) -> list[Callable[[Any], Any] | None]:
        found = self._convert.get(dialect)
        if found is None:
            made = _DIALECTS[dialect]()
            found = [column.type.dialect_impl(made).bind_processor(made) for _, column in self._columns]
            self._convert[dialect] = found
        return found


@lru_cache(None)
def insertion(row: type[Any]) -> Insertion:
    """The insert of a mapped class, made once."""
    return Insertion(row)
