"""How to test a site that sends tasks: ordinary Django tests, and no server.

``Loopback`` delivers each message to the site's own webhook within the call that sends it, and
``Outbox`` keeps it. Django turns DEBUG off for tests, so what development would give has to be set.
"""

from __future__ import annotations

from django.core import mail
from django.test import TestCase, TransactionTestCase, override_settings
from django.urls import reverse

from cfehome.celery import app, takings
from django_qstash import AsyncResult, PublishError, states
from django_qstash.testing import QStashSandbox
from django_qstash.transport import get_transport
from orders import tasks
from orders.buttons import BUTTONS
from orders.models import Card, Item, Job, Order
from orders.progress import progress_of
from orders.workflows import PAYMENT_TIME

DELIVERED = override_settings(
    DJANGO_QSTASH_TRANSPORT="django_qstash.transport.local.Loopback",
    DJANGO_QSTASH_DOMAIN="https://halftone.example",
    QSTASH_TOKEN="unused",
    QSTASH_CURRENT_SIGNING_KEY="sig_a_key_for_tests_and_only_for",
    QSTASH_NEXT_SIGNING_KEY="sig_the_next_key_for_tests_alone",
    PACE=0,
)
KEPT = override_settings(DJANGO_QSTASH_TRANSPORT="django_qstash.transport.local.Outbox")


def order(**fields) -> Order:
    given = {"customer": "Ada Byron", "email": "ada@example.com", "copies": 25, **fields}
    return Order.objects.create(**given)


@DELIVERED
class TaskTests(TestCase):
    def test_a_receipt_is_written_and_remembered(self):
        taken = order(item=Item.ZINE)

        said = tasks.send_receipt.delay(taken.pk).get(timeout=1)

        taken.refresh_from_db()
        (letter,) = mail.outbox
        self.assertEqual(said, "Receipt sent to ada@example.com")
        self.assertEqual(letter.to, ["ada@example.com"])
        self.assertIn("65.00 EUR", letter.body)
        self.assertIsNotNone(taken.receipted)

    def test_the_takings_are_those_of_paid_orders(self):
        for copies in (25, 5):
            tasks.charge_card.delay(order(item=Item.ZINE, copies=copies).pk)
        order(item=Item.POSTER)

        told = takings.delay().get(timeout=1)

        self.assertEqual(told, {"paid": {"zine": [2, 30]}, "at most": 60})
        self.assertEqual(tasks.charge_card.soft_time_limit, 60)
        self.assertIn("orders.tasks.charge_card", app.tasks)

    def test_a_good_card_is_charged_once(self):
        taken = order()

        first = tasks.charge_card.delay(taken.pk).get(timeout=1)
        second = tasks.charge_card.delay(taken.pk).get(timeout=1)

        self.assertRegex(first, r"120\.00 EUR charged, reference pay_\w{12}")
        self.assertEqual(second, "Paid already")

    def test_a_declined_card_fails_the_task_and_leaves_the_order_unpaid(self):
        taken = order(card=Card.DECLINED)

        result = tasks.charge_card.delay(taken.pk)

        taken.refresh_from_db()
        self.assertEqual(result.status, states.FAILURE)
        with self.assertRaisesMessage(Exception, "insufficient funds"):
            result.get(timeout=1)
        self.assertIsNone(taken.paid)

    def test_a_busy_mill_is_asked_until_it_has_time(self):
        result = tasks.order_paper.delay(order().pk)

        self.assertRegex(result.get(timeout=1), r"25 sheets ordered under M-\d{4}, on try 3")
        self.assertEqual(result.retries, 2)

    def test_the_press_prints_what_is_missing_and_no_more(self):
        taken = order(copies=33)
        Order.objects.filter(pk=taken.pk).update(printed=30)

        said = tasks.print_copies.delay(taken.pk).get(timeout=1)

        taken.refresh_from_db()
        self.assertEqual(said, "33 copies are on the rack")
        self.assertEqual((taken.printed, taken.percent_printed), (33, 100))

    def test_the_cheapest_courier_is_booked(self):
        light, heavy = order(item=Item.CARD, copies=1), order(item=Item.ZINE, copies=1000)

        tasks.find_courier.delay(light.pk).get(timeout=1)
        tasks.find_courier.delay(heavy.pk).get(timeout=1)

        light.refresh_from_db()
        heavy.refresh_from_db()
        self.assertEqual((light.courier, heavy.courier), ("Velo", "Northbound"))

    def test_parcels_are_packed_side_by_side_and_labelled_together(self):
        taken = order(item=Item.ZINE, copies=1)

        job = BUTTONS["pack"].press(taken)

        said = AsyncResult(job.task_id).get(timeout=1)
        self.assertTrue(said.startswith(f"3 parcels of order {taken.pk} are on the ramp: Ada"))

    def test_called_directly_a_task_is_a_function(self):
        self.assertEqual(tasks.remind_to_collect(order().pk), "Ada Byron was reminded")


