"""axe finds no barriers for people with disabilities in any view."""

import pytest
from axe_playwright_python.base import AxeResults
from axe_playwright_python.sync_playwright import Axe

from .conftest import VIEWS
from .helpers import finished, navigate

ANY_MODEL = ("compare", "window", "find")  # these views look the same for all models


@pytest.mark.parametrize(
    ("model", "width", "height"),
    [
        *(("attentive", *size) for size in [(320, 568), (390, 844), (768, 1024), (1280, 800)]),
        ("attentive", 1440, 700),
        ("colour", 320, 568),
    ],
)
def test_no_view_has_findings(go, model, width, height):
    page = go(f"view=paint&model={model}", motion="reduce")
    page.set_viewport_size({"width": width, "height": height})
    page.evaluate(Axe().axe_script)
    for view in VIEWS:
        if model != "attentive" and view in ANY_MODEL:
            continue
        navigate(page, f"view={view}&model={model}")
        page.locator(f"#{view}").wait_for()
        if view != "window":
            finished(page, view)
        if view == "paint":
            page.click("#paint .save")  # the menu covers some of the page
        for theme in ("light", "dark"):
            page.evaluate("(theme) => (document.documentElement.dataset.theme = theme)", theme)
            found = page.evaluate("axe.run({ resultTypes: ['violations'] })")
            assert found["violations"] == [], AxeResults(found).generate_report()
        page.keyboard.press("Escape")
