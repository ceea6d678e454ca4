from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    # Browsers ask for it on pages that name no icon, such as the admin's.
    path("favicon.ico", RedirectView.as_view(url=static("orders/mark.svg"))),
    path("", include("orders.urls")),
    path("admin/", admin.site.urls),
    path("qstash/webhook/", include("django_qstash.urls")),
]
