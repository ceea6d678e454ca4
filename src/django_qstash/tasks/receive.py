"""A task's letter arrives: claim, run, record, publish what follows, answer. Sections A and B."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError

from django_qstash import clock, signals, states
from django_qstash.conf import settings
from django_qstash.exceptions import (
    InvalidTaskError,
    LeaseLost,
    MessageError,
    NotRegistered,
    PublishError,
    ResultsNotInstalled,
    TimeLimitExceeded,
    Unavailable,
    WorkerLostError,
)
from django_qstash.messages import TaskMessage
from django_qstash.tasks import execute, send
from django_qstash.tasks import options as call_options
from django_qstash.tasks.failure import to_exception
from django_qstash.tasks.recording import as_record
from django_qstash.tasks.registry import tasks
from django_qstash.tasks.renewal import kept
from django_qstash.tasks.request import Context, make_context
from django_qstash.tasks.store import (
    Busy,
    Claimed,
    Outcome,
    Recorded,
    Stale,
    TaskStore,
    Verdict,
    Written,
    get_store,
)
from django_qstash.tasks.successors import fire
from django_qstash.tasks.transient import is_transient
from django_qstash.wire.delivery import Delivery, Reply

if TYPE_CHECKING:
    from django_qstash.tasks.task import Task

logger = logging.getLogger("django_qstash.tasks")

#: Seconds that a copy comes after the lease that it waits for has ended.
MARGIN = 2
#: Seconds by which a letter may come before its eta and still be run.
EARLY = 1.0


def receive(letter: Mapping[str, Any], delivery: Delivery) -> Reply:
    """Everything that a task's letter brings about. Raises :class:`MessageError`."""
    message = unfolded(TaskMessage.from_dict(letter))
    try:
        task = tasks.find(message.task)
    except NotRegistered as error:
        signals.task_unknown.emit(None, message=letter, exc=error, name=message.task, id=message.id)
        return Reply.unknown(str(error))
    try:
        if (reply := _send_on(message)) is not None:
            return reply
        return attempt(task, message, delivery)
    except PublishError as error:
        return unpublished(message, error)
    except Exception as error:
        if not is_transient(error):
            _tell_internal_error(task, message, error)
        raise


def unfolded(message: TaskMessage) -> TaskMessage:
    """The letter with what was too large to travel, if that is still kept."""
    if message.stored is None:
        return message
    fields = get_store().kept(message.stored)
    return message if fields is None else message.but(**fields)


def _tell_internal_error(task: Task[..., Any], message: TaskMessage, error: Exception) -> None:
    """Something broke that is not the task's doing; the delivery answers 500 and comes again."""
    signals.task_internal_error.emit(
        task,
        task_id=message.id,
        args=message.args,
        kwargs=message.kwargs,
        request=message.as_dict(),
        exception=error,
        traceback=error.__traceback__,
        einfo=execute.ExceptionInfo(error, execute.format_traceback(error)),
    )


def unpublished(message: TaskMessage, error: PublishError) -> Reply:
    """Whatever is still owed is published by the redelivery that this answer asks for."""
    logger.warning("What follows %s[%s] was not published: %s", message.task, message.id, error)
    return Reply.again("what follows could not be published")


def attempt(
    task: Task[..., Any] | None,
    message: TaskMessage,
    delivery: Delivery,
    forced: execute.Outcome | None = None,
) -> Reply:
    """Claim the letter; run it, or record ``forced`` in its place. Raises PublishError."""
    taken = None if task is None else task.take_over(message, delivery, forced)
    if isinstance(taken, Reply):
        return taken
    forced = taken or forced
    store = get_store()
    verdict = store.claim(message, message_id=delivery.message_id)
    if not isinstance(verdict, Claimed):
        return answer(message, delivery, verdict)
    work = Work(store, task, message, delivery, verdict)
    if forced is None:
        forced = work.instead()
    if forced is not None or task is None:
        return work.record(forced or execute.failure(WorkerLostError("It is not registered.")))
    return work.run(task)


def is_over(message: TaskMessage) -> bool:
    """True for a letter that was revoked, or has expired: it is recorded as that, not run."""
    if message.expires is not None and call_options.instant(message.expires) < clock.time():
        return True
    store = get_store()
    if not store.durable:
        return False
    record = store.fetch(message.id)
    return record is not None and record.status == states.REVOKED