@DELIVERED
class SiteTests(TestCase):
    def take(self, **fields) -> Order:
        given = {"customer": "Ada", "email": "ada@example.com", "item": "zine", "copies": 4}
        given = {**given, "card": Card.GOOD, **fields}
        with self.captureOnCommitCallbacks(execute=True):
            answer = self.client.post(reverse("orders:new"), given)
        taken = Order.objects.get()
        self.assertRedirects(answer, taken.get_absolute_url())
        return taken

    def test_taking_an_order_sends_its_receipt(self):
        taken = self.take()

        (job,) = Job.objects.all()
        self.assertEqual(job.call, f"send_receipt.delay({taken.pk})")
        self.assertEqual(AsyncResult(job.task_id).status, states.SUCCESS)
        self.assertContains(self.client.get(reverse("orders:book")), "4 × 16-page zine")

    def test_an_order_without_copies_is_refused_and_nothing_is_sent(self):
        answer = self.client.post(reverse("orders:new"), {"customer": "Ada", "copies": 0})

        self.assertEqual(answer.status_code, 200)
        self.assertFalse(Job.objects.exists())
        self.assertContains(answer, "greater than or equal to 1")

    def test_each_button_sends_the_task_that_stands_on_it(self):
        for name, button in BUTTONS.items():
            if button.options:
                continue  # its message is for later
            with self.subTest(name):
                taken = order()

                answer = self.client.post(
                    reverse("orders:press", args=[taken.pk, name]), headers={"fetch": "1"}
                )

                self.assertContains(answer, button.call(taken))
                self.assertContains(answer, 'data-state="SUCCESS"')
                self.assertContains(answer, 'data-over="yes"')

    def test_without_javascript_a_button_leads_back_to_the_order(self):
        taken = order()

        answer = self.client.post(reverse("orders:press", args=[taken.pk, "receipt"]))

        self.assertRedirects(answer, taken.get_absolute_url())

    def test_what_failed_is_shown_with_its_reason(self):
        taken = order(card=Card.DECLINED)

        answer = self.client.post(
            reverse("orders:press", args=[taken.pk, "charge"]), headers={"fetch": "1"}
        )

        self.assertContains(answer, "CardDeclined: The bank declined 120.00 EUR")
        self.assertContains(answer, "Traceback")

    @KEPT
    def test_a_reminder_is_sent_now_and_due_in_ten_seconds(self):
        taken = order()

        answer = self.client.post(
            reverse("orders:press", args=[taken.pk, "reminder"]), headers={"fetch": "1"}
        )

        (letter,) = get_transport().sent
        self.assertEqual(letter.options["delay"], "10s")
        self.assertContains(answer, "due in 10 s")
        self.assertContains(answer, 'data-over="no"')

    def test_when_qstash_is_away_the_order_is_taken_and_its_receipt_waits(self):
        with QStashSandbox() as qstash:
            qstash.is_down = True
            self.take()
            qstash.advance(60)
            self.assertEqual((Job.objects.count(), mail.outbox), (1, []))

            qstash.is_down = False
            qstash.advance(60)
            self.assertEqual(len(mail.outbox), 1)

    @override_settings(DJANGO_QSTASH_TRANSPORT="orders.tests.Refusing")
    def test_what_qstash_refuses_is_said_on_the_page(self):
        taken = order()

        answer = self.client.post(reverse("orders:press", args=[taken.pk, "receipt"]), follow=True)

        self.assertContains(answer, "QStash knows no such token")
        self.assertContains(answer, "Nothing was sent yet")

    def test_a_button_that_is_none_is_not_found(self):
        taken = order()

        answer = self.client.post(reverse("orders:press", args=[taken.pk, "fire"]))

        self.assertEqual(answer.status_code, 404)

    def test_a_press_by_get_is_refused(self):
        taken = order()

        answer = self.client.get(reverse("orders:press", args=[taken.pk, "receipt"]))

        self.assertEqual(answer.status_code, 405)


