"""Where tasks behave differently here than under Celery: the one table of it.

``docs/celery.md`` shows the rows, ``python -m django_qstash.migrate`` names those that a code base
meets, and a test shows each of them at work.
"""

from __future__ import annotations

from dataclasses import dataclass

from django_qstash.migrate.signs import Sign, argument, attribute, imported, option, setting


@dataclass(frozen=True)
class Difference:
    """One row. ``key`` names it to the tests; the rest is Markdown without line breaks."""

    key: str
    feature: str
    celery: str
    here: str
    #: What that comes to for a project, and what to do about it.
    difference: str
    #: What shows that a code base uses it; none where only people can tell.
    signs: tuple[Sign, ...] = ()


RUNNING = (
    Difference(
        "acks-late",
        "`acks_late`",
        "Off: a task is acknowledged before it runs, and lost if its process dies.",
        "On, unless the task or `task_acks_late` says `False`: if its process dies, it is run "
        "again.",
        "A body may run twice. Let it bear that, or say `atomic=True`, or `acks_late=False` for at "
        "most once.",
        (option("acks_late"), setting("task_acks_late")),
    ),
    Difference(
        "worker-lost",
        "a task whose process dies every time",
        "Is lost, or delivered without end (`reject_on_worker_lost`).",
        "Ends as FAILURE with `WorkerLostError` after `DJANGO_QSTASH_DELIVERY_ATTEMPTS` attempts.",
        "An endless loop ends by itself.",
        (option("reject_on_worker_lost"), setting("task_reject_on_worker_lost")),
    ),
    Difference(
        "acks-on-failure",
        "`acks_on_failure_or_timeout=False`",
        "A task that failed is delivered again.",
        "Refused by the check `django_qstash.E030`: a task that failed has failed.",
        "Use `autoretry_for`, or raise `Reject(requeue=True)`.",
        (
            option("acks_on_failure_or_timeout"),
            setting("task_acks_on_failure_or_timeout"),
            setting("task_acks_on_failure"),
            setting("task_acks_on_timeout"),
        ),
    ),
    Difference(
        "time-limit",
        "`time_limit`",
        "Kills the worker process.",
        "Records FAILURE with `TimeLimitExceeded`, discards the late result, and raises in the "
        "body at its next bytecode.",
        "A call that blocks in C goes on until it returns; give such calls a time-out of their "
        "own.",
        (option("time_limit"), setting("task_time_limit")),
    ),
    Difference(
        "soft-time-limit",
        "`soft_time_limit`",
        "A signal, in the main thread of the worker process.",
        "`SoftTimeLimitExceeded` is raised in whichever thread runs the body; an `async def` body "
        "is cancelled.",
        "It is felt at the next bytecode: `time.sleep(60)` ends first.",
        (option("soft_time_limit"), setting("task_soft_time_limit")),
    ),
    Difference(
        "rate-limit",
        "`rate_limit`",
        "For each worker by itself.",
        "For all processes together: QStash's flow control, keyed by the task's name.",
        "Stricter: `10/m` means ten a minute for the site.",
        (option("rate_limit"), setting("task_default_rate_limit")),
    ),
    Difference(
        "priority",
        "`priority`",
        "Orders the messages of a queue.",
        "Is carried in `request.delivery_info`; QStash knows no order of messages.",
        "Give urgent tasks a queue or a flow control key of their own.",
        (
            option("priority"),
            setting("task_default_priority"),
            setting("task_queue_max_priority"),
        ),
    ),
    Difference(
        "track-started",
        "`track_started`",
        "Off: a task that runs is PENDING.",
        "The row says STARTED while it runs: it is what keeps others from running it.",
        "Code that takes PENDING for `not finished` should ask `ready()`.",
        (option("track_started"), setting("task_track_started")),
    ),
    Difference(
        "requeue",
        "`Reject(requeue=True)`",
        "The message comes again at once, without end.",
        "Comes again as often as QStash retries (`retries=`), and then as one that is given up; in "
        "the end it is FAILURE with `WorkerLostError`.",
        "A task that waits for long should say `self.retry(countdown=…)`.",
    ),
    Difference(
        "retry-by-hand",
        "`raise Retry(…)` without `self.retry`",
        "The state is RETRY, and nothing runs the task again.",
        "The same as `raise self.retry(…)`, by the same `max_retries`.",
        "A task that was stuck runs.",
    ),
    Difference(
        "ignored",
        "`Ignore`, and a task whose result is ignored",
        "Stay PENDING.",
        "The state is IGNORED, or what the task came to; there is no result.",
        "`ready()` is true once a task whose result is ignored has ended.",
    ),
    Difference(
        "unknown-task",
        "a message for a task that nobody knows",
        "Is logged and discarded.",
        "Is answered 404: QStash delivers it again, then keeps it in its dead letter queue.",
        "A rolling deployment loses nothing.",
    ),
    Difference(
        "own-host",
        "`request.hostname`, `request.delivery_info`",
        "The worker's name; exchange, routing key and redelivery by the broker.",
        "The web server's host; `exchange` is empty, `routing_key` is the queue, `redelivered` is "
        "true for what QStash delivers again.",
        "None for most.",
        (attribute("request.hostname"),),
    ),
    Difference(
        "call-and-autoretry",
        "`autoretry_for` of a task whose class overrides `__call__`",
        "Is around `run`: `__call__` sees `Retry`, and what it raises itself is not tried again.",
        "Is around `__call__`, which sees the exception; what it raises counts as well.",
        "What wraps a task in a transaction or a lock is tried again with it.",
    ),
    Difference(
        "on-bound",
        "`Task.on_bound(app)`",
        "Is called when an application takes the task.",
        "Is never called: a task is there without an application.",
        "Do it in `__init_subclass__`, or in a receiver of `worker_process_init`.",
    ),
    Difference(
        "request-headers",
        "`request.headers` of a call without any",
        "None.",
        "An empty mapping.",
        "`request.headers or {}` reads both.",
        (attribute("request.headers"),),
    ),
    Difference(
        "follow-after-result",
        "what `link` and chains send",
        "Is sent before the result is stored.",
        "Is sent after it was stored, together with the list of what is owed.",
        "A crash between the two loses nothing. `children` is complete a moment after the result.",
    ),
)

