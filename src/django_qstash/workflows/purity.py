"""What a body calls outside of its steps that comes out differently at each replay.

Found in its source, without running it: names are followed to the objects that they stand for in
the function's module, so that an alias is found and a local of the same name is not.
"""

from __future__ import annotations

import ast
import functools
import inspect
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from types import CodeType, FunctionType, ModuleType
from typing import Any

#: Says that a name stands for nothing that is known here.
_UNKNOWN: Any = object()

CLOCK = "the time"
PAUSE = "a pause"
CHANCE = "chance"
NETWORK = "the network"

_ALWAYS: Mapping[str, str] = {
    CLOCK: """
        time.time time.time_ns time.monotonic time.monotonic_ns time.perf_counter
        time.perf_counter_ns time.process_time django.utils.timezone.now
    """,
    PAUSE: "time.sleep asyncio.sleep",
    CHANCE: """
        os.urandom os.getrandom uuid.uuid1 uuid.uuid4 uuid.uuid6 uuid.uuid7 random.SystemRandom
        secrets.SystemRandom secrets.choice secrets.randbelow secrets.randbits secrets.token_bytes
        secrets.token_hex secrets.token_urlsafe django.utils.crypto.get_random_string
    """,
    NETWORK: """
        urllib.request.urlopen urllib.request.urlretrieve urllib3.request urllib3.PoolManager
        http.client.HTTPConnection http.client.HTTPSConnection smtplib.SMTP smtplib.SMTP_SSL
        ftplib.FTP socket.socket socket.create_connection socket.getaddrinfo socket.gethostbyname
        asyncio.open_connection aiohttp.ClientSession aiohttp.request requests.Session
        requests.session httpx.stream httpx.Client httpx.AsyncClient django.core.mail.send_mail
        django.core.mail.send_mass_mail django.core.mail.mail_admins
        django.core.mail.mail_managers
    """,
}
#: The same, unless they are told what to go by.
_WITHOUT_ARGUMENTS: Mapping[str, str] = {
    CLOCK: """
        time.localtime time.gmtime time.ctime time.asctime django.utils.timezone.localtime
        django.utils.timezone.localdate
    """,
    CHANCE: "random.Random",
}
_VERBS = frozenset({"get", "post", "put", "patch", "delete", "head", "options", "request"})
_CLIENTS = frozenset({"requests", "httpx", "aiohttp", "urllib3"})
#: Methods of a datetime's class.
_NOW = frozenset({"now", "utcnow", "today"})


@dataclass(frozen=True, slots=True)
class Call:
    """One call in a body's source."""

    #: As it is written, such as ``dt.now``.
    text: str
    #: What it depends on.
    kind: str
    file: str
    line: int


def calls(function: Callable[..., Any]) -> list[Call]:
    """The calls of a body that depend on time, chance or the network, in their order.

    Not those inside of lambdas and nested functions, which are steps, unless the body itself calls
    such a function. None for a function whose source is not there.
    """
    function = inspect.unwrap(function)
    if not isinstance(function, FunctionType):
        return []
    node = _source(function.__code__)
    if node is None:
        return []
    return list(_Body(function, node).calls())


def _source(code: CodeType) -> ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | None:
    try:
        lines, _ = inspect.findsource(code)
    except (OSError, IndexError):
        return None
    found = [node for node in _functions("".join(lines)) if _is_of(node, code)]
    # Two lambdas in one line: nobody knows which of them it is.
    return found[0] if len(found) == 1 else None


@functools.lru_cache(maxsize=8)
def _functions(text: str) -> list[Any]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return []
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


def _is_of(node: Any, code: CodeType) -> bool:
    name = getattr(node, "name", "<lambda>")
    decorators = getattr(node, "decorator_list", None)
    first = decorators[0].lineno if decorators else node.lineno
    return bool(name == code.co_name and first == code.co_firstlineno)


