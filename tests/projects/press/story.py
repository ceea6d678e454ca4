"""Every kind of canvas."""

from celery import chain, chord, chunks, group, signature
from celery.result import GroupResult, result_from_tuple
from press import jobs
from press.application import app


def failure(result):
    try:
        result.get(timeout=10)
    except Exception as error:
        return [type(error).__name__, str(error), result.state]


def run(wait):
    told = {}
    told["class"] = jobs.sheet.delay(2, copies=3).get(timeout=10)
    told["class fails"] = failure(jobs.sheet.delay(-1))
    told["map"] = jobs.double.map([1, 2, 3]).delay().get(timeout=10)
    told["starmap"] = jobs.add.starmap([(1, 2), (3, 4)]).delay().get(timeout=10)
    told["chunks"] = jobs.add.chunks([(n, n) for n in range(5)], 2).group().delay().get(timeout=10)
    told["group"] = group(jobs.double.s(n) for n in range(3))().get(timeout=10)
    told["chain"] = (jobs.add.s(1, 2) | jobs.double.s() | jobs.add.s(10)).delay().get(timeout=10)
    told["chord"] = chord((jobs.double.s(n) for n in range(4)), jobs.gather.s())().get(timeout=10)
    told["nested"] = (
        chain(group(jobs.double.s(1), jobs.add.s(2, 3)), jobs.gather.s(), group(jobs.gather.s()))
        .delay()
        .get(timeout=10)
    )
    told["partial"] = jobs.add.s(1).clone((2,)).delay().get(timeout=10)
    told["dict"] = signature(dict(jobs.add.s(3, 4))).delay().get(timeout=10)
    told["chain fails"] = failure((jobs.broken.s() | jobs.double.s()).delay())
    # Celery raises the member's exception or ChordError, whichever it finds first.
    spoilt = chord([jobs.add.s(1, 1), jobs.broken.s()], jobs.gather.s())()
    assert failure(spoilt)
    wait(lambda: spoilt.state == "FAILURE")
    told["chord fails"] = spoilt.state
    told["split"] = sorted(jobs.split.delay(3).get(timeout=10))
    told["whole"] = jobs.whole.delay(3).get(timeout=10)
    told["limited"] = jobs.limited.delay().get(timeout=10)

    saved = group(jobs.double.s(n) for n in range(2))()
    saved.get(timeout=10)
    saved.save()
    restored = GroupResult.restore(saved.id)
    told["restored"] = [restored.get(timeout=10), restored.successful(), restored == saved]
    told["from tuple"] = result_from_tuple(saved.as_tuple()).join(timeout=10)
    told["texts"] = [
        repr(jobs.add.s(1, 2) | jobs.double.s()),
        repr(chunks(jobs.add.s(), [(1, 1)], 1).task),
        jobs.add.name,
        repr(app.conf.beat_schedule["clean"]["schedule"]),
    ]
    told["tasks"] = sorted(name for name in app.tasks if name.startswith("jobs:"))
    return told
