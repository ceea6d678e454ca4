"""The viewset of docs/workflow-api.md, in a project that has Django REST framework."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.docs.pages import ROOT

pytest.importorskip("rest_framework", reason="Django REST framework is not installed.")

PAGE = ROOT / "docs" / "workflow-api.md"
BLOCK = re.compile(
    r"<!-- no-run: needs Django REST framework;.*? -->\n```python\n(.*?)```", re.DOTALL
)
#: What the page leaves to the reader, and a customer who orders, is refused, confirms.
REST = """
<!-- append: mysite/settings.py -->
```python
INSTALLED_APPS += ["rest_framework"]
```

<!-- file: shop/rest.py -->
```python
{viewset}
```

<!-- append: mysite/urls.py -->
```python
from rest_framework.routers import SimpleRouter
from shop.rest import OrderViewSet

router = SimpleRouter()
router.register("rest/orders", OrderViewSet, basename="order")
urlpatterns += router.urls
```

```pycon
>>> from django.contrib.auth.models import User
>>> from rest_framework.test import APIClient
>>> here = {{"host": "localhost"}}
>>> ada, eve = APIClient(headers=here), APIClient(headers=here)
>>> ada.force_authenticate(User.objects.create_user("ada"))
>>> eve.force_authenticate(User.objects.create_user("eve"))
>>> APIClient(headers=here).get("/rest/orders/").status_code
403
>>> ada.post("/rest/orders/", {{}}, format="json").json()
{{'item': ['This field is required.']}}
>>> made = ada.post("/rest/orders/", {{"item": "poster"}}, format="json")
>>> made.status_code, made.json()["status"], made.json()["waits"]
(201, 'waiting', 'signal:confirmed')
>>> address = f"/rest/orders/{{made.json()['run_id']}}/"
>>> eve.get(address).status_code, eve.post(address + "cancel/").status_code
(404, 404)
>>> ada.post(address + "confirm/", {{"note": "soon"}}, format="json").status_code
202
>>> shown = ada.get(address).json()
>>> shown["status"], shown["result"]["note"], [step["step_id"] for step in shown["steps"]]
('completed', 'soon', ['reserve', 'confirmed'])
>>> ada.post(address + "confirm/", {{"note": "twice"}}, format="json").status_code
409
>>> ada.post(address + "cancel/").json()
{{'canceled': False}}
>>> len(ada.get("/rest/orders/").json()), eve.get("/rest/orders/").json()
(1, [])
```
"""


def test_the_viewset_on_the_page_works(tmp_path):
    text = PAGE.read_text(encoding="utf-8")
    (viewset,) = BLOCK.findall(text)
    before = text[: text.index("## Plain views")]
    page, project = tmp_path / "page.md", tmp_path / "project"
    page.write_text(before + REST.format(viewset=viewset.rstrip()), encoding="utf-8")
    project.mkdir()

    done = subprocess.run(
        [sys.executable, "-m", "tests.docs.run", str(page), str(project)],
        cwd=ROOT,
        env={
            **{name: value for name, value in os.environ.items() if "QSTASH" not in name},
            "PYTHONPATH": str(ROOT),
            "PYTHONUTF8": "1",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
