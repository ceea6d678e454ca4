"""An admin that has what these tests look at, whichever apps other tests have installed."""

from django.contrib import admin
from django.http import HttpResponse
from django.urls import include, path

from django_qstash.results.admin import TaskResultAdmin
from django_qstash.results.models import TaskResult
from django_qstash.schedules.admin import DeletedScheduleAdmin, TaskScheduleAdmin
from django_qstash.schedules.models import DeletedSchedule, TaskSchedule

site = admin.AdminSite()
site.register(TaskResult, TaskResultAdmin)
site.register(TaskSchedule, TaskScheduleAdmin)
site.register(DeletedSchedule, DeletedScheduleAdmin)

urlpatterns = [
    path("admin/", site.urls),
    path("qstash/webhook/", include("django_qstash.urls")),
    path("favicon.ico", lambda request: HttpResponse(content_type="image/x-icon")),
]
