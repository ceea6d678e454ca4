from celery import chain, chord, group, shared_task
from celery.exceptions import MaxRetriesExceededError
from celery.utils.log import get_task_logger
from mails.tasks import send_mail

logger = get_task_logger(__name__)
stock = {"paper": 3, "ink": 0}
calls = []


class OutOfStock(Exception):
    pass


class Flaky(Exception):
    pass


@shared_task
def price(item, count=1):
    return {"paper": 5, "ink": 30}[item] * count


@shared_task(bind=True, max_retries=2, default_retry_delay=0)
def reserve(self, item):
    calls.append(self.request.retries)
    try:
        if not stock[item]:
            raise OutOfStock(item)
    except OutOfStock as error:
        stock[item] = 1 if self.request.retries == 1 else 0
        raise self.retry(exc=error, countdown=0) from None
    stock[item] -= 1
    return item, self.request.retries


@shared_task(bind=True, autoretry_for=(Flaky,), max_retries=3, default_retry_delay=0)
def ship(self, item):
    if self.request.retries < 2:
        raise Flaky(item)
    return f"{item} shipped after {self.request.retries}"


@shared_task(bind=True, max_retries=1, default_retry_delay=0)
def hopeless(self):
    try:
        raise self.retry(countdown=0)
    except MaxRetriesExceededError:
        return "gave up"


@shared_task
def total(prices):
    return sum(prices)


@shared_task
def bill(amount, customer):
    logger.info("bill of %s", customer)
    send_mail.delay(customer, f"{amount} euro")
    return {"customer": customer, "amount": amount}


@shared_task
def report(hour):
    return f"report of {hour}"


@shared_task
def explode(reason="boom"):
    raise ValueError(reason)


def order(customer, items):
    """The canvas that a view sends."""
    return chord(group(price.s(item) for item in items), total.s() | bill.s(customer))


def errand():
    return chain(price.s("ink"), price.si("paper", 2))
