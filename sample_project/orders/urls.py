from django.urls import path

from orders import views

app_name = "orders"

urlpatterns = [
    path("", views.OrderBook.as_view(), name="book"),
    path("orders/new/", views.NewOrder.as_view(), name="new"),
    path("orders/<int:pk>/", views.OrderPage.as_view(), name="order"),
    path("orders/<int:pk>/progress/", views.progress, name="progress"),
    path("orders/<int:pk>/flow/<slug:name>/", views.move, name="move"),
    path("orders/<int:pk>/<slug:name>/", views.press, name="press"),
]