def answer(message: TaskMessage, delivery: Delivery, verdict: Verdict) -> Reply:
    """The answer to a letter that is not ours to run. Raises PublishError."""
    if isinstance(verdict, Stale):
        return Reply.done("stale", "the task has gone past this message")
    if isinstance(verdict, Recorded):
        _publish(verdict.follow)
        if message.chord is not None and get_store().has_fired(message.chord["key"]):
            fire(message)
        # A hint, nobody signed the id: the worst it does is a second entry in the DLQ.
        same = bool(delivery.message_id) and verdict.message_id == delivery.message_id
        return _final_answer(verdict.status, recorded_here=same)
    assert isinstance(verdict, Busy)  # noqa: S101 - for the type checker
    send.send_copy(message.but(p=message.p + 1), after=verdict.seconds + MARGIN)
    return Reply.done("busy", "another delivery is at work on it; a copy comes later")


class Work:
    """One claimed letter, until its outcome is recorded."""

    def __init__(
        self,
        store: TaskStore,
        task: Task[..., Any] | None,
        message: TaskMessage,
        delivery: Delivery,
        claimed: Claimed,
    ) -> None:
        self.store = store
        self.task = task
        self.message = message
        self.delivery = delivery
        self.claimed = claimed
        self.context = make_context(message, delivery, task)
        self.context.token = claimed.token
        self.context.attempts = claimed.attempts

    def instead(self) -> execute.Outcome | None:
        """What is to be recorded rather than running the task; ``None``: run it."""
        task, message, attempts = self.task, self.message, self.claimed.attempts
        if task is not None:
            signals.task_received.emit(task, request=self.context)
        if self.claimed.revoked:
            return self._revoked("revoked", expired=False)
        if message.expires is not None and call_options.instant(message.expires) < clock.time():
            return self._revoked("expired", expired=True)
        if attempts > settings.DJANGO_QSTASH_DELIVERY_ATTEMPTS:
            return execute.failure(
                WorkerLostError(
                    f"The process died, or the delivery was cut off, {attempts - 1} times while "
                    "this task ran."
                )
            )
        if attempts > 1 and task is not None and at_most_once(task):
            return execute.failure(
                WorkerLostError("The process died while this task ran, and it runs at most once.")
            )
        return None

    def run(self, task: Task[..., Any]) -> Reply:
        """Run the body and record what it came to."""
        if task.atomic and not self.store.durable:
            return self.record(execute.failure(ResultsNotInstalled("Tasks with atomic=True")))
        if (problem := self._complete_arguments()) is not None:
            return self.record(execute.failure(problem))
        try:
            if task.atomic:
                return self._run_atomically(task)
            with kept(self.store, self.message, self.claimed.token):
                outcome = execute.run(task, self.context, on_hard=self._on_hard)
        except LeaseLost:
            return self._lost()
        except Unavailable as error:
            if at_most_once(task):
                return self.record(execute.failure(error.__cause__ or error))
            return self._unavailable(error)
        return self.record(outcome)

    def record(self, outcome: execute.Outcome) -> Reply:
        """Write the outcome, publish what it owes, tell hooks and signals, answer."""
        if outcome.state == states.REJECTED:
            self.store.release(self.message, self.claimed.token)
            self._conclude(outcome)
            return Reply.again("the task asked to be delivered again", after=1)
        record, outcome = as_record(self.message, self.context, outcome)
        try:
            written = self._write(record)
        except DatabaseError as error:
            if not is_transient(error):
                raise
            return self._unavailable(error)
        return self._recorded(written, outcome) if written else self._lost(outcome)

    def _run_atomically(self, task: Task[..., Any]) -> Reply:
        """Body and result in one transaction; all but a success roll the body back."""
        done: tuple[Written, execute.Outcome] | None = None
        with kept(self.store, self.message, self.claimed.token, atomic=True):
            try:
                with self.store.transaction(self.message, self.claimed.token):
                    outcome = execute.run(task, self.context, on_hard=self._on_hard)
                    record, outcome = as_record(self.message, self.context, outcome)
                    if outcome.state != states.SUCCESS:
                        raise _RollBack
                    written = self._write(record)
                    if written is None:
                        raise LeaseLost
                    done = written, outcome
            except _RollBack:
                pass
            except DatabaseError as error:
                # The body swallowed an error of the database's, or the commit failed.
                if is_transient(error):
                    raise Unavailable(str(error)) from error
                outcome = execute.failure(error)
        return self._recorded(*done) if done else self.record(outcome)

    def _write(self, record: Outcome) -> Written | None:
        return self.store.record(self.message, self.claimed.token, record, self.delivery.message_id)

    def _recorded(self, written: Written, outcome: execute.Outcome) -> Reply:
        try:
            self._follow(written)
        finally:
            self._conclude(outcome)
        return _final_answer(outcome.state, recorded_here=True)

    def _follow(self, written: Written) -> None:
        _publish(written.follow)
        if written.fired:
            fire(self.message)

    def _conclude(self, outcome: execute.Outcome) -> None:
        if self.task is not None and outcome.state != states.REVOKED:
            execute.conclude(self.task, self.context, outcome)

    def _lost(self, outcome: execute.Outcome | None = None) -> Reply:
        """The lease went to another delivery while the body ran: what it came to must not count."""
        logger.warning("Task %s[%s] lost its lease.", self.message.task, self.message.id)
        if outcome is not None and self.context.timed_out:
            self._conclude(outcome)
        verdict = self.store.look(self.message) or Busy(settings.DJANGO_QSTASH_LEASE)
        return answer(self.message, self.delivery, verdict)

    def _unavailable(self, error: Exception) -> Reply:
        try:
            self.store.release(self.message, self.claimed.token)
        except DatabaseError:
            logger.warning("The lease of %s[%s] is kept.", self.message.task, self.message.id)
        return Reply.again(f"the database was in the way: {error}")

    def _revoked(self, reason: str, *, expired: bool) -> execute.Outcome:
        signals.task_revoked.emit(
            self.task, request=self.context, terminated=False, signum=None, expired=expired
        )
        return execute.revoked(reason)

    def _on_hard(self) -> None:
        """From another thread: record the failure at once, in case the body cannot be stopped."""
        from django.db import connections

        self.context.timed_out = True
        outcome = execute.failure(TimeLimitExceeded(self.context.time_limit))
        record, _ = as_record(self.message, self.context, outcome)
        try:
            if (written := self._write(record)) is not None:
                self._follow(written)
        except (DatabaseError, PublishError) as error:
            # The delivery's own thread records it when the body ends.
            logger.warning("The time limit of %s was not recorded: %s", self.message.id, error)
        finally:
            connections.close_all()

    def _complete_arguments(self) -> Exception | None:
        """Put before the letter's arguments what is not in it; what is wrong if that is gone."""
        message, context = self.message, self.context
        if message.stored is not None and not message.large():
            return InvalidTaskError("The arguments that the message refers to are gone.")
        if message.errback is not None:
            told = message.errback
            request = Context(told["request"])
            context.args = [request, to_exception(told["exc"]), told["tb"], *message.args]
        elif message.header is not None:
            context.args = [self.store.header_values(message.header), *message.args]
        return None


