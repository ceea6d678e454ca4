"""Every way in which a few processes, a database and QStash can go on together, one after another.

A *program* is a generator: it yields one act at a time, a transaction or a publish, is sent what
came of it, and returns the HTTP status that it answers. What it knows is what it was sent, so the
whole world is a value, and each world is looked into once. Between two acts anything may happen for
which there is a fault left: a process dies; a letter is delivered again, also when it was answered
long ago, or while its first delivery is at work; a lease ends while its holder lives; a publish is
refused, or is taken and called refused; QStash has forgotten that it had the letter already.

What must be so: the world's rule holds in every world; where nothing is left to happen all is done;
and from every world such an end can be come to without further faults. So nothing is lost, doubled
or stuck, whatever the order.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

#: A transaction: it changes the dictionary and returns what it read.
Deed = Callable[[dict[Any, Any]], Any]
Program = Generator[Any, Any, int]


class Back(Exception):
    """Raised in a transaction: it is rolled back, and its process is sent ``result``."""

    def __init__(self, result: Any = None) -> None:
        self.result = result
        super().__init__(result)


class Publish(NamedTuple):
    """Ask QStash to deliver a letter; sent ``True`` if it says that it will.

    A ``fresh`` one is never taken for another. ``not_before`` is a key of the database that must be
    true first.
    """

    letter: Hashable
    fresh: bool = False
    not_before: Hashable = None


class Process(NamedTuple):
    #: Also the token of its leases.
    number: int
    program: str
    letter: Any
    #: What it has been sent so far.
    known: tuple[Any, ...] = ()
    #: It was started by a delivery that QStash waits for.
    heard: bool = False


class Message(NamedTuple):
    letter: Any
    not_before: Any = None
    under_way: bool = False


class World(NamedTuple):
    rows: tuple[tuple[Any, Any], ...]
    processes: tuple[Process, ...] = ()
    messages: tuple[Message, ...] = ()
    #: Letters that QStash has had, which may be delivered again.
    had: frozenset[Any] = frozenset()
    #: Tokens whose lease is over.
    over: frozenset[int] = frozenset()
    faults: tuple[tuple[str, int], ...] = ()


class Move(NamedTuple):
    #: It needs no fault.
    fair: bool
    label: str
    world: World


@dataclass
class Model:
    """What there is at the beginning, what the processes do, and what must be so."""

    programs: Mapping[str, Callable[[int, Any], Program]]
    rows: Mapping[Any, Any]
    messages: tuple[Any, ...] = ()
    processes: tuple[tuple[str, Any], ...] = ()
    faults: Mapping[str, int] = field(default_factory=dict)
    #: Deliveries that are at work at once.
    hands: int = 2
    #: Which program a letter is for.
    route: Callable[[Any], str] = lambda letter: "receive"
    #: Processes that somebody may start in such a world: ``(program, argument)``.
    others: Callable[[dict[Any, Any]], list[tuple[str, Any]]] = lambda rows: []
    #: Changes of the database that come by themselves, such as time that passes.
    passing: Callable[[dict[Any, Any]], list[tuple[str, dict[Any, Any]]]] = lambda rows: []
    #: What is wrong with a world, and with one in which nothing more happens.
    wrong: Callable[[dict[Any, Any]], str | None] = lambda rows: None
    undone: Callable[[dict[Any, Any]], str | None] = lambda rows: None

    def beginning(self) -> World:
        processes = [Process(n, name, letter) for n, (name, letter) in enumerate(self.processes)]
        return World(
            _frozen(self.rows),
            tuple(processes),
            tuple(map(Message, self.messages)),
            frozenset(self.messages),
            faults=_frozen(self.faults),
        )


class Found(NamedTuple):
    worlds: int
    problem: str | None
    #: What has happened until then.
    story: list[str]


def explore(model: Model, limit: int = 2_000_000) -> Found:
    """Look into every world that can be come to."""
    return Exploration(model).all(limit)


class Exploration:
    """The worlds that were come to, numbered in that order."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._acts: dict[Any, Any] = {}
        self.worlds = [model.beginning()]
        self._numbers = {self.worlds[0]: 0}
        self._came_from: list[tuple[int, str]] = [(-1, "")]
        #: By a world's number: those that lead to it without a fault.
        self._before: list[list[int]] = [[]]

    def all(self, limit: int) -> Found:
        ends = []
        for number, world in enumerate(self.worlds):
            rows = dict(world.rows)
            problem, fair = self.model.wrong(rows), False
            for move in () if problem else self.moves(world):
                fair = fair or move.fair
                self._come_to(move, number)
            if not (problem or fair):
                problem = self.model.undone(rows)
                ends.append(number)
            if len(self.worlds) > limit:
                problem = "there are more worlds than it may look into"
            if problem:
                return self._found(problem, number)
        stuck = self._stuck(ends)
        return self._found(None) if stuck is None else self._found("it never ends from here", stuck)

    def _come_to(self, move: Move, number: int) -> None:
        other = self._numbers.setdefault(move.world, len(self.worlds))
        if other == len(self.worlds):
            self.worlds.append(move.world)
            self._came_from.append((number, move.label))
            self._before.append([])
        if move.fair:
            self._before[other].append(number)

    def _stuck(self, ends: list[int]) -> int | None:
        """A world from which no good end can be come to without a fault."""
        reached, left = set(ends), list(ends)
        while left:
            for number in self._before[left.pop()]:
                if number not in reached:
                    reached.add(number)
                    left.append(number)
        return next((n for n in range(len(self.worlds)) if n not in reached), None)

    def _found(self, problem: str | None, number: int = 0) -> Found:
        story = []
        while problem and number > 0:
            number, label = self._came_from[number]
            story.append(label)
        return Found(len(self.worlds), problem, story[::-1])

    # --- what may happen --------------------------------------------------------------------------

    def moves(self, world: World) -> Iterator[Move]:
        # Who is about to answer does so, or dies, before anybody else goes on: it is all the same.
        answering = [each for each in world.processes if isinstance(self._next(each), int)]
        for process in answering[:1] or world.processes:
            yield from self._act(world, process)
            if died := _spent(world, "death"):
                yield Move(False, f"{_who(process)} dies", _ended(died, process, answered=False))
        if answering:
            return
        yield from self._deliveries(world)
        alive = {process.number for process in world.processes}
        for token in sorted(_tokens(world) - world.over):
            if token not in alive:
                ended = world._replace(over=world.over | {token})
                yield Move(True, f"the lease of {token}, who died, ends", ended)
            elif ended := _spent(world, "lease"):
                ended = ended._replace(over=world.over | {token})
                yield Move(False, f"the lease of {token}, who lives, ends", ended)
        rows = dict(world.rows)
        for label, changed in self.model.passing(rows):
            yield Move(True, label, world._replace(rows=_frozen(changed)))
        for name, argument in self.model.others(rows):
            if not any(process.program == name for process in world.processes):
                yield Move(True, f"{name} begins", _started(world, name, argument))

    def _deliveries(self, world: World) -> Iterator[Move]:
        if sum(process.heard for process in world.processes) >= self.model.hands:
            return
        rows = dict(world.rows)
        for place, message in enumerate(world.messages):
            if message.under_way or message in world.messages[:place]:
                continue
            if message.not_before is None or rows.get(message.not_before):
                program = self.model.route(message.letter)
                messages = _with(world.messages, place, message._replace(under_way=True))
                begun = _started(world._replace(messages=messages), program, message.letter, True)
                yield Move(True, f"QStash delivers {message.letter}", begun)
        if again := _spent(world, "again"):
            for letter in sorted(world.had, key=repr):
                begun = _started(again, self.model.route(letter), letter)
                yield Move(False, f"QStash delivers {letter} again", begun)

        if given_up := _spent(world, "given up"):
            for place, message in enumerate(world.messages):
                if message.letter[0] != "given up" and not message.under_way:
                    told = Message(("given up", message.letter))
                    messages = _with(world.messages, place, told)
                    yield Move(
                        False,
                        f"QStash gives {message.letter} up",
                        given_up._replace(messages=messages, had=world.had | {told.letter}),
                    )

    def _act(self, world: World, process: Process) -> Iterator[Move]:
        act, who = self._next(process), _who(process)
        if isinstance(act, int):
            yield Move(True, f"{who} answers {act}", _ended(world, process, answered=act < 500))
        elif isinstance(act, Publish):
            yield from self._publish(world, process, act)
        else:
            rows = dict(world.rows) | {"over": world.over}
            try:
                result = act(rows)
            except Back as back:
                rows, result = dict(world.rows), back.result
            rows.pop("over", None)
            told = world._replace(rows=_frozen(rows))
            label = f"{who} {act.__name__.replace('_', ' ').strip()}: {result}"
            yield Move(True, label, _told(told, process, result))

    def _publish(self, world: World, process: Process, act: Publish) -> Iterator[Move]:
        label = f"{_who(process)} publishes {act.letter}"
        took, heard_not = _told(world, process, True), _told(world, process, False)
        message = Message(act.letter, act.not_before)
        taken = {
            "messages": tuple(sorted((*world.messages, message), key=repr)),
            "had": world.had | {act.letter},
        }
        if act.letter in world.had and not act.fresh:
            yield Move(True, f"{label}, which QStash has had", took)
            if forgot := _spent(took, "forgotten"):
                yield Move(False, f"{label}, which it has forgotten", forgot._replace(**taken))
        else:
            yield Move(True, label, took._replace(**taken))
            if lost := _spent(heard_not, "refusal"):
                yield Move(False, f"{label}, and hears of no success", lost._replace(**taken))
        if refused := _spent(heard_not, "refusal"):
            yield Move(False, f"{label}, which is refused", refused)

    def _next(self, process: Process) -> Any:
        """The act that a process comes to, after all that it has been sent."""
        key = (process.number, process.program, process.letter, process.known)
        if key not in self._acts:
            program = self.model.programs[process.program](process.number, process.letter)
            try:
                act = next(program)
                for result in process.known:
                    act = program.send(result)
            except StopIteration as end:
                act = int(end.value)
            self._acts[key] = act
        return self._acts[key]


