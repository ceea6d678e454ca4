"""Workflows in the admin: runs to watch and to act on, dead letters, events."""

from django_qstash.workflows.admin.dead_letters import DeadLetterAdmin
from django_qstash.workflows.admin.events import WorkflowEventAdmin
from django_qstash.workflows.admin.runs import WorkflowRunAdmin

__all__ = ["DeadLetterAdmin", "WorkflowEventAdmin", "WorkflowRunAdmin"]