CALLING = (
    Difference(
        "queue",
        "`queue`, `routing_key`, `task_routes`",
        "Name a queue that certain workers consume.",
        "Are carried in `request.delivery_info`; a queue is a FIFO queue of QStash if "
        "`DJANGO_QSTASH_QUEUES` names it.",
        "Every process of the site runs every task.",
        (
            option("queue"),
            argument("apply_async", "queue"),
            setting("task_routes"),
            setting("task_queues"),
        ),
    ),
    Difference(
        "pickle",
        "`serializer`",
        "JSON, pickle, YAML, msgpack.",
        "JSON; anything else is refused.",
        "Send ids and plain values. What a webhook's body unpickles to could be anything.",
        (
            option("serializer"),
            argument("apply_async", "serializer"),
            setting("task_serializer"),
            setting("result_serializer"),
            setting("accept_content"),
        ),
    ),
    Difference(
        "json-types",
        "arguments and results",
        "JSON with dates, `Decimal`, `UUID` and bytes.",
        "The same, and `set`, `frozenset`, `timedelta`.",
        "More is taken.",
    ),
    Difference(
        "size",
        "large arguments",
        "As much as the broker takes.",
        "`PayloadTooLarge` at the call for more than `DJANGO_QSTASH_MAX_PAYLOAD_SIZE` (1 MiB).",
        "Send ids, or set `DJANGO_QSTASH_STORE_LARGE_ARGS`.",
    ),
    Difference(
        "unknown-option",
        "an option of `apply_async`, `set` or `self.retry` that nobody knows",
        "Is a property of the message.",
        "Is an argument of the task, so `TypeError` if it has none of that name. `self.retry` "
        "refuses it, and a `task_id`.",
        "A word that is written wrongly is found at the call.",
    ),
    Difference(
        "two-times",
        "`countdown` and `eta` in one call",
        "`countdown` counts.",
        "`OptionError`.",
        "Give one of them.",
    ),
    Difference(
        "broker-options",
        "`exchange`, `connection`, `producer`, `compression`, `retry`, `retry_policy`, "
        "`delivery_mode`, `mandatory`, `reply_to` of a call",
        "Speak to the broker.",
        "Have no effect.",
        "Remove them. How often a publish is tried again is `DJANGO_QSTASH_PUBLISH_RETRIES`.",
        tuple(
            argument("apply_async", name)
            for name in ("compression", "connection", "exchange", "producer", "retry_policy")
        ),
    ),
)