def _frozen(rows: Mapping[Any, Any]) -> tuple[tuple[Any, Any], ...]:
    return tuple(sorted(rows.items(), key=repr))


def _who(process: Process) -> str:
    return f"{process.number} ({process.program})"


def _with(items: tuple[Any, ...], place: int, item: Any) -> tuple[Any, ...]:
    return tuple(sorted((*items[:place], item, *items[place + 1 :]), key=repr))


def _spent(world: World, fault: str) -> World | None:
    """The world with one fault less of that kind; ``None`` if there is none left."""
    faults = dict(world.faults)
    if not faults.get(fault):
        return None
    faults[fault] -= 1
    return world._replace(faults=_frozen(faults))


def _tokens(world: World) -> set[int]:
    """The leases that are held."""
    return {value for key, value in world.rows if key[-1] == "token" and value is not None}


def _started(world: World, program: str, letter: Any, heard: bool = False) -> World:
    taken = {process.number for process in world.processes} | _tokens(world)
    number = next(n for n in range(100) if n not in taken)
    process = Process(number, program, letter, heard=heard)
    over = world.over & _tokens(world)
    return world._replace(processes=tuple(sorted((*world.processes, process))), over=over)


def _told(world: World, process: Process, result: Any) -> World:
    told = process._replace(known=(*process.known, result))
    others = [each for each in world.processes if each is not process]
    return world._replace(
        processes=tuple(sorted((*others, told))), over=world.over & _tokens(world)
    )


def _ended(world: World, process: Process, *, answered: bool) -> World:
    """The process is gone; what it answered, or was to answer, is known to QStash."""
    others = tuple(each for each in world.processes if each is not process)
    messages = world.messages
    if process.heard:
        place = next(
            place
            for place, message in enumerate(messages)
            if message.letter == process.letter and message.under_way
        )
        if answered:
            messages = messages[:place] + messages[place + 1 :]
        else:
            messages = _with(messages, place, messages[place]._replace(under_way=False))
    return world._replace(processes=others, messages=messages)
