from django.contrib import admin

from orders.models import Job, Order, Sale


class JobInline(admin.TabularInline):
    model = Job
    extra = 0
    can_delete = False
    readonly_fields = ("title", "call", "task_id", "sent", "due")

    def has_add_permission(self, request, obj=None) -> bool:
        return False


class SaleInline(admin.TabularInline):
    model = Sale
    extra = 0
    can_delete = False
    readonly_fields = ("amount", "booked")

    def has_add_permission(self, request, obj=None) -> bool:
        return False


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    list_display = ("id", "customer", "item", "copies", "paid", "printed", "courier")
    list_filter = ("item", "card")
    search_fields = ("customer", "email")
    inlines = (SaleInline, JobInline)
