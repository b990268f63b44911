"""The language of S3 Select, read into a tree: SELECT … FROM S3Object… [WHERE …] [LIMIT …].

The grammar is what AWS documents: no joins, groups, orders or subqueries. Whatever the tree does not have cannot be
asked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from compat.errors import AWSError

LONGEST = 256 * 1024
DEEPEST = 64
STAR, MEMBERS = "*", ".*"
"""Every element of an array; every member of an object."""

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)
      | '(?P<text>(?:[^']|'')*)'
      | "(?P<quoted>(?:[^"]|"")+)"
      | `(?P<time>\d{4}(?:-\d\d){0,2}T[^`]*)`
      | (?P<word>[A-Za-z_][A-Za-z0-9_$]*)
      | (?P<sign><=|>=|<>|!=|\|\||[-+*/%=<>(),.\[\]])
    )""",
    re.VERBOSE,
)
KEYWORDS = frozenset(
    "select from where limit and or not between in like escape is null missing case when then else end cast as true "
    "false".split()
)
UNSUPPORTED = frozenset("group order having join union inner left right cross full offset".split())


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant: text, int, float, bool or None."""

    value: Any


@dataclass(frozen=True, slots=True)
class Name:
    """One step of a path; quoted names are told apart by case."""

    text: str
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Path:
    """A way to a value: names, positions, and wildcards."""

    steps: tuple[Name | int | str, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A function, an operator or a construction of the language, by its name in lower case."""

    name: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """A whole query. `columns` are (expression, alias) pairs; none of them stands for `*`."""

    columns: tuple[tuple[Any, str | None], ...]
    source: Path
    alias: str | None
    where: Any
    limit: int | None


def wrong(code: str, message: str) -> AWSError:
    """400: the query is none."""
    return AWSError(code, message, 400)


def parse(text: str) -> Query:
    """Read a query. Raises `AWSError` with the codes of S3 Select."""
    if len(text.encode()) > LONGEST:
        raise wrong("ExpressionTooLong", "The SQL expression is too long: the maximum byte-length is 256 KB.")
    return _Parser(_tokens(text)).query()


Token = tuple[str, str]