class _RollBack(Exception):
    """The body is to be rolled back, and its outcome recorded by itself."""


def at_most_once(task: Task[..., Any]) -> bool:
    """True if the task says that it must not run again after its process died."""
    return task.acks_late is False or task.reject_on_worker_lost is False


def _send_on(message: TaskMessage) -> Reply | None:
    """Send the letter on if it came before its eta (a plan's longest delay), or to its queue."""
    if message.eta is not None:
        try:
            early = call_options.instant(message.eta) - clock.time()
        except ValueError:
            raise MessageError(f"The letter's eta {message.eta!r} is not an instant.") from None
        if early > EARLY:
            send.send_copy(message, after=min(early, settings.DJANGO_QSTASH_MAX_DELAY))
            return Reply.done("not yet", "the eta is ahead; the message was sent on")
    waited = message.eta is not None or message.p or message.life
    if waited and not message.enqueued and call_options.is_fifo(message.queue):
        # QStash's queues know no delay, so it has waited outside of the queue.
        send.send_copy(message.but(enqueued=True), after=0)
        return Reply.done("queued", "the message was put on its queue")
    return None


def _final_answer(status: str, *, recorded_here: bool) -> Reply:
    if status == states.FAILURE and recorded_here:
        return Reply.failed("failure", "the task failed; see its result")
    return Reply.done(status.lower() if recorded_here else "duplicate")


def _publish(follow: Sequence[Mapping[str, Any]]) -> None:
    if follow:
        send.follow([TaskMessage.from_dict(letter) for letter in follow])
