"""A schedule that every site of this shop has, as a row that people may change in the admin.

Migrations write rows only. ``manage.py task_schedules --sync`` tells QStash of it.
"""

from django.db import migrations

NAME = "Clear old results"


def add(apps, schema_editor):
    schedules = apps.get_model("django_qstash_schedules", "TaskSchedule")
    schedules.objects.using(schema_editor.connection.alias).create(
        name=NAME,
        cron="30 3 * * *",
        task_name="django_qstash.results.tasks.clear_stale_results_task",
        kwargs={"since": 30 * 24 * 60 * 60},
    )


def remove(apps, schema_editor):
    schedules = apps.get_model("django_qstash_schedules", "TaskSchedule")
    schedules.objects.using(schema_editor.connection.alias).filter(name=NAME).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("orders", "0002_the_books_and_closed_orders"),
        ("django_qstash_schedules", "0001_taskschedule"),
    ]

    operations = [migrations.RunPython(add, remove)]
