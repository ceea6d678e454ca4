"""``app.conf``: what was set, what the source says, Celery's defaults."""

from __future__ import annotations

import sys
from datetime import timedelta
from types import ModuleType, SimpleNamespace

import pytest

from django_qstash import Celery, conf
from django_qstash.application import known
from django_qstash.exceptions import ImproperlyConfigured
from tests.shop import tasks as shop


@pytest.fixture
def module():
    """A module of settings, as ``celeryconfig.py`` is."""
    made = ModuleType("proj_celeryconfig")
    made.task_ignore_result = True
    made.imports = ("tests.shop.tasks",)
    made.nested = SimpleNamespace(task_acks_late=True)
    sys.modules[made.__name__] = made
    yield made
    del sys.modules[made.__name__]


class TestDjangosSettings:
    @pytest.fixture
    def app(self):
        app = Celery("proj")
        app.config_from_object("django.conf:settings", namespace="CELERY")
        return app

    def test_the_namespace_is_a_prefix(self, app, settings):
        settings.CELERY_TASK_IGNORE_RESULT = True
        settings.CELERY_BROKER_URL = "redis://localhost"
        settings.TASK_ACKS_LATE = True

        assert app.conf.task_ignore_result is True
        assert app.conf.broker_url == "redis://localhost"
        assert app.conf.task_acks_late is False
        assert app.conf["task_ignore_result"] is True
        assert app.conf.CELERY_TASK_IGNORE_RESULT is True

    def test_they_are_read_when_they_are_asked_for(self, app, settings):
        assert app.conf.task_always_eager is False
        settings.CELERY_TASK_ALWAYS_EAGER = True
        assert app.conf.task_always_eager is True

    @pytest.mark.parametrize("source", ["django.conf:settings", "django.conf.settings", "object"])
    def test_however_they_are_named(self, settings, source):
        from django.conf import settings as django_settings

        settings.CELERY_TASK_ACKS_LATE = True
        app = Celery("proj")
        app.config_from_object(
            django_settings if source == "object" else source, namespace="CELERY"
        )

        assert app.conf.task_acks_late is True

    def test_the_names_before_celery_4_without_a_namespace(self, settings):
        settings.CELERY_ALWAYS_EAGER = True
        settings.CELERYBEAT_SCHEDULE = {"one": {"task": "a.b", "schedule": 1}}
        app = Celery("proj")
        app.config_from_object("django.conf:settings")

        assert app.conf.task_always_eager is True
        assert app.conf.CELERY_ALWAYS_EAGER is True
        assert list(app.conf.beat_schedule) == ["one"]
        assert app.conf.spelled("task_always_eager") == "CELERY_ALWAYS_EAGER"

    def test_another_namespace(self, settings):
        settings.WORK_TASK_ACKS_LATE = True
        app = Celery("proj", namespace="WORK", config_source="django.conf:settings")

        assert app.conf.task_acks_late is True
        assert app.conf.spelled("task_acks_late") == "WORK_TASK_ACKS_LATE"

    def test_without_an_object_they_mean_nothing(self, settings, outbox):
        settings.CELERY_TASK_ALWAYS_EAGER = True

        shop.add.delay(1, 2)

        assert len(outbox.sent) == 1

    def test_what_the_project_gives(self, app, settings):
        settings.CELERY_TASK_IGNORE_RESULT = True
        app.conf.worker_concurrency = 4

        assert app.conf.given() == {"task_ignore_result": True, "worker_concurrency": 4}
        assert app.conf.without_defaults() == app.conf.given()
        assert app.conf.value_set_for("task_ignore_result")
        assert not app.conf.value_set_for("task_acks_late")
        assert app.conf.spelled("task_ignore_result") == "CELERY_TASK_IGNORE_RESULT"
        assert app.conf.spelled("worker_concurrency") == "worker_concurrency"


