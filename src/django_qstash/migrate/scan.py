"""The signs of Celery's features in one file."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from django_qstash.application import known
from django_qstash.migrate.mirror import FACE, MIRROR

if TYPE_CHECKING:
    from django_qstash.migrate.signs import Sign

#: What makes a function a task.
_DECORATORS = frozenset({"task", "shared_task", "stashed_task", "periodic_task"})
#: A command of Celery's, in a file that starts programs.
_PROGRAM = re.compile(
    r"\bcelery\b[^\n#]*?(?:\s|['\",])(worker|beat|multi|flower|events|purge|inspect|control)\b"
)


#: An app of Celery's, in INSTALLED_APPS.
_APP = re.compile(r"django_celery_\w+(\.\w+)*")


@dataclass(frozen=True)
class Use:
    """A feature of Celery's, used on a line of a file."""

    kind: str
    name: str
    line: int
    keyword: str = ""

    def shows(self, sign: Sign) -> bool:
        """True if this is what the sign stands for."""
        if self.kind != sign.kind:
            return False
        if sign.kind == "setting" and sign.name.endswith("*"):
            return self.name.startswith(sign.name[:-1])
        if sign.kind == "imported":
            return self.name == sign.name or self.name.startswith(f"{sign.name}.")
        if sign.kind == "attribute":
            return f".{self.name}.".find(f".{sign.name}.") >= 0
        return (self.name, self.keyword) == (sign.name, sign.keyword)


def namespaces(tree: ast.Module) -> Iterator[str]:
    """The prefixes under which Celery objects of this file look for their settings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _last(node.func) in ("config_from_object", "Celery"):
            for keyword in node.keywords:
                value = getattr(keyword.value, "value", None)
                if keyword.arg == "namespace" and isinstance(value, str):
                    yield value


def uses(tree: ast.Module, path: Path, prefixes: frozenset[str]) -> list[Use]:
    """Everything in a file that a row of the table may be about, in the order of its lines."""
    scan = _Scan(path, prefixes)
    scan.visit(tree)
    return sorted(set(scan.found), key=lambda use: (use.line, use.name))


def programs(text: str) -> Iterator[Use]:
    """The lines of a file without Python that start one of Celery's programs."""
    for number, line in enumerate(text.splitlines(), 1):
        if match := _PROGRAM.search(line):
            yield Use("program", match[1], number)


class _Scan(ast.NodeVisitor):
    def __init__(self, path: Path, prefixes: frozenset[str]) -> None:
        self.found: list[Use] = []
        self._prefixes = prefixes
        self._is_config = "celery" in path.stem
        #: What the names of this file stand for.
        self._names: dict[str, str] = {}

    def _add(self, kind: str, name: str, node: ast.AST, keyword: str = "") -> None:
        self.found.append(Use(kind, name, getattr(node, "lineno", 0), keyword))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            name = _celerys(alias.name)
            self._names[alias.asname or name.partition(".")[0]] = (
                name if alias.asname else name.partition(".")[0]
            )
            self._add("imported", name, node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level or not node.module:
            return
        for alias in node.names:
            name = f"{_celerys(node.module)}.{alias.name}"
            self._names[alias.asname or alias.name] = name
            self._add("imported", name, node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        parts = _chain(node)
        if parts:
            self._add("attribute", ".".join(parts), node)
            if parts[0] in self._names:
                self._add("imported", ".".join([self._names[parts[0]], *parts[1:]]), node)
            if "conf" in parts[:-1]:
                self._setting(parts[parts.index("conf") + 1], node)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = _last(node.func)
        for keyword in node.keywords:
            if keyword.arg is not None and name is not None:
                self._add("argument", name, keyword.value, keyword.arg)
        if name == "Celery":
            for keyword in node.keywords:
                made = {"broker": "broker_url", "backend": "result_backend"}
                self._setting(made.get(keyword.arg or "", keyword.arg or ""), keyword.value)
        elif name == "update" and "conf" in _chain(node.func):
            for keyword in node.keywords:
                self._setting(keyword.arg or "", keyword.value)
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and _APP.fullmatch(node.value):
            self._add("imported", node.value, node)

    def visit_Dict(self, node: ast.Dict) -> None:
        if self._is_config:
            for key in node.keys:
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    self._setting(key.value, key)
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._function(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and _last(decorator.func) in _DECORATORS:
                for keyword in decorator.keywords:
                    if keyword.arg is not None:
                        self._add("option", keyword.arg, keyword.value)
        self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        if any(self._is_task(base) for base in node.bases):
            for statement in node.body:
                for name, target in _assigned(statement):
                    self._add("option", name, target)
        self._settings_of(node.body)
        self.generic_visit(node)

    def visit_Module(self, node: ast.Module) -> None:
        self._settings_of(node.body)
        self.generic_visit(node)

    def _is_task(self, base: ast.expr) -> bool:
        parts = _chain(base)
        if len(parts) == 1:
            return self._names.get(parts[0], "").startswith("celery.")
        return parts[-1:] == ["Task"]

    def _settings_of(self, body: list[ast.stmt]) -> None:
        """Names that a settings module, or a class of settings, gives a value."""
        for statement in body:
            if isinstance(statement, (ast.If, ast.Try, ast.With)):
                self._settings_of([*statement.body, *getattr(statement, "orelse", [])])
            for name, target in _assigned(statement):
                if name in known.OLD:
                    self._setting(known.OLD[name], target)
                for prefix in self._prefixes:
                    if name.startswith(f"{prefix}_"):
                        self._setting(name[len(prefix) + 1 :].lower(), target)
                if self._is_config and name.islower():
                    self._setting(name, target)

    def _setting(self, name: str, node: ast.AST) -> None:
        name = known.OLD.get(name, name)
        if known.is_known(name):
            self._add("setting", name, node)


def _celerys(name: str) -> str:
    """A path as Celery has it, also where it was swapped already."""
    for ours in (MIRROR, FACE):
        if name == ours or name.startswith(f"{ours}."):
            return f"celery{name[len(ours) :]}"
    return name


def _chain(node: ast.expr) -> list[str]:
    """``app.control.inspect().active`` as its names; nothing for what begins otherwise."""
    parts: list[str] = []
    while True:
        if isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        elif isinstance(node, ast.Call):
            node = node.func
        elif isinstance(node, ast.Name):
            return [node.id, *reversed(parts)]
        else:
            return list(reversed(parts))


def _last(node: ast.expr) -> str | None:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None


def _assigned(statement: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, (ast.AnnAssign, ast.AugAssign)):
        targets = [statement.target]
    for target in targets:
        if isinstance(target, ast.Name):
            yield target.id, target
