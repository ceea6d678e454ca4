"""How to test a workflow: run to its end within one call, with stand-ins, and on bad days.

``orders.tests`` has the same workflow with its page, told by buttons. Here nothing is pressed.
"""

from __future__ import annotations

from django.core import mail
from django.test import TestCase, override_settings

from django_qstash.testing import TIMED_OUT, WorkflowEnv, chaos, run_inline
from orders.couriers import COURIERS
from orders.models import Order, Sale
from orders.tests import order
from orders.workflows import fulfil, payment_key


@override_settings(PACE=0)
class FulfilTests(TestCase):
    def setUp(self):
        self.order = order(copies=25)
        self.input = {"order_id": self.order.pk}
        self.payment = {"amount": str(self.order.total)}

    def run_with(self, proof=True, **options):
        """The payment and the proof come from elsewhere; all other steps are done."""
        told = {"payment": self.payment, "proof": {"approved": proof}}
        run = run_inline(fulfil, self.input, step_overrides=told, **options)
        self.order.refresh_from_db()
        return run

    def test_from_the_first_mail_to_the_parcel(self):
        run = self.run_with()

        self.assertTrue(run.output.startswith("Ada Byron, "))
        self.assertEqual(run.steps["book the sale"].value, "120.00 EUR")
        self.assertEqual((self.order.printed, self.order.courier), (25, "City Mail"))
        self.assertEqual(len(mail.outbox), 1)

    def test_the_press_and_the_couriers_are_left_in_peace(self):
        told = {
            "payment": self.payment,
            "proof": {"approved": True},
            "print": "25 copies are on the rack",
            "courier": lambda order_id: f"{COURIERS[0].name} takes order {order_id}",
        }

        run = run_inline(fulfil, self.input, step_overrides=told)

        self.assertIn(f"{COURIERS[0].name} takes order {self.order.pk}", run.output)
        self.order.refresh_from_db()
        self.assertEqual((self.order.printed, self.order.courier), (0, ""))

    def test_who_does_not_pay_in_time_gets_no_prints(self):
        run = run_inline(fulfil, self.input)  # nobody pays; the clock skips the two minutes

        self.assertEqual(run.output, "not paid in time")
        self.assertNotIn("print", run.steps)

    def test_a_proof_that_nobody_looks_at_is_refunded(self):
        told = {"payment": self.payment, "proof": TIMED_OUT}

        run = run_inline(fulfil, self.input, step_overrides=told)

        self.assertEqual(run.output, "the proof was not approved")
        self.assertEqual(sum(sale.amount for sale in Sale.objects.all()), 0)

    def test_a_wrong_amount_closes_the_order(self):
        run = run_inline(fulfil, self.input, step_overrides={"payment": {"amount": "1.00"}})

        self.assertIn("1.00 EUR were paid", str(run.error))
        self.order.refresh_from_db()
        self.assertEqual(self.order.closed, "something went wrong at book the sale")

    def test_a_label_printer_without_paper_closes_the_order(self):
        told = {
            "payment": self.payment,
            "proof": {"approved": True},
            "label": ValueError("no paper"),
        }

        run = run_inline(fulfil, self.input, step_overrides=told)

        self.assertIsInstance(run.error.__cause__, ValueError)
        self.order.refresh_from_db()
        self.assertEqual(self.order.closed, "something went wrong at label")

    def test_a_process_that_dies_at_every_step_boundary_books_once(self):
        run = self.run_with(crash_at="*", duplicate_at="*", always_replay=True)

        self.assertTrue(run.succeeded)
        self.assertEqual(self.order.sales.count(), 1)
        self.assertEqual(run.calls["book the sale"], 2)  # the first was rolled back
        self.assertEqual(self.order.printed, 25)

    def test_bad_days(self):
        def effects():
            return {
                "sales": Sale.objects.count(),
                "printed": Order.objects.get(pk=self.order.pk).printed,
            }

        chaos(
            fulfil,
            self.input,
            seeds=8,
            effects=effects,
            once=["book the sale"],
            events={payment_key(self.order.pk): self.payment},
            signals={"proof": {"approved": True}},
        )

    def test_a_day_in_which_people_take_their_time(self):
        with WorkflowEnv() as env:
            run = env.start(fulfil, self.input)
            env.advance("90s")
            env.notify(payment_key(self.order.pk), self.payment)
            env.advance("23h")
            self.assertEqual(run.state()["waits_for"], "signal:proof")
            env.signal(run, "proof", {"approved": True})

            self.assertEqual(run.status, "completed")
