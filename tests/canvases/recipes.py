"""A recipe is a canvas as plain tuples, so that one recipe can be built by two libraries.

``("task", name, args, immutable)``, ``("chain", recipes)``, ``("group", recipes)``,
``("chord", recipes, recipe)``, ``("or", left, right)``, ``("linked", recipe, link)``.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st


def tasks(names: str, *, immutable: bool = True) -> st.SearchStrategy[tuple]:
    """Calls of the tasks of these one-letter names."""
    return st.tuples(
        st.just("task"),
        st.sampled_from(names),
        st.lists(st.integers(0, 9), max_size=2),
        st.booleans() if immutable else st.just(value=False),
    )


def canvases(
    leaf: st.SearchStrategy[tuple], *, size: int = 7, smallest: int = 0
) -> st.SearchStrategy[tuple]:
    """Canvases of up to ``size`` tasks; chains, groups and headers of at least ``smallest``."""

    def larger(inner: st.SearchStrategy[tuple]) -> st.SearchStrategy[tuple]:
        several = st.lists(inner, min_size=smallest, max_size=4)
        return st.one_of(
            st.tuples(st.just("chain"), several),
            st.tuples(st.just("group"), several),
            st.tuples(st.just("chord"), several, inner),
            st.tuples(st.just("or"), inner, inner),
        )

    return st.recursive(leaf, larger, max_leaves=size)


def built(library: Any, recipe: tuple) -> Any:
    """The recipe's canvas. ``library`` has Signature, chain, group and chord."""
    kind, *parts = recipe
    if kind == "task":
        name, args, immutable = parts
        return library.Signature(name, args=tuple(args), immutable=immutable)
    if kind == "or":
        return built(library, parts[0]) | built(library, parts[1])
    if kind == "linked":
        found = built(library, parts[0])
        found.link(built(library, parts[1]))
        return found
    members = [built(library, each) for each in parts[0]]
    if kind == "chain":
        return library.chain(*members)
    if kind == "group":
        return library.group(members)
    return library.chord(members, built(library, parts[1]))
