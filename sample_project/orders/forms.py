from django import forms

from orders.models import Order


class OrderForm(forms.ModelForm):
    class Meta:
        model = Order
        fields = ("customer", "email", "item", "copies", "card")
        widgets = {
            "customer": forms.TextInput(attrs={"autocomplete": "off", "placeholder": "Ada Byron"}),
            "email": forms.EmailInput(
                attrs={"autocomplete": "off", "placeholder": "ada@example.com"}
            ),
        }