CANVASES = (
    Difference(
        "errback-process",
        "an errback of the newer style, `f(request, exc, traceback)`",
        "Is called inside the process that failed, before `on_failure`.",
        "Is a task of its own, with an id and a result; the exception comes through JSON.",
        "A crash loses none. Its request shows the values of the failed call; the traceback is "
        "text.",
    ),
    Difference(
        "doomed",
        "groups behind a step that failed, and chords around one",
        "May stay PENDING for ever.",
        "Fail with the step, as all that comes after it does.",
        "Nobody waits for what will not come.",
    ),
    Difference(
        "options-through-an-operator",
        "options and arguments of a chain or group that something is put behind",
        "Are dropped.",
        "Go to the chain's first step, or to the group's members.",
        "A group with `set(queue=…)` is sent to that queue as a header, too.",
    ),
    Difference(
        "eager-group",
        "an eager group with a chain in it that fails",
        "Raises at once; the members after it do not run.",
        "Runs all members, as deliveries would; `get()` raises.",
        "Tests see what production does.",
    ),
    Difference(
        "chord-counting",
        "a chord's header",
        "Is counted by the result backend; a member that comes twice may count twice.",
        "Is counted in the transaction that records the member, once for each.",
        "One body runs. Chords need `django_qstash.results`.",
    ),
)

RESULTS = (
    Difference(
        "abortable",
        "`AbortableAsyncResult.abort()` before the task began",
        "It runs, and `is_aborted()` tells it.",
        "It is revoked and does not run.",
        "What a task cleans up after an abort, it had not begun.",
        (imported("celery.contrib.abortable"),),
    ),
    Difference(
        "used-task-id",
        "a task id that is used again",
        "A success that is stored stays; the later run's result is dropped.",
        "The row begins anew: it shows the latest run.",
        "Give each call an id of its own, or ask for the latest.",
        (argument("apply_async", "task_id"),),
    ),
    Difference(
        "result-backend",
        "`result_backend`",
        "Redis, a database, RPC and others.",
        "`django_qstash.results`, in the site's own database; without it `get()` cannot know.",
        "Add it to `INSTALLED_APPS`; nothing is read from the former backend.",
        (setting("result_backend"), imported("celery.backends")),
    ),
    Difference(
        "result-expires",
        "`result_expires`",
        "One day, swept by the backend or by beat.",
        "Seven days (`DJANGO_QSTASH_RESULT_TTL`), or what `result_expires` says; "
        "`manage.py clear_stale_results` sweeps.",
        "Run it, or schedule its task.",
        (setting("result_expires"),),
    ),
    Difference(
        "revoke-terminate",
        "`revoke(terminate=True)`",
        "Kills the process that runs the task.",
        "The task is REVOKED at once, and what its body still comes to is discarded.",
        "The body itself goes on to its end; long ones should look at a flag of their own.",
        (argument("revoke", "terminate"),),
    ),
)

APPLICATION = (
    Difference(
        "one-registry",
        "several `Celery` objects",
        "Each has its own tasks; `shared=False` keeps one from the others.",
        "One registry in a process, since a delivery names a task and nothing else.",
        "`@app.task(shared=False)` is refused.",
        (option("shared"),),
    ),
    Difference(
        "settings",
        "`broker_*`, `worker_*`, `beat_*` and similar settings",
        "Configure programs that run beside the site.",
        "Are taken, and listed by the check `django_qstash.W030`.",
        "Remove them when nothing else reads them.",
        (
            setting("broker_*"),
            setting("worker_*"),
            setting("event_*"),
            setting("redis_*"),
            setting("task_send_sent_event"),
        ),
    ),
    Difference(
        "control",
        "`app.control`",
        "Speaks to workers over the broker.",
        "`revoke`, `purge`, `ping` and the readable part of `inspect()` answer from the database; "
        "all else raises `AttributeError` and says why.",
        "There is no worker to grow, shrink, restart or limit.",
        (
            attribute("control.add_consumer"),
            attribute("control.autoscale"),
            attribute("control.broadcast"),
            attribute("control.cancel_consumer"),
            attribute("control.disable_events"),
            attribute("control.enable_events"),
            attribute("control.pool_grow"),
            attribute("control.pool_restart"),
            attribute("control.pool_shrink"),
            attribute("control.rate_limit"),
            attribute("control.revoke_by_stamped_headers"),
            attribute("control.shutdown"),
            attribute("control.time_limit"),
        ),
    ),
    Difference(
        "purge",
        "`control.purge()`",
        "Empties the queues of the broker.",
        "Withdraws the messages that QStash has not yet delivered to this site.",
        "Messages to other sites of the account stay.",
        (attribute("control.purge"), attribute("control.discard_all")),
    ),
    Difference(
        "inspect",
        "`control.inspect()`",
        "Asks the workers that are up.",
        "Reads the results app's table, for the whole site.",
        "Nobody has to answer in time. `reserved()` needs the outbox app; `scheduled()` holds "
        "retries only.",
        (attribute("control.inspect"),),
    ),
    Difference(
        "machinery",
        "`celery.bin`, `celery.bootsteps`, `celery.worker`, `celery.events` and the like",
        "The worker's insides.",
        "Importing one raises `ImportError` and says why.",
        "Remove what extends the worker; signals and middleware are the places to hook in.",
        (
            imported("celery.apps"),
            imported("celery.beat"),
            imported("celery.bin"),
            imported("celery.bootsteps"),
            imported("celery.concurrency"),
            imported("celery.events"),
            imported("celery.fixups"),
            imported("celery.loaders"),
            imported("celery.platforms"),
            imported("celery.security"),
            imported("celery.worker"),
        ),
    ),
)

