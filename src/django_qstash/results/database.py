"""The store that the tasks ask for: claims, records and reads on one database."""

from __future__ import annotations

from django_qstash.results.pending import Pending
from django_qstash.results.reads import Reads
from django_qstash.results.records import Records


class DatabaseStore(Pending, Records, Reads):
    """Tasks in the database that the router gives ``TaskResult``."""

    durable = True
