"""Runs of workflows, as the delivery protocol has them, for :mod:`tests.model.explore`.

A body is a list of steps, such as ``("sleep", "nap")``. The rows are those of the tables: of a run
``(run, column)``, of a step ``(run, "step", id)``. ``without`` names rules that are left out: the
test shows what each of them is for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.model.explore import Model, Publish
from tests.model.turn import OPEN, Branch, Lost, Refused, Turn, end

#: Where a run stands.
STANDING = ("status", "generation", "wake", "waits")
#: How often a letter that QStash gave up is sent again.
LIVES = 2

RULES = frozenset(
    {
        # What is atomic begins by renewing the lease, and a run ends under it.
        "fence",
        # To be put down, nothing may have come since the run looked.
        "inbox",
        # A letter that no redelivery would repeat is noted, and sent by whoever passes by.
        "owed",
        # A letter that comes late has the one after it published again.
        "republish",
        # Who finds the run held publishes a copy.
        "copy",
        # QStash tells when it gives a letter up.
        "given up",
    }
)


@dataclass
class Runs:
    """The programs of one site."""

    bodies: dict[str, tuple[tuple[str, str], ...]]
    without: frozenset[str] = frozenset()
    #: Who there is besides: ``("trigger", run)``, ``("cancel", run)``.
    processes: tuple[tuple[str, str], ...] = ()
    faults: dict[str, int] = field(default_factory=dict)

    def model(self) -> Model:
        rows: dict[Any, Any] = {}
        triggered = ("trigger", "run") in self.processes
        if not triggered:
            self._bear(rows, "run", owed=False)
        return Model(
            programs={
                "receive": self.receive,
                "branch": self.branch,
                "given up": self.given_up,
                "sweep": self.sweep,
                "trigger": self.trigger,
                "send": self.send,
                "cancel": self.cancel,
            },
            rows=rows,
            messages=() if triggered else (("run", 0, 0),),
            processes=self.processes,
            faults=self.faults,
            route=self.route,
            others=self.others,
            passing=passing,
            wrong=wrong,
            undone=self.undone,
        )

    def keeps(self, rule: str) -> bool:
        return rule not in self.without

    @staticmethod
    def route(letter: Any) -> str:
        if letter[0] == "given up":
            return "given up"
        return "branch" if isinstance(letter[1], str) else "receive"

    # --- the rows ---------------------------------------------------------------------------------

    @staticmethod
    def _bear(rows: dict[Any, Any], run: str, *, owed: bool) -> None:
        columns = {"status": "pending", "generation": 0, "token": None, "inbox": 0}
        columns |= {"waits": None, "wake": None, "branches": 0, "owed": owed}
        rows.update({(run, name): value for name, value in columns.items()})

    @staticmethod
    def _rouse(rows: dict[Any, Any], run: str) -> None:
        rows[run, "generation"] += 1
        rows.update({(run, "waits"): None, (run, "wake"): "now", (run, "branches"): 0})
        rows[run, "owed"] = True

    def _nudge(self, rows: dict[Any, Any], run: str, what: str) -> bool:
        """What the run may wait for has come; true if its letter is owed from now on."""
        if rows[run, "status"] not in OPEN:
            return False
        rows[run, "inbox"] += 1
        if (rows[run, "status"], rows[run, "waits"]) != ("waiting", what):
            return False
        self._rouse(rows, run)
        return True

    # --- publishing -------------------------------------------------------------------------------

    @staticmethod
    def _publish(letter: Any, **how: Any) -> Iterator[Any]:
        if not (yield Publish(letter, **how)):
            raise Refused

    def _publish_owed(self, run: str) -> Iterator[Any]:
        def look_what_is_owed(rows):
            return rows[run, "generation"] if rows.get((run, "owed")) else None

        generation = yield look_what_is_owed
        if generation is None:
            return
        yield from self._publish((run, generation, 0))

        def settle(rows):
            if rows.get((run, "generation")) == generation:
                rows[run, "owed"] = False

        yield settle

    # --- a delivery -------------------------------------------------------------------------------

    def receive(self, me: int, letter: Any) -> Any:
        run, generation, _ = letter

        def claim(rows):
            if (run, "status") not in rows or not self._is_claimable(rows, run, generation):
                return None
            rows.update({(run, "token"): me, (run, "status"): "running", (run, "owed"): False})
            rows[run, "waits"] = None
            steps = tuple(
                (key[2], value) for key, value in rows.items() if key[:2] == (run, "step")
            )
            due = tuple(key[1] for key, value in rows.items() if key[0] == "due" and value)
            return steps, due, rows[run, "inbox"], rows[run, "branches"], rows[run, "generation"]

        claimed = yield claim
        try:
            if claimed is None:
                return (yield from self._stand(letter))
            turn = Turn(self, me, run, *claimed)
            try:
                return (yield from turn.go_on())
            except Lost:
                return (yield from self._stand(letter))
            except Refused:

                def release(rows):
                    if rows[run, "token"] == me:
                        rows[run, "token"] = None

                yield release
                raise
        except Refused:
            return 503

    def _is_claimable(self, rows: dict[Any, Any], run: str, generation: int) -> bool:
        token, wake = rows[run, "token"], rows[run, "wake"]
        return (
            rows[run, "status"] in OPEN
            and rows[run, "generation"] == generation
            and (token is None or token in rows["over"])
            and (wake == "now" or bool(rows.get(wake)) or rows[run, "status"] != "waiting")
        )

    def _stand(self, letter: Any) -> Iterator[Any]:
        """The answer to a letter that could not be claimed."""
        run, generation, _ = letter

        def look(rows):
            if (run, "status") not in rows:
                return None
            return tuple(rows[run, name] for name in (*STANDING, "token"))

        found = yield look
        if found is None or found[1] < generation:
            # It is not there yet.
            return 503
        status, now, wake, waits, token = found
        if status not in OPEN:
            yield from self._tell(run)
        elif now > generation:
            if now == generation + 1 and self.keeps("republish"):
                yield from self.republish(run, status, now, wake, waits)
        elif (status == "waiting" and wake is None) or not self.keeps("copy"):
            return 200
        elif token is None and wake in (None, "now"):
            return 503
        else:
            not_before = wake if status == "waiting" and wake != "now" else None
            yield from self._publish(letter, fresh=True, not_before=not_before)
        return 200

    def republish(self, run: str, status: str, now: int, wake: Any, waits: Any) -> Iterator[Any]:
        """What the last delivery may have died before."""
        if status not in ("pending", "waiting"):
            return
        if wake is not None or status == "pending":
            not_before = None if wake == "now" else wake
            yield from self._publish((run, now, 0), not_before=not_before)
        if waits == "branches":
            yield from self.republish_branches(run)
        if waits == "child":
            yield from self._publish_owed("child")

    def republish_branches(self, run: str) -> Iterator[Any]:
        def look_for_branches_that_nobody_began(rows):
            return tuple(key[2] for key, value in rows.items() if value == "unbegun")

        for name in (yield look_for_branches_that_nobody_began):
            yield from self._publish((run, name, 0))

    def _tell(self, run: str) -> Iterator[Any]:
        """What the end of a run owes: the letter of who waited for it."""
        if run == "child":
            yield from self._publish_owed("run")

    # --- branches ---------------------------------------------------------------------------------

    def branch(self, me: int, letter: Any) -> Any:
        branch = Branch(self, me, *letter[:2])
        try:
            if (yield branch.claim):
                woken = yield branch.end
                if woken is not None:
                    if woken:
                        yield from self._publish_owed(branch.run)
                    return 200
            state, is_open = yield branch.look
            if is_open and state is None:
                return 503
            if is_open and state == "done":
                yield from self._publish_owed(branch.run)
            elif is_open and self.keeps("copy"):
                yield from self._publish(letter, fresh=True)
        except Refused:
            return 503
        return 200

    # --- QStash gives up --------------------------------------------------------------------------

    def given_up(self, me: int, callback: Any) -> Any:
        letter = callback[1]
        run, generation, life = letter

        def look(rows):
            return (run, "status") in rows and tuple(rows[run, name] for name in STANDING)

        found = yield look
        if not found or not self.keeps("given up"):
            return 200
        status, now, wake, waits = found
        try:
            if status not in OPEN:
                yield from self._tell(run)
            elif not isinstance(generation, str) and now != generation:
                if now == generation + 1:
                    yield from self.republish(run, status, now, wake, waits)
            elif life < LIVES:
                yield from self._publish((run, generation, life + 1))
            else:
                return (yield from self._fail(run))
        except Refused:
            return 503
        return 200

    def _fail(self, run: str) -> Iterator[Any]:
        def fail(rows):
            token = rows[run, "token"]
            if token is not None and token not in rows["over"]:
                return 503
            if rows[run, "status"] in OPEN:
                end(rows, run, "failed")
            return 200

        return (yield fail)

    # --- who there is besides ---------------------------------------------------------------------

    def others(self, rows: dict[Any, Any]) -> list[tuple[str, Any]]:
        found = [
            ("sweep", run)
            for run in self.bodies
            if self.keeps("owed") and rows.get((run, "owed")) and rows[run, "status"] in OPEN
        ]
        if ("run", "status") not in rows:
            # The caller knows that it has failed, and tries again.
            found.append(("trigger", "run"))
        waits = any(kind == "signal" for kind, _ in self.bodies["run"])
        if waits and rows.get(("run", "status")) in OPEN and not rows.get(("run", "sent")):
            found.append(("send", "run"))
        return found

    def sweep(self, me: int, run: str) -> Any:
        with suppress(Refused):
            yield from self._publish_owed(run)
        return 200

    def trigger(self, me: int, run: str) -> Any:
        def insert(rows):
            if (run, "status") in rows:
                return False
            self._bear(rows, run, owed=True)
            return True

        def take_back(rows):
            untouched = (rows[run, "generation"], rows[run, "status"]) == (0, "pending")
            if untouched and rows[run, "owed"]:
                for key in [key for key in rows if key[0] == run]:
                    del rows[key]

        new = yield insert
        try:
            yield from self._publish_owed(run)
        except Refused:
            if new:
                yield take_back
        return 200

    def send(self, me: int, run: str) -> Any:
        def deliver_signal(rows):
            if rows.get((run, "sent")) or rows[run, "status"] not in OPEN:
                return False
            rows[run, "sent"] = True
            return self._nudge(rows, run, "signal")

        if (yield deliver_signal):
            with suppress(Refused):
                yield from self._publish_owed(run)
        return 200

    def cancel(self, me: int, run: str) -> Any:
        def end_as_canceled(rows):
            if rows[run, "status"] in OPEN:
                end(rows, run, "canceled")
                rows[run, "generation"] += 1

        yield end_as_canceled
        return 200

    # --- what must be so --------------------------------------------------------------------------

    def undone(self, rows: dict[Any, Any]) -> str | None:
        status = rows.get(("run", "status"))
        if status in (None, *OPEN):
            return f"the run is {status}"
        for run, body in self.bodies.items():
            if rows.get((run, "status")) != "completed":
                continue
            for kind, name in body:
                if kind in ("atomic", "plain", "branch") and not rows.get(("effect", name)):
                    return f"{name} was not done"
        if any(value for key, value in rows.items() if key[-1] == "token"):
            return "somebody holds a lease"
        return None


def passing(rows: dict[Any, Any]) -> list[tuple[str, dict[Any, Any]]]:
    """The time of what sleeps comes."""
    return [
        (f"it is time for {key[1]}", {**rows, key: True})
        for key, value in rows.items()
        if key[0] == "due" and not value
    ]


def wrong(rows: dict[Any, Any]) -> str | None:
    for key, value in rows.items():
        if key[0] == "effect" and value > 1:
            return f"{key[1]} was done twice"
        if key[-1] == "ends" and value > 1:
            return f"{key[0]} has ended twice"
    return None