@DELIVERED
class ProgressTests(TestCase):
    @KEPT
    def test_a_job_is_sent_until_its_row_is_there(self):
        job = BUTTONS["receipt"].press(order())

        (progress,) = progress_of([job])

        self.assertEqual((progress.word, progress.reached), ("sent", [True, False, False]))
        self.assertFalse(progress.is_over)

    def test_a_job_that_is_done_has_come_through_every_station(self):
        job = BUTTONS["courier"].press(order())

        (progress,) = progress_of([job])

        self.assertEqual((progress.word, progress.reached), ("done", [True, True, True]))
        self.assertGreaterEqual(progress.seconds, 0)
        self.assertIn("EUR", progress.result)

    def test_the_state_of_many_jobs_takes_one_query(self):
        jobs = [BUTTONS["receipt"].press(order()) for _ in range(5)]

        with self.assertNumQueries(1):
            list(progress_of(jobs))


@override_settings(PACE=0)
class FlowTests(TransactionTestCase):
    """A workflow, with a QStash whose clock stands still until a test moves it."""

    def setUp(self):
        self.qstash = QStashSandbox()
        self.qstash.start()
        self.addCleanup(self.qstash.stop)
        self.order = order(copies=25)

    def press(self, name):
        address = reverse("orders:move", args=[self.order.pk, name])
        answer = self.client.post(address, headers={"fetch": "1"})
        self.qstash.advance(1)
        self.order.refresh_from_db()
        return answer

    def page(self):
        return self.client.get(reverse("orders:progress", args=[self.order.pk]))

    def test_from_the_first_mail_to_the_parcel(self):
        self.press("start")
        self.assertContains(self.page(), f"event:order-paid:{self.order.pk}")
        self.press("pay")
        self.assertIsNotNone(self.order.paid)
        self.assertContains(self.page(), "signal:proof")
        self.press("approve")

        self.assertContains(self.page(), 'data-status="completed"')
        self.assertEqual([str(sale.amount) for sale in self.order.sales.all()], ["120.00"])
        self.assertEqual((self.order.printed, self.order.courier), (25, "City Mail"))
        self.assertEqual(len(mail.outbox), 1)
        self.assertContains(self.page(), 'data-moves=""')

    def test_pressed_twice_it_is_one_run_and_one_payment(self):
        for name in ("start", "start", "pay", "pay", "approve"):
            self.press(name)

        self.assertEqual(self.order.sales.count(), 1)
        self.assertEqual(len(mail.outbox), 1)

    def test_a_proof_that_is_sent_back_is_refunded(self):
        for name in ("start", "pay", "refuse"):
            self.press(name)

        self.assertEqual(sum(sale.amount for sale in self.order.sales.all()), 0)
        self.assertEqual(self.order.closed, "the proof was not approved")
        self.assertEqual(self.order.printed, 0)

    def test_who_does_not_pay_gets_no_prints(self):
        self.press("start")
        self.qstash.advance(PAYMENT_TIME.total_seconds())
        self.order.refresh_from_db()

        self.assertEqual(self.order.closed, "not paid in time")
        self.assertContains(self.page(), "not paid in time")
        self.assertFalse(self.order.sales.exists())

    def test_a_delivery_that_comes_twice_books_once(self):
        self.qstash.faults(duplicate=1.0)
        for name in ("start", "pay", "approve"):
            self.press(name)

        self.assertEqual(self.order.sales.count(), 1)
        self.assertContains(self.page(), 'data-status="completed"')

    def test_a_signal_for_an_order_without_a_run_is_said_to_be_wrong(self):
        answer = self.press("approve")

        self.assertContains(answer, "There is no run")

    def test_a_move_that_is_none_is_not_found(self):
        self.assertEqual(self.press("fire").status_code, 404)


class Refusing:
    """A QStash that says no."""

    def publish(self, envelope):
        error = PublishError("QStash knows no such token.")
        error.status = 401
        raise error