def _tokens(text: str) -> list[Token]:
    found: list[Token] = []
    at, end = 0, len(text.rstrip().rstrip(";").rstrip())
    while at < end:
        match = _TOKEN.match(text, at, end)
        if match is None or match.lastgroup is None:
            raise wrong("LexerInvalidChar", f"The SQL expression contains an invalid character at position {at}.")
        kind, value = match.lastgroup, match[match.lastgroup]
        if kind == "text":
            value = value.replace("''", "'")
        elif kind == "quoted":
            value = value.replace('""', '"')
        found.append((kind, value))
        at = match.end()
    return found


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens, self._at, self._depth = tokens, 0, 0

    # --- tokens -------------------------------------------------------------------------------------------------------

    def _peek(self, ahead: int = 0) -> Token:
        place = self._at + ahead
        return self._tokens[place] if place < len(self._tokens) else ("end", "")

    def _take(self) -> Token:
        token = self._peek()
        self._at += 1
        return token

    def _word(self, *words: str) -> bool:
        """Take a keyword, if it comes."""
        kind, value = self._peek()
        if kind == "word" and value.lower() in words:
            self._at += 1
            return True
        return False

    def _sign(self, sign: str) -> bool:
        if self._peek() == ("sign", sign):
            self._at += 1
            return True
        return False

    def _need_word(self, word: str) -> None:
        if not self._word(word):
            raise wrong("ParseExpectedKeyword", f"Expected the keyword {word.upper()} instead of {self._shown()}.")

    def _need(self, sign: str) -> None:
        if not self._sign(sign):
            raise wrong("ParseUnexpectedToken", f"Expected '{sign}' instead of {self._shown()}.")

    def _shown(self) -> str:
        kind, value = self._peek()
        return "the end of the expression" if kind == "end" else f"'{value[:40]}'"

    def _unexpected(self) -> AWSError:
        return wrong("ParseUnexpectedToken", f"The SQL expression contains an unexpected token: {self._shown()}.")

    # --- the query ----------------------------------------------------------------------------------------------------

    def query(self) -> Query:
        self._need_word("select")
        columns = self._columns()
        if not self._word("from"):
            raise wrong("ParseSelectMissingFrom", "The SQL expression contains a missing FROM after the SELECT list.")
        source = self._source()
        alias = self._alias()
        where = self._expression() if self._word("where") else None
        limit = None
        if self._word("limit"):
            kind, value = self._take()
            if kind != "number" or not value.isdigit():
                raise wrong("ParseUnexpectedToken", "LIMIT takes a whole number.")
            limit = min(int(value), 2**62)
        if self._peek()[0] != "end":
            kind, value = self._peek()
            if kind == "word" and value.lower() in UNSUPPORTED:
                raise wrong("UnsupportedSqlStructure", f"We encountered an unsupported SQL structure: {value.upper()}.")
            raise self._unexpected()
        return Query(columns, source, alias, where, limit)

    def _columns(self) -> tuple[tuple[Any, str | None], ...]:
        if self._sign("*"):
            return ()
        found = [(self._expression(), self._alias())]
        if isinstance(found[0][0], Path) and found[0][0].steps[1:] == (MEMBERS,) and self._peek()[1].lower() == "from":
            return ()  # `s.*`; the row has no other name
        while self._sign(","):
            found.append((self._expression(), self._alias()))
        return tuple(found)

    def _alias(self) -> str | None:
        given = self._word("as")
        kind, value = self._peek()
        if kind == "quoted" or (kind == "word" and value.lower() not in KEYWORDS | UNSUPPORTED):
            self._at += 1
            return value
        if given:
            raise wrong("ParseExpectedIdentForAlias", "Expected an identifier as alias.")
        return None

    def _source(self) -> Path:
        kind, value = self._take()
        if kind != "word" or value.lower() != "s3object":
            raise wrong("InvalidDataSource", "Invalid data source type. Only S3Object is supported.")
        return Path(self._steps(everything=True))

    def _steps(self, *, everything: bool = False) -> tuple[Name | int | str, ...]:
        steps: list[Name | int | str] = []
        while True:
            if self._sign("."):
                kind, value = self._take()
                if (kind, value) == ("sign", "*"):
                    steps.append(MEMBERS)
                elif kind in ("word", "quoted"):
                    steps.append(Name(value, kind == "quoted"))
                else:
                    raise wrong("ParseInvalidPathComponent", "The SQL expression contains an invalid path component.")
            elif self._peek() == ("sign", "["):
                steps.append(self._index(everything))
            else:
                return tuple(steps)
            if len(steps) > DEEPEST:
                raise wrong("ParseInvalidPathComponent", "The path is too long.")

    def _index(self, everything: bool) -> Name | int | str:
        self._need("[")
        kind, value = self._take()
        if kind == "number" and value.isdigit() and len(value) < 10:
            self._need("]")
            return int(value)
        if kind == "text":
            self._need("]")
            return Name(value, True)
        if everything and (kind, value) == ("sign", "*"):
            self._need("]")
            return STAR
        raise wrong("ParseInvalidPathComponent", "The SQL expression contains an invalid path component.")

    # --- expressions, loosest binding first ---------------------------------------------------------------------------

    def _expression(self) -> Any:
        self._depth += 1
        if self._depth > DEEPEST:
            raise wrong("ExpressionTooLong", "The SQL expression is nested too deeply.")
        left = self._conjunction()
        while self._word("or"):
            left = Call("or", (left, self._conjunction()))
        self._depth -= 1
        return left

    def _conjunction(self) -> Any:
        left = self._negation()
        while self._word("and"):
            left = Call("and", (left, self._negation()))
        return left

    def _negation(self) -> Any:
        turned = 0
        while self._word("not"):
            turned += 1
        inner = self._comparison()
        return Call("not", (inner,)) if turned % 2 else inner

    def _comparison(self) -> Any:
        left = self._sum()
        while True:
            kind, value = self._peek()
            if kind == "sign" and value in ("=", "<", ">", "<=", ">=", "<>", "!="):
                self._at += 1
                left = Call("<>" if value == "!=" else value, (left, self._sum()))
                continue
            if self._word("is"):
                turned = self._word("not")
                word = self._peek()[1].lower()
                if not self._word("null", "missing"):
                    raise wrong("ParseExpectedKeyword", "Expected NULL or MISSING after IS.")
                test: Any = Call(f"is {word}", (left,))
            else:
                ahead = self._peek(1)
                turned = self._peek()[1].lower() == "not" and ahead[1].lower() in ("between", "in", "like")
                if turned:
                    self._at += 1
                found = self._special(left)
                if found is None:
                    return left
                test = found
            left = Call("not", (test,)) if turned else test

    def _special(self, left: Any) -> Any:
        """BETWEEN, IN, LIKE; None where none comes."""
        if self._word("between"):
            low = self._sum()
            self._need_word("and")
            return Call("between", (left, low, self._sum()))
        if self._word("in"):
            self._need("(")
            return Call("in", (left, *self._list()))
        if self._word("like"):
            pattern = self._sum()
            escape = self._sum() if self._word("escape") else None
            return Call("like", (left, pattern) if escape is None else (left, pattern, escape))
        return None

    def _list(self) -> tuple[Any, ...]:
        """Expressions up to the closing parenthesis."""
        if self._sign(")"):
            return ()
        found = [self._expression()]
        while self._sign(","):
            found.append(self._expression())
        self._need(")")
        return tuple(found)

    def _sum(self) -> Any:
        left = self._product()
        while self._peek() in (("sign", "+"), ("sign", "-"), ("sign", "||")):
            left = Call(self._take()[1], (left, self._product()))
        return left

    def _product(self) -> Any:
        left = self._factor()
        while self._peek() in (("sign", "*"), ("sign", "/"), ("sign", "%")):
            left = Call(self._take()[1], (left, self._factor()))
        return left

    def _factor(self) -> Any:
        if self._sign("-"):
            self._depth += 1
            if self._depth > DEEPEST:
                raise wrong("ExpressionTooLong", "The SQL expression is nested too deeply.")
            inner = self._factor()
            self._depth -= 1
            return Call("-", (Literal(0), inner))
        self._sign("+")
        if self._sign("("):
            inner = self._expression()
            self._need(")")
            return inner
        kind, value = self._take()
        if kind == "number":
            return Literal(int(value) if value.isdigit() else float(value))
        if kind == "text":
            return Literal(value)
        if kind == "time":
            return Call("to_timestamp", (Literal(value),))
        if kind == "quoted":
            return Path((Name(value, True), *self._steps()))
        if kind == "word":
            return self._named(value)
        self._at -= 1
        raise self._unexpected()

    def _named(self, word: str) -> Any:
        name = word.lower()
        if name in ("true", "false"):
            return Literal(name == "true")
        if name in ("null", "missing"):
            return Literal(None)
        if name == "case":
            return self._case()
        if self._peek() == ("sign", "(") and name not in KEYWORDS - {"cast"}:
            self._at += 1
            return self._call(name)
        if name in KEYWORDS:
            self._at -= 1
            raise self._unexpected()
        return Path((Name(word), *self._steps()))

    def _case(self) -> Any:
        subject = None if self._peek()[1].lower() == "when" else self._expression()
        pairs: list[Any] = []
        while self._word("when"):
            condition = self._expression()
            self._need_word("then")
            pairs += [condition if subject is None else Call("=", (subject, condition)), self._expression()]
        if not pairs:
            raise wrong("ParseExpectedWhenClause", "Expected a WHEN clause in the CASE expression.")
        otherwise = self._expression() if self._word("else") else Literal(None)
        self._need_word("end")
        return Call("case", (*pairs, otherwise))

    def _call(self, name: str) -> Any:
        if name == "count" and self._sign("*"):
            self._need(")")
            return Call("count", ())
        if name == "cast":
            inner = self._expression()
            self._need_word("as")
            return Call("cast", (inner, self._type()))
        if name == "extract":
            part = self._take()[1].lower()
            self._need_word("from")
            return Call("extract", (Literal(part), *self._list()))
        if name in ("date_add", "date_diff"):
            part = self._take()[1].lower()
            self._need(",")
            return Call(name, (Literal(part), *self._list()))
        if name == "trim":
            return self._trim()
        if name == "substring":
            return self._substring()
        return Call(name, self._list())

    def _type(self) -> str:
        kind, value = self._take()
        if kind != "word":
            raise wrong("ParseExpectedTypeName", "Expected a type name in CAST.")
        text = value.lower()
        if self._sign("("):
            numbers = [self._take()[1]]
            while self._sign(","):
                numbers.append(self._take()[1])
            self._need(")")
            if not all(number.isdigit() and int(number) <= 38 for number in numbers) or len(numbers) > 2:
                raise wrong("ParseInvalidTypeParam", "The SQL expression contains an invalid parameter value.")
            text = f"{text}({','.join(str(int(number)) for number in numbers)})"
        self._need(")")
        return text

    def _trim(self) -> Any:
        side = next((side for side in ("leading", "trailing", "both") if self._word(side)), "both")
        if self._word("from"):
            return Call("trim", (Literal(side), Literal(" "), *self._list()))
        first = self._expression()
        if self._word("from"):
            return Call("trim", (Literal(side), first, *self._list()))
        self._need(")")
        return Call("trim", (Literal(side), Literal(" "), first))

    def _substring(self) -> Any:
        text = self._expression()
        if self._word("from"):
            arguments = [text, self._expression()]
            if self._word("for"):
                arguments.append(self._expression())
            self._need(")")
            return Call("substring", tuple(arguments))
        self._need(",")
        return Call("substring", (text, *self._list()))
