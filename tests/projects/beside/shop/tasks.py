from celery import shared_task
from celery.utils.log import get_task_logger

from django_qstash import stashed_task

logger = get_task_logger(__name__)
ran = []


@shared_task
def theirs(x):
    logger.info("theirs")
    ran.append(["theirs", x])
    return ["theirs", theirs.soft_time_limit]


@stashed_task
def ours(x):
    ran.append(["ours", x])
    return ["ours", ours.soft_time_limit]


@stashed_task
def ours_sends_theirs(x):
    return theirs.delay(x).id


@shared_task
def theirs_sends_ours(x):
    return ours.delay(x).id
