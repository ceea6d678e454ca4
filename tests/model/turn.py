"""What a delivery does to a run, or to a branch of one, that it has claimed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tests.model.explore import Back, Deed

if TYPE_CHECKING:
    from tests.model.runs import Runs

OPEN = ("pending", "running", "waiting")


class Lost(Exception):
    """The lease is somebody else's."""


class Refused(Exception):
    """QStash does not take a letter."""


def end(rows: dict[Any, Any], run: str, status: str) -> None:
    rows.update({(run, "status"): status, (run, "token"): None, (run, "owed"): False})
    rows[run, "ends"] = rows.get((run, "ends"), 0) + 1


class Branch:
    """What a delivery of a branch does to its row and to its run."""

    def __init__(self, runs: Runs, me: int, run: str, name: str) -> None:
        self.runs, self.me, self.run, self.name = runs, me, run, name
        self.step, self.lease = (run, "step", name), (run, name, "token")

    def claim(self, rows):
        token = rows.get(self.lease)
        if rows.get(self.step) not in ("unbegun", "begun") or rows[self.run, "status"] not in OPEN:
            return False
        if token is not None and token not in rows["over"]:
            return False
        rows.update({self.step: "begun", self.lease: self.me})
        return True

    def end(self, rows):
        """Done and counted; true if the run's letter is owed, ``None`` if the lease is lost."""
        run = self.run
        if rows[self.lease] != self.me and self.runs.keeps("fence"):
            raise Back(None)
        rows["effect", self.name] = rows.get(("effect", self.name), 0) + 1
        rows.update({self.step: "done", self.lease: None})
        waits = (rows[run, "status"], rows[run, "waits"]) == ("waiting", "branches")
        if not rows.get((run, self.name, "awaited")) or not waits or not rows[run, "branches"]:
            return False
        rows[run, "branches"] -= 1
        if not rows[run, "branches"]:
            self.runs._rouse(rows, run)
        return rows[run, "owed"]

    def look(self, rows):
        return rows.get(self.step), rows[self.run, "status"] in OPEN


