from django.db import models


class Effect(models.Model):
    """Something that a task did to the world; how often is what the tests count."""

    name = models.CharField(max_length=200)
    detail = models.CharField(max_length=200, default="")
