"""Inside Django's TestCase, whose transactions around a test are none of the project's own."""

from __future__ import annotations

import pytest
from django.db import transaction

from django_qstash import group
from tests.shop.tasks import add

pytestmark = pytest.mark.django_db


def test_a_call_outside_of_the_project_s_transactions_is_sent_at_once(rows, qstash):
    add.delay(1, 1)

    assert (len(qstash.sent), rows.count()) == (1, 0)


def test_one_inside_waits_for_the_commit(rows, qstash, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        with transaction.atomic():
            add.delay(1, 1)
        assert (qstash.sent, rows.count()) == ([], 1)

    assert (len(qstash.sent), rows.count()) == (1, 0)


def test_a_group_of_several_batches_is_sent_at_once(rows, qstash, settings):
    settings.DJANGO_QSTASH_BATCH_SIZE = 2
    group([add.s(i, i) for i in range(5)]).apply_async()
    group(add.s(i, i) for i in range(5)).apply_async()

    assert (len(qstash.sent), rows.count()) == (10, 0)