class TestOtherSources:
    def test_a_module(self, module):
        app = Celery("proj")
        app.config_from_object("proj_celeryconfig")

        assert app.conf.task_ignore_result is True
        assert app.conf.given() == {
            "imports": ("tests.shop.tasks",),
            "task_ignore_result": True,
        }

    @pytest.mark.parametrize("name", ["proj_celeryconfig:nested", "proj_celeryconfig.nested"])
    def test_an_attribute_of_a_module(self, module, name):
        app = Celery("proj", config_source=name)

        assert app.conf.task_acks_late is True

    def test_an_object_and_a_mapping(self):
        first, second = Celery("first"), Celery("second")
        first.config_from_object(SimpleNamespace(task_acks_late=True))
        second.config_from_object({"task_acks_late": True, "unknown_to_celery": 1})

        assert first.conf.task_acks_late is True
        assert second.conf.task_acks_late is True
        assert second.conf.unknown_to_celery == 1
        assert second.conf.given() == {"task_acks_late": True}

    def test_nothing_is_imported_before_a_setting_is_asked_for(self):
        app = Celery("proj")
        assert app.config_from_object("no.such.module") is None

        with pytest.raises(ModuleNotFoundError, match="no"):
            _ = app.conf.task_acks_late

    def test_unless_it_is_forced(self, module):
        app = Celery("proj")

        assert app.config_from_object("proj_celeryconfig", force=True) is app.conf
        assert app.configured

    def test_a_missing_one_may_be_let_be(self):
        app = Celery("proj")
        app.config_from_object("no.such.module", silent=True)

        assert app.conf.task_acks_late is False

    def test_an_environment_variable(self, module, monkeypatch):
        monkeypatch.setenv("PROJ_CONFIG", "proj_celeryconfig")
        app = Celery("proj")
        app.config_from_envvar("PROJ_CONFIG")

        assert app.conf.task_ignore_result is True

    def test_one_that_is_not_set(self, monkeypatch):
        monkeypatch.delenv("PROJ_CONFIG", raising=False)
        app = Celery("proj")

        with pytest.raises(ImproperlyConfigured, match="PROJ_CONFIG is not set"):
            app.config_from_envvar("PROJ_CONFIG")
        assert app.config_from_envvar("PROJ_CONFIG", silent=True) is False


class TestLayers:
    def test_what_is_set_stands_before_defaults_before_the_source(self):
        app = Celery("proj")
        app.config_from_object({"task_acks_late": 1, "task_time_limit": 1, "imports": ("a",)})
        app.add_defaults({"task_acks_late": 2, "task_time_limit": 2})
        app.add_defaults(lambda: {"enable_utc": False})
        app.conf.task_acks_late = 3

        assert app.conf.enable_utc is False
        assert (app.conf.task_acks_late, app.conf.task_time_limit, app.conf.imports) == (
            3,
            2,
            ("a",),
        )
        app.add_defaults(lambda: {"timezone": "UTC"})
        assert app.conf.timezone == "UTC"

    def test_a_mapping(self):
        app = Celery("proj")
        app.conf.update(task_acks_late=True, CELERY_TIMEZONE="UTC")

        assert app.conf.timezone == "UTC"
        assert app.conf["task_acks_late"] is True
        assert app.conf.get("no_such_setting") is None
        assert "task_acks_late" in app.conf
        assert "broker_url" in app.conf
        assert "no_such_setting" not in app.conf
        assert dict(app.conf)["task_acks_late"] is True
        assert len(app.conf) == len(list(app.conf))
        with pytest.raises(KeyError):
            app.conf["no_such_setting"]
        with pytest.raises(AttributeError, match="no setting of Celery's"):
            _ = app.conf.no_such_setting
        with pytest.raises(AttributeError):
            del app.conf.no_such_setting

    def test_the_schedule_is_filled_in_place(self):
        app = Celery("proj")
        app.conf.beat_schedule["one"] = {"task": "a.b", "schedule": 60}

        assert list(app.conf.beat_schedule) == ["one"]
        assert list(Celery("other").conf.beat_schedule) == []

    def test_secrets_are_hidden(self):
        app = Celery("proj", broker="redis://u:p@host", redis_password="p", task_acks_late=True)

        assert app.conf.table() == {
            "broker_url": "********",
            "redis_password": "********",
            "task_acks_late": True,
        }
        assert app.conf.table(censored=False)["redis_password"] == "p"
        assert app.conf.table(with_defaults=True)["task_ignore_result"] is False
        assert "p@host" not in repr(app.conf)
        assert "task_acks_late: True" in app.conf.humanize()
        assert repr(Celery("other").conf) == "<Configuration: nothing is set>"

    def test_either(self):
        app = Celery("proj", task_time_limit=7)

        assert app.either("task_time_limit", None, 3) == 3
        assert app.either("task_time_limit", None) == 7


