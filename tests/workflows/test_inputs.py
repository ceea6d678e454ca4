"""What runs are given and told: data, options and durations, refused where they are written."""

from __future__ import annotations

import pytest

from django_qstash.exceptions import IdempotencyConflict
from django_qstash.testing import run_inline
from django_qstash.workflows import workflow
from django_qstash.workflows.history import fingerprint, hash_of

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("loopback", "tidy_registry"),
]


class TestTheOrderOfKeys:
    @pytest.mark.parametrize("by", ["run_id", "idempotency_key"])
    def test_the_same_data_leads_to_the_same_run(self, by):
        kept = workflow("inputs.kept")(lambda ctx: ctx.data)

        first = kept.trigger({"a": 1, "b": {"x": [{"p": 1, "q": 2}], "y": 3}}, **{by: "o"})
        again = kept.trigger({"b": {"y": 3, "x": [{"q": 2, "p": 1}]}, "a": 1}, **{by: "o"})
        assert again == first
        with pytest.raises(IdempotencyConflict):
            kept.trigger({"a": 1, "b": {"x": [{"p": 1, "q": 3}], "y": 3}}, **{by: "o"})

    def test_a_child_by_its_key(self):
        workflow("inputs.child")(lambda ctx: "born")

        @workflow("inputs.parent")
        def parent(ctx, data):
            return ctx.step.run_workflow("child", "inputs.child", data, idempotency_key="k")

        assert parent.trigger({"data": {"a": 1, "b": 2}}).result(5) == "born"
        assert parent.trigger({"data": {"b": 2, "a": 1}}).result(5) == "born"

    def test_a_replay_with_arguments_in_another_order(self):
        turns = []

        @workflow("inputs.turned", strict=True)
        def turned(ctx):
            turns.append(1)
            given = [("a", 1), ("b", {"x": 1, "y": 2}), ("c", [{"p": 1, "q": 2}])]
            if len(turns) > 1:
                given = [("c", [{"q": 2, "p": 1}]), ("b", {"y": 2, "x": 1}), ("a", 1)]
            ctx.step.run("first", dict, **dict(given))
            return ctx.step.sleep("nap", 5)

        run = run_inline(turned)
        assert run.error is None
        assert len(turns) == 2

    def test_what_is_not_the_order_of_keys_counts(self):
        assert hash_of([[1, 2]], {}) != hash_of([[2, 1]], {})
        assert hash_of([{"a": 1}], {}) != hash_of([{"a": "1"}], {})
        assert hash_of([], {"a": 1}) != hash_of([{"a": 1}], {})
        assert fingerprint("[]") != fingerprint("{}")

    def test_a_dict_that_looks_like_a_tag_of_ours(self):
        ours = {"__type__": "date", "__value__": 5, "more": {"b": 1, "a": 2}}
        turned = {"more": {"a": 2, "b": 1}, "__value__": 5, "__type__": "date"}
        assert hash_of([ours], {}) == hash_of([turned], {})
        assert hash_of([ours], {}) != hash_of([{**ours, "__value__": 6}], {})
