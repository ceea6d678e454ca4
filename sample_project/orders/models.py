"""Orders of a print shop, and the jobs that were sent for each."""

from decimal import Decimal

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.urls import reverse


class Item(models.TextChoices):
    POSTER = "poster", "A2 poster"
    CARD = "card", "Business card"
    ZINE = "zine", "16-page zine"
    INVITATION = "invitation", "Letterpress invitation"


#: What one copy costs, and what it weighs in grams.
PRICES = {
    Item.POSTER: Decimal("4.80"),
    Item.CARD: Decimal("0.12"),
    Item.ZINE: Decimal("2.60"),
    Item.INVITATION: Decimal("1.90"),
}
WEIGHTS = {Item.POSTER: 45, Item.CARD: 2, Item.ZINE: 70, Item.INVITATION: 14}


class Card(models.TextChoices):
    """What a payment service gives a shop instead of a card's number."""

    GOOD = "tok_good", "Visa ending in 4242"
    DECLINED = "tok_declined", "Visa ending in 0002 (the bank declines it)"


class Order(models.Model):
    customer = models.CharField(max_length=80)
    email = models.EmailField("e-mail")
    item = models.CharField(max_length=20, choices=Item.choices, default=Item.POSTER)
    copies = models.PositiveIntegerField(
        default=50, validators=[MinValueValidator(1), MaxValueValidator(5000)]
    )
    card = models.CharField(max_length=20, choices=Card.choices, default=Card.GOOD)
    taken = models.DateTimeField(auto_now_add=True)
    receipted = models.DateTimeField(null=True, blank=True)
    paid = models.DateTimeField(null=True, blank=True)
    printed = models.PositiveIntegerField(default=0)
    courier = models.CharField(max_length=40, blank=True)
    #: Why nothing more is done for it.
    closed = models.CharField(max_length=80, blank=True)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"Order {self.pk}: {self.copies} x {self.get_item_display()}"

    def get_absolute_url(self) -> str:
        return reverse("orders:order", args=[self.pk])

    @property
    def total(self) -> Decimal:
        return PRICES[Item(self.item)] * self.copies

    @property
    def run_id(self) -> str:
        """The run of its workflow."""
        return f"order-{self.pk}"

    @property
    def grams(self) -> int:
        return WEIGHTS[Item(self.item)] * self.copies

    @property
    def percent_printed(self) -> int:
        return 100 * self.printed // self.copies


class Sale(models.Model):
    """A line in the books."""

    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="sales")
    amount = models.DecimalField(max_digits=9, decimal_places=2)
    booked = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.amount} EUR for order {self.order_id}"


class Job(models.Model):
    """A task that was sent for an order; what became of it is known by its id."""

    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="jobs")
    title = models.CharField(max_length=80)
    #: The line of Python that sent it.
    call = models.CharField(max_length=200)
    task_id = models.CharField(max_length=255, unique=True)
    sent = models.DateTimeField()
    due = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.title} ({self.task_id})"