class _Body:
    """A function's source, and what its names stand for."""

    def __init__(self, function: FunctionType, node: Any) -> None:
        self._code = function.__code__
        self._node = node
        self._names: Mapping[str, Any] = function.__globals__
        self._closure = _closure(function)
        self._always, self._bare = _known(_ALWAYS), _known(_WITHOUT_ARGUMENTS)
        self._imported: dict[str, Any] = {}
        self._nested: dict[str, Any] = {}
        self._locals = self._bound(node)

    def calls(self) -> Iterator[Call]:
        todo = [self._node]
        seen: set[int] = set()
        while todo:
            function = todo.pop(0)
            if id(function) in seen:
                continue
            seen.add(id(function))
            body = function.body if isinstance(function.body, list) else [function.body]
            for node in _walk(body):
                if not isinstance(node, ast.Call):
                    continue
                if isinstance(node.func, ast.Name) and node.func.id in self._nested:
                    todo.append(self._nested[node.func.id])
                elif kind := self._kind(node):
                    text = ast.unparse(node.func)
                    yield Call(text, kind, self._code.co_filename, node.lineno)

    def _bound(self, node: Any) -> set[str]:
        """The names that the function binds; what it imports and defines is noted beside."""
        bound = {*self._code.co_varnames, *self._code.co_cellvars}
        for each in _walk(node.body if isinstance(node.body, list) else [node.body], deep=True):
            if isinstance(each, ast.Import):
                for alias in each.names:
                    name = alias.name if alias.asname else alias.name.partition(".")[0]
                    self._imported[alias.asname or name] = _loaded(name)
            elif isinstance(each, ast.ImportFrom) and not each.level:
                for alias in each.names:
                    found = _loaded(f"{each.module}.{alias.name}")
                    self._imported[alias.asname or alias.name] = found
            elif isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)):
                self._nested[each.name] = each
                bound |= {one.arg for one in ast.walk(each.args) if isinstance(one, ast.arg)}
            elif isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
                # One that is imported and then given another value stands for who knows what.
                self._imported.pop(each.id, None)
                bound.add(each.id)
        return bound

    def _kind(self, call: ast.Call) -> str | None:
        """What a call depends on; ``None`` for one that may stand in a body."""
        func = call.func
        if isinstance(func, ast.Attribute):
            owner = self._object(func.value)
            if kind := _kind_of_method(owner, func.attr):
                return kind
            found = _attribute(owner, func.attr)
        else:
            found = self._object(func)
        if found is _UNKNOWN:
            return None
        if kind := self._always.get(id(found)):
            return kind
        if not (call.args or call.keywords) and (kind := self._bare.get(id(found))):
            return kind
        return _kind_of_function(found)

    def _object(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Attribute):
            return _attribute(self._object(node.value), node.attr)
        if not isinstance(node, ast.Name):
            return _UNKNOWN
        if node.id in self._imported:
            return self._imported[node.id]
        if node.id in self._locals:
            return _UNKNOWN
        if node.id in self._closure:
            return self._closure[node.id]
        return self._names.get(node.id, _UNKNOWN)


def _walk(nodes: list[Any], *, deep: bool = False) -> Iterator[ast.AST]:
    """The nodes in the order of the source, not into nested functions."""
    for node in nodes:
        yield node
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            if deep and not isinstance(node, ast.Lambda):
                yield from _walk(node.body, deep=True)
            continue
        yield from _walk(list(ast.iter_child_nodes(node)), deep=deep)


def _closure(function: FunctionType) -> dict[str, Any]:
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            # Not bound yet.
            found[name] = _UNKNOWN
    return found


def _loaded(path: str) -> Any:
    """What a dotted path stands for, if its module has been imported."""
    module = path
    rest: list[str] = []
    while module and module not in sys.modules:
        module, _, last = module.rpartition(".")
        rest = [last, *rest]
    found: Any = sys.modules.get(module, _UNKNOWN)
    for name in rest:
        found = _attribute(found, name)
    return found


def _attribute(owner: Any, name: str) -> Any:
    """An attribute of a module or class; nothing is asked of instances, whose answer may act."""
    if isinstance(owner, ModuleType):
        return owner.__dict__.get(name, _UNKNOWN)
    if isinstance(owner, type):
        found = inspect.getattr_static(owner, name, _UNKNOWN)
        return getattr(owner, name) if isinstance(found, (staticmethod, classmethod)) else found
    return _UNKNOWN


def _kind_of_method(owner: Any, name: str) -> str | None:
    """What a method depends on that is known by whom it belongs to."""
    if isinstance(owner, type):
        return CLOCK if issubclass(owner, date) and name in _NOW else None
    if isinstance(owner, ModuleType):
        root = owner.__name__.partition(".")[0]
        if owner.__name__ == "numpy.random":
            return CHANCE
        return NETWORK if root in _CLIENTS and name in _VERBS else None
    if isinstance(owner, random.Random):
        return CHANCE
    root = type(owner).__module__.partition(".")[0]
    return NETWORK if root in _CLIENTS and name in _VERBS else None


def _kind_of_function(found: Any) -> str | None:
    """What a function depends on, as ``from requests import get`` gives it."""
    name = str(getattr(found, "__name__", ""))
    owner = getattr(found, "__self__", None) if callable(found) else None
    if owner is not None:
        return _kind_of_method(owner, name)
    root = str(getattr(found, "__module__", "")).partition(".")[0]
    return NETWORK if root in _CLIENTS and name in _VERBS else None


def _known(table: Mapping[str, str]) -> dict[int, str]:
    """What stands behind these paths now, by its identity."""
    found = {id(_loaded(path)): kind for kind, paths in table.items() for path in paths.split()}
    found.pop(id(_UNKNOWN), None)
    return found
