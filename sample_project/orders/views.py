from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST
from django.views.generic import CreateView, DetailView, ListView

from django_qstash import PublishError, WorkflowError
from orders.buttons import BUTTONS, RECEIPT, Button
from orders.flow import MOVES, flow_of
from orders.forms import OrderForm
from orders.models import Order
from orders.progress import STATIONS, progress_of


class OrderBook(ListView):
    model = Order
    template_name = "orders/book.html"
    paginate_by = 20


class NewOrder(CreateView):
    form_class = OrderForm
    template_name = "orders/new.html"

    @transaction.atomic
    def form_valid(self, form: OrderForm) -> HttpResponse:
        """The order and its receipt's message are one transaction: there is never one alone."""
        response = super().form_valid(form)
        send(self.request, self.object, RECEIPT)
        return response


class OrderPage(DetailView):
    model = Order
    template_name = "orders/order.html"

    def get_context_data(self, **kwargs: object) -> dict:
        buttons = [(button, button.call(self.object)) for button in BUTTONS.values()]
        moves = MOVES.values()
        return super().get_context_data(
            buttons=buttons, moves=moves, **watched(self.object), **kwargs
        )


def progress(request: HttpRequest, pk: int) -> HttpResponse:
    """The part of an order's page that changes by itself; the page fetches it now and then."""
    return render(request, "orders/progress.html", watched(get_object_or_404(Order, pk=pk)))


@require_POST
def press(request: HttpRequest, pk: int, name: str) -> HttpResponse:
    """Send the task of a button, for the order of its page."""
    if name not in BUTTONS:
        raise Http404(f"There is no button {name!r}.")
    order = get_object_or_404(Order, pk=pk)
    send(request, order, BUTTONS[name])
    return progress(request, pk) if "fetch" in request.headers else redirect(order)


@require_POST
def move(request: HttpRequest, pk: int, name: str) -> HttpResponse:
    """Start the order's workflow, or tell it what it waits for."""
    if name not in MOVES:
        raise Http404(f"There is no move {name!r}.")
    order = get_object_or_404(Order, pk=pk)
    try:
        MOVES[name].act(order)
    except (PublishError, WorkflowError) as error:
        messages.error(request, str(error))
    return progress(request, pk) if "fetch" in request.headers else redirect(order)


def send(request: HttpRequest, order: Order, button: Button) -> None:
    """Press a button. If QStash is away the message waits; what it refuses is said on the page."""
    try:
        button.press(order)
    except PublishError as error:
        messages.error(request, str(error))


def watched(order: Order) -> dict:
    jobs = list(progress_of(order.jobs.all()))
    flow = flow_of(order)
    return {
        "order": order,
        "flow": flow,
        "jobs": jobs,
        "stations": STATIONS,
        "is_over": all(job.is_over for job in jobs) and flow.is_over,
    }
