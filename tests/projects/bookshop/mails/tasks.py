from celery import shared_task

sent = []


@shared_task(ignore_result=True)
def send_mail(to, text):
    sent.append([to, text])


@shared_task
def on_error(request, exc, traceback):
    sent.append(["admin", f"{request.task}: {exc}"])


@shared_task
def thanks(result, name):
    sent.append([name, f"thanks for {result}"])