class Turn:
    """One delivery's turn at a run that it has claimed."""

    def __init__(self, runs: Runs, me: int, run: str, *claimed: Any) -> None:
        steps, due, self.inbox, self.branches, self.generation = claimed
        self.runs, self.me, self.run = runs, me, run
        self.steps, self.due = dict(steps), set(due)

    def go_on(self) -> Any:
        if self.branches:
            # Whoever began them died, or was refused, before their letters were sent.
            yield from self.runs.republish_branches(self.run)
        body = self.runs.bodies[self.run]
        place = 0
        while place < len(body):
            kind, name = body[place]
            if kind == "branch":
                fan = [each for step, each in body[place:] if step == "branch"]
                suspended = yield from self.fan(fan)
                place += len(fan)
            elif self.steps.get(name) == "done":
                suspended = False
                place += 1
            else:
                suspended = yield from getattr(self, kind)(name)
                place += 1
            if suspended:
                return 200
        if (yield from self._alone(self.completed)):
            yield from self.runs._tell(self.run)
        return 200

    # --- what it does -----------------------------------------------------------------------------

    def _alone(self, deed: Deed) -> Iterator[Any]:
        """A transaction that is fenced: the lease is still this delivery's."""
        run, me, fenced = self.run, self.me, self.runs.keeps("fence")

        def fenced_deed(rows):
            if fenced and rows[run, "token"] != me:
                raise Back("lost")
            return deed(rows)

        fenced_deed.__name__ = deed.__name__
        result = yield fenced_deed
        if result == "lost":
            raise Lost
        return result

    def completed(self, rows):
        end(rows, self.run, "completed")
        return self.run == "child" and self.runs._nudge(rows, "run", "child")

    def _suspend(self, name: str, waits: str | None, **how: Any) -> Iterator[Any]:
        """Put the run down; false if something has come, and the caller looks again."""
        run, me, seen = self.run, self.me, self.inbox
        wake, before, write = how.get("wake"), how.get("before"), how.get("write")

        def put_down(rows):
            count = 0 if before is None else before(rows)
            came = rows[run, "inbox"] != seen and self.runs.keeps("inbox")
            if rows[run, "token"] != me or came or count is False:
                raise Back(False)
            rows.setdefault((run, "step", name), "waiting")
            rows[run, "generation"] += 1
            rows.update({(run, "status"): "waiting", (run, "token"): None, (run, "waits"): waits})
            rows.update({(run, "wake"): wake, (run, "branches"): count})
            if wake is not None:
                rows.setdefault(wake, False)
            if write is not None:
                write(rows)
            return True

        def look_again(rows):
            return rows[run, "token"] == me and rows[run, "inbox"]

        if (yield put_down):
            if wake is not None:
                letter = (run, self.generation + 1, 0)
                yield from self.runs._publish(letter, not_before=wake)
            if write is not None:
                yield from self.runs._publish(("child", 0, 0))
            return True
        inbox = yield look_again
        if inbox is False:
            raise Lost
        self.inbox = inbox
        return False

    # --- the kinds of steps; each is true if it has put the run down ------------------------------

    def plain(self, name: str) -> Iterator[Any]:
        """Done, and then recorded, unfenced: the first record counts, the effect may be twice."""
        run = self.run

        def record(rows):
            rows[run, "step", name] = "done"
            rows["effect", name] = 1

        yield record
        return False

    def atomic(self, name: str) -> Iterator[Any]:
        run = self.run

        def do_and_record(rows):
            if rows.get((run, "step", name)) == "done" and self.runs.keeps("fence"):
                raise Back(None)
            rows[run, "step", name] = "done"
            rows["effect", name] = rows.get(("effect", name), 0) + 1

        yield from self._alone(do_and_record)
        return False

    def sleep(self, name: str) -> Iterator[Any]:
        run = self.run

        def record(rows):
            rows[run, "step", name] = "done"

        while name not in self.due:
            if (yield from self._suspend(name, None, wake=("due", name))):
                return True
        yield record
        return False

    def signal(self, name: str) -> Iterator[Any]:
        run = self.run

        def look_for_a_signal(rows):
            return bool(rows.get((run, "sent"))) and not rows.get((run, "received"))

        def receive_it(rows):
            rows.update({(run, "received"): True, (run, "step", name): "done"})

        while not (yield look_for_a_signal):
            if (yield from self._suspend(name, "signal")):
                return True
        yield from self._alone(receive_it)
        return False

    def child(self, name: str) -> Iterator[Any]:
        run = self.run

        def look_at_child(rows):
            return rows.get(("child", "status"))

        def give_birth(rows):
            self.runs._bear(rows, "child", owed=True)

        def watch(rows):
            # The child's row first, as its end does.
            return 0 if rows["child", "status"] in OPEN else False

        def record(rows):
            rows[run, "step", name] = "done"

        while True:
            status = yield look_at_child
            if status is None:
                suspended = yield from self._suspend(name, "child", write=give_birth)
            elif status in OPEN:
                suspended = yield from self._suspend(name, "child", before=watch)
            else:
                break
            if suspended:
                return True
        yield record
        return False

    def fan(self, names: list[str]) -> Iterator[Any]:
        run = self.run

        def begin_branches(rows):
            for name in names:
                rows[run, "step", name] = "unbegun"
            rows[run, "branches"] = len(names)

        def look_at_branches(rows):
            return all(rows[run, "step", name] == "done" for name in names)

        def mark(rows):
            undone = [name for name in names if rows[run, "step", name] != "done"]
            for name in names:
                rows[run, name, "awaited"] = name in undone
            return len(undone) or False

        if names[0] not in self.steps:
            yield from self._alone(begin_branches)
            for name in names:
                yield from self.runs._publish((run, name, 0))
        while not (yield look_at_branches):
            if (yield from self._suspend("joined", "branches", before=mark)):
                return True
        return False