SCHEDULES = (
    Difference(
        "beat",
        "`beat_schedule`, `add_periodic_task`",
        "Read by a program of its own, `celery beat`, whenever it starts.",
        "QStash fires; `manage.py task_schedules --sync` tells it what the code says.",
        "Install `django_qstash.schedules`, and run the command with every deployment.",
        (setting("beat_schedule"), attribute("add_periodic_task")),
    ),
    Difference(
        "intervals",
        "intervals, and `crontab`",
        "Any number of seconds.",
        "Whole minutes that divide an hour, or hours that divide a day; others are refused with "
        "the nearest that do.",
        "For less than a minute, let the task send the next one with `countdown`.",
        (imported("celery.schedules.schedule"),),
    ),
    Difference(
        "solar",
        "`solar`",
        "At sunrise, sunset and the like.",
        "Refused: QStash fires by the clock.",
        "Let a daily task compute the moment, and send the other with `eta`.",
        (imported("celery.schedules.solar"),),
    ),
)

PACKAGES = (
    Difference(
        "kombu",
        "`kombu`",
        "`Queue`, `Exchange` and other words of the broker.",
        "Is not needed. A queue in `task_routes` may be a text, or anything that has a `name`.",
        "Write names of queues as texts.",
        (imported("kombu"),),
    ),
    Difference(
        "django-celery-results",
        "`django_celery_results`",
        "Its `TaskResult` has the columns `task_name`, `task_args`, `date_done` and others.",
        "`django_qstash.results.models.TaskResult` has most of them, with `args` for `task_args`, "
        "`kwargs` for `task_kwargs` and `queue`, `parent_id`, `root_id`, `group_id` besides.",
        "Adapt queries to its columns; old rows stay in their old table.",
        (imported("django_celery_results"),),
    ),
    Difference(
        "django-celery-beat",
        "`django_celery_beat`",
        "`PeriodicTask` and its schedules are rows that beat reads.",
        "`django_qstash.schedules` has one `TaskSchedule` for each, with a cron expression and a "
        "time zone.",
        "Enter them anew, in the admin or in code; its tables are not read.",
        (imported("django_celery_beat"), setting("beat_scheduler")),
    ),
)

SIGNALS = (
    Difference(
        "sender-by-name",
        "`connect(sender=…)`",
        "A task's name for the signals of publishing, the task itself for all others.",
        "The task or its name, for every signal.",
        "A receiver that was connected by name, and never called, is called.",
    ),
    Difference(
        "worker-signals",
        "`worker_init`, `worker_process_init`, `worker_ready`",
        "Sent when a worker starts.",
        "Sent once in each web process, before its first task.",
        "A process that runs no task sends none.",
        (
            imported("celery.signals.worker_init"),
            imported("celery.signals.worker_process_init"),
            imported("celery.signals.worker_ready"),
            imported("celery.signals.worker_process_shutdown"),
            imported("celery.signals.worker_shutdown"),
        ),
    ),
    Difference(
        "silent-signals",
        "`beat_init`, `celeryd_init`, `setup_logging` and other signals of programs",
        "Sent by the worker, beat, and the logging of both.",
        "Can be connected to and are never sent; the check `django_qstash.W032` names them.",
        "Set logging up in Django's `LOGGING`.",
        tuple(
            imported(f"celery.signals.{name}")
            for name in (
                "after_setup_logger",
                "beat_embedded_init",
                "beat_init",
                "celeryd_after_setup",
                "celeryd_init",
                "heartbeat_sent",
                "setup_logging",
                "task_sent",
                "user_preload_options",
                "worker_before_create_process",
            )
        ),
    ),
)

#: The headings of the page, and the rows under each.
SECTIONS: tuple[tuple[str, tuple[Difference, ...]], ...] = (
    ("Running", RUNNING),
    ("Calling", CALLING),
    ("Canvases", CANVASES),
    ("Results", RESULTS),
    ("The application", APPLICATION),
    ("Signals", SIGNALS),
    ("Schedules", SCHEDULES),
    ("Other packages", PACKAGES),
)


def rows() -> tuple[Difference, ...]:
    """Every row, in the order of the page."""
    return tuple(row for _, section in SECTIONS for row in section)
