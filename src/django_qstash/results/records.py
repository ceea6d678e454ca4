"""What became of a letter, and of all that hangs on it, in one transaction. A5, B and D."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import Case, F, Value, When

from django_qstash import clock, states
from django_qstash.exceptions import ChordError, TaskRevokedError
from django_qstash.results.chords import Chords
from django_qstash.results.claims import Claims, push_out
from django_qstash.results.models import Phase, TaskResult
from django_qstash.serialization import dumps
from django_qstash.sql.statements import insert_once, moment, raw, storable, update_where
from django_qstash.tasks.failure import exception_as_data
from django_qstash.tasks.store import Claimed, Outcome, Written
from django_qstash.tasks.successors import Doomed, doomed, doomed_body, errbacks

if TYPE_CHECKING:
    from datetime import datetime

    from django_qstash.messages import TaskMessage

#: Rows in one INSERT.
BULK = 200


class Records(Claims):
    """Records on the rows that were claimed."""

    def record(
        self, message: TaskMessage, token: str, outcome: Outcome, message_id: str
    ) -> Written | None:
        joins = outcome.status != states.RETRY and (message.chord or message.chain)
        if joins and not (outcome.status == states.SUCCESS and message.chain):
            with transaction.atomic(using=self.alias):
                if not self._write(message, token, outcome, message_id):
                    return None
                return self._settle(message, outcome)
        if not self._write(message, token, outcome, message_id):
            return None
        return Written(outcome.follow)

    def put(self, message: TaskMessage, outcome: Outcome, began: datetime) -> Written | None:
        joins = message.chord or message.chain or outcome.status == states.IGNORED
        if not joins and insert_once(
            self.alias,
            TaskResult,
            {**self.fresh(message, None, "", began), **self._ended(outcome, "")},
        ):
            return Written(outcome.follow)
        verdict = self.claim(message, message_id="")
        if not isinstance(verdict, Claimed):
            return None
        self.mine(message, verdict.token).update(date_started=began)
        return self.record(message, verdict.token, outcome, "")

    def _write(self, message: TaskMessage, token: str, outcome: Outcome, message_id: str) -> bool:
        if outcome.status == states.IGNORED:
            return self._write_ignored(message, token, outcome)
        values = self._ended(outcome, message_id)
        where = {
            "task_id": message.id,
            "run": message.run,
            "retries": message.retries,
            "lease_token": token,
        }
        return update_where(self.alias, TaskResult, values, where)

    def _ended(self, outcome: Outcome, message_id: str) -> dict[str, Any]:
        """The columns of an outcome."""
        return {
            "status": outcome.status,
            "phase": Phase.RETRY if outcome.status == states.RETRY else Phase.DONE,
            "result": outcome.result,
            "traceback": storable(outcome.traceback),
            "follow": dumps(list(outcome.follow)) if outcome.follow else None,
            "date_done": moment(self.alias, clock.now()),
            "message_id": message_id[:255],
            "meta": dumps(dict(outcome.meta)) if outcome.meta else None,
        }

    def _write_ignored(self, message: TaskMessage, token: str, outcome: Outcome) -> bool:
        """Nothing is stored, as in Celery: a state that the task gave itself stays."""
        # A task that was replaced goes on under the same id: it is not over for who waits for it.
        now = states.PENDING if outcome.follow else states.IGNORED
        own = F("status")
        status = Case(When(status=states.STARTED, then=Value(now)), default=own)
        return bool(
            self.mine(message, token).update(
                status=status,
                phase=Phase.DONE,
                follow=raw(dumps(list(outcome.follow))) if outcome.follow else None,
                lease_token=None,
                lease_until=None,
                date_done=clock.now(),
            )
        )

    # --- what hangs on it -----------------------------------------------------------------------

    def _settle(self, message: TaskMessage, outcome: Outcome) -> Written:
        """Count the member of a chord; fail what will not be sent any more."""
        if outcome.status == states.IGNORED and outcome.follow:
            return Written(outcome.follow)  # the task that replaced it counts
        ok = outcome.status == states.SUCCESS
        error = outcome.error or TaskRevokedError(f"{message.id} was ignored")
        if not ok:
            self._fail(doomed(message), error, outcome)
        if message.chord is None:
            return Written(outcome.follow)
        became = Chords(self.alias).count(message.chord, ok=ok, value=outcome.joined)
        if became != "failed":
            return Written(outcome.follow, fired=became == "fired")
        owed = self._fail_body(message.chord, message, error, outcome)
        if not owed:
            return Written(outcome.follow)
        follow = [*outcome.follow, *(letter.as_dict() for letter in owed)]
        TaskResult.rows.using(self.alias).filter(task_id=message.id, run=message.run).update(
            follow=raw(dumps(follow))
        )
        return Written(follow)

    def _fail_body(
        self,
        chord: Mapping[str, Any],
        member: TaskMessage,
        cause: BaseException,
        outcome: Outcome,
    ) -> list[TaskMessage]:
        """Fail the body of a chord, and the chords around it; the letters of their errbacks."""
        error = ChordError(f"Dependency {member.id} raised {cause!r}")
        error.__cause__ = cause
        lost = list(doomed_body(chord, member))
        bodies = [each.message for each in lost if each.is_body]
        # A body that is a group fails with the member's own exception, as in Celery.
        told = cause if chord["body"][0].get("subtask_type") == "group" else error
        self._fail(lost, told, outcome, final=True)
        owed = [letter for body in bodies for letter in errbacks(body, told, None)]
        outer = chord.get("chord")
        if outer is not None and Chords(self.alias).fail(outer):
            owed += self._fail_body(outer, bodies[0] if bodies else member, told, outcome)
        return owed

    def _fail(
        self,
        lost: Iterable[Doomed],
        error: BaseException,
        outcome: Outcome,
        *,
        final: bool = False,
    ) -> None:
        """Write that these will never run, so that nobody waits for them."""
        failed = final or outcome.status == states.FAILURE
        status = states.FAILURE if failed else states.REVOKED
        result = dumps(exception_as_data(error))
        letters = [each.message for each in lost]
        for start in range(0, len(letters), BULK):
            self._write_lost(letters[start : start + BULK], status, result, outcome.traceback)

    def _write_lost(
        self, letters: list[TaskMessage], status: str, result: str, traceback: str | None
    ) -> None:
        rows = TaskResult.rows.using(self.alias)
        taken = {
            old["task_id"]: old
            for old in rows.filter(task_id__in=[letter.id for letter in letters]).values()
        }
        now = clock.now()
        fresh = []
        for letter in letters:
            values = {
                "run": letter.run,
                "retries": letter.retries,
                "status": status,
                "phase": Phase.DONE,
                "task_name": letter.task[:255],
                "result": raw(result),
                "traceback": storable(traceback),
                "date_done": now,
                "root_id": letter.root_id or "",
                "parent_id": letter.parent_id or "",
                "group_id": letter.group or "",
            }
            old = taken.get(letter.id)
            if old is None:
                fresh.append(TaskResult(task_id=letter.id, date_created=now, **values))
            elif old["run"] != letter.run:
                # The same id was applied before: its run makes room, as for a claim.
                reset = dict.fromkeys(("lease_token", "lease_until", "follow", "meta"))
                rows.filter(task_id=letter.id, run=old["run"]).update(
                    **{**reset, **values, "cleared": False, "revoked": False, "date_created": now}
                )
                with contextlib.suppress(KeyError):
                    push_out(self.alias, old)
        # One that has come into being meanwhile has its own story.
        rows.bulk_create(fresh, ignore_conflicts=True)