class TestWhatTheyMeanHere:
    """The settings of the current object are this package's, where Django's settings are silent."""

    @pytest.mark.parametrize(
        ("celery", "ours"),
        [
            ("task_always_eager", "DJANGO_QSTASH_ALWAYS_EAGER"),
            ("task_eager_propagates", "DJANGO_QSTASH_EAGER_PROPAGATES"),
            ("task_store_eager_result", "DJANGO_QSTASH_STORE_EAGER_RESULT"),
            (
                "task_allow_error_cb_on_chord_header",
                "DJANGO_QSTASH_ALLOW_ERROR_CB_ON_CHORD_HEADER",
            ),
        ],
    )
    def test_yes_or_no(self, celery, ours, settings):
        app = Celery("proj")

        assert getattr(conf.settings, ours) is False
        app.conf[celery] = 1
        assert getattr(conf.settings, ours) is True
        setattr(settings, ours, False)
        assert getattr(conf.settings, ours) is False

    def test_the_schedule(self):
        app = Celery("proj")
        app.conf.beat_schedule = {"one": {"task": "a.b", "schedule": 60}}

        assert list(conf.settings.DJANGO_QSTASH_BEAT_SCHEDULE) == ["one"]

    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            (3600, 3600),
            (timedelta(days=2), 172800),
            (None, 100 * 365 * 86400),
            (0, 100 * 365 * 86400),
        ],
        ids=str,
    )
    def test_how_long_results_are_kept(self, value, seconds):
        app = Celery("proj")

        assert conf.settings.DJANGO_QSTASH_RESULT_TTL == 604800
        app.conf.result_expires = value
        assert seconds == conf.settings.DJANGO_QSTASH_RESULT_TTL

    @pytest.mark.parametrize("value", ["a day", -1, True], ids=str)
    def test_how_long_they_cannot_be_kept(self, value):
        Celery("proj", result_expires=value)

        with pytest.raises(ImproperlyConfigured, match="must be seconds or a timedelta"):
            _ = conf.settings.DJANGO_QSTASH_RESULT_TTL

    @pytest.mark.parametrize(
        ("given", "retries"),
        [
            ({}, 1),
            ({"task_publish_retry": False}, 0),
            ({"task_publish_retry_policy": {"max_retries": 4, "interval_start": 0}}, 4),
            ({"task_publish_retry_policy": {"interval_start": 0}}, 1),
        ],
        ids=str,
    )
    def test_how_often_a_publish_is_tried_again(self, given, retries):
        Celery("proj", **given)

        assert retries == conf.settings.DJANGO_QSTASH_PUBLISH_RETRIES

    @pytest.mark.parametrize("value", [None, -1, True, "3"], ids=str)
    def test_it_is_not_tried_for_ever(self, value):
        Celery("proj", task_publish_retry_policy={"max_retries": value})

        with pytest.raises(ImproperlyConfigured, match="must not wait for ever"):
            _ = conf.settings.DJANGO_QSTASH_PUBLISH_RETRIES

    def test_only_the_current_object_speaks(self):
        Celery("first", task_always_eager=True)
        second = Celery("second")

        assert conf.settings.DJANGO_QSTASH_ALWAYS_EAGER is False
        second.close()
        assert conf.settings.DJANGO_QSTASH_ALWAYS_EAGER is False

    def test_an_eager_task(self, settings, outbox):
        settings.CELERY_TASK_ALWAYS_EAGER = True
        Celery("proj", config_source="django.conf:settings", namespace="CELERY")

        assert shop.add.delay(1, 2).get() == 3
        assert outbox.sent == []

    def test_priority_is_inherited_where_it_is_asked_for(self, outbox):
        from tests.unit.application.test_app import letters

        app = Celery("proj")

        @app.task(bind=True)
        def parent(self):
            shop.add.delay(1, 2)

        parent.apply(priority=7)
        app.conf.task_inherit_parent_priority = True
        parent.apply(priority=7)

        assert [letter.priority for letter in letters(outbox)] == [None, 7]


class TestWhatIsKnown:
    def test_each_setting_stands_in_one_list(self):
        lists = [set(known.HONOURED), set(known.ALWAYS), set(known.WITHOUT_EFFECT)]

        assert sum(map(len, lists)) == len(set().union(*lists))

    def test_old_names_are_of_settings_that_are_known(self):
        assert [name for name in known.OLD.values() if not known.is_known(name)] == []

    def test_celerys_own_list_is_covered(self):
        """Against the settings of the Celery that is installed with the tests."""
        defaults = pytest.importorskip("celery.app.defaults")

        assert [name for name in defaults.DEFAULTS if not known.is_known(name)] == []

    def test_celerys_defaults_are_what_an_unset_setting_says(self):
        defaults = pytest.importorskip("celery.app.defaults").DEFAULTS
        ours = {name: known.default_of(name) for name in known.HONOURED if name in defaults}
        # What means the same in another form.
        for name in ("task_publish_retry_policy", "worker_task_log_format"):
            ours.pop(name, None)

        assert {name: defaults[name] for name in ours} == ours

    @pytest.mark.parametrize(
        ("name", "value", "complaint"),
        [
            ("task_serializer", "pickle", "never unpickled"),
            ("result_serializer", "yaml", "never unpickled"),
            ("accept_content", ["pickle"], "leaves JSON out"),
            ("accept_content", ["pickle", "json"], None),
            ("task_serializer", "json", None),
            ("task_acks_on_failure_or_timeout", False, "Reject"),
            ("task_acks_late", True, None),
        ],
    )
    def test_what_cannot_be(self, name, value, complaint):
        found = known.complaint(name, value)

        assert (found is None) if complaint is None else (complaint in found)
