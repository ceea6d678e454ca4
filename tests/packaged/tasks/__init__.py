from django_qstash import shared_task


@shared_task
def first():
    pass
