"""The service's page in a real Chromium: what a person sees of an answer, a refusal and a missing model."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from benchmarks.broken_images import encoded
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from scripts.running_service import serving
from tests.builders import dicom, dicom_bytes, noise_images

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Chromium's own sandbox wants rights that a container does not give; the rest keeps it off the network.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
PHONE = {"width": 360, "height": 740}

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def service(exported_run: Path) -> Iterator[str]:
    with serving(CXR_HOME=str(exported_run)) as running:
        yield running.address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.new_page(viewport=PHONE)
    yield opened
    opened.close()


def image(name: str = "film.png", content: bytes | None = None) -> dict[str, object]:
    if content is None:
        content = encoded(noise_images(1, 40)[0], "PNG")
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


def pixels(page: Page, selector: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(page.locator(selector).screenshot())).convert("RGB"), int)


def test_a_image_gets_probability_overlay_and_cases(page: Page, service: str) -> None:
    seen: list[str] = []
    page.on("request", lambda request: seen.append(request.url))
    page.on("pageerror", lambda error: seen.append(f"error {error}"))
    page.goto(service)
    with page.expect_response("**/predict") as response:
        page.set_input_files("#file", image())
    answer = response.value.json()
    page.wait_for_selector("#cases li:nth-child(5)")
    assert page.inner_text("#verdict") == f"Decision: {answer['decision']}"
    first = answer["predictions"][0]
    assert page.inner_text("#bars li:first-child span:first-child") == first["label"]
    assert page.inner_text("#bars .value >> nth=0") == f"{100 * first['confidence']:.1f} %"
    assert f"about {round(100 * answer['observed']['found'])} show pneumonia" in page.inner_text("#honest")
    assert f"{answer['observed']['images']} test radiographs" in page.inner_text("#honest")
    assert page.inner_text("#cases li:first-child").split()[0] in ("normal", "pneumonia")
    assert "not for diagnosis" in page.inner_text("header")
    assert page.inner_text("#problem") == ""
    # On a phone nothing has to be scrolled sideways, and nothing comes from elsewhere.
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert all(url.startswith((service, "blob:", "data:")) for url in seen)


def test_the_slider_moves_between_image_and_map(page: Page, service: str) -> None:
    page.goto(service)
    page.set_input_files("#file", image())
    page.wait_for_selector("#heat:visible")
    page.focus("#opacity")
    page.keyboard.press("Home")
    plain = pixels(page, ".stack")
    assert (plain.max(axis=2) - plain.min(axis=2)).max() < 8  # grey
    page.keyboard.press("End")
    heat = pixels(page, ".stack")
    assert (heat.max(axis=2) - heat.min(axis=2)).mean() > 40  # coloured all over


def test_a_late_answer_is_not_shown_over_the_next_image(page: Page, service: str) -> None:
    held: list[Route] = []
    page.route("**/explain*", lambda route: route.continue_() if held else held.append(route))
    page.goto(service)
    page.set_input_files("#file", image())
    page.wait_for_selector("#cases li:nth-child(5)")
    page.set_input_files("#file", image("black.png", encoded(np.zeros((40, 40), np.uint8), "PNG")))
    page.wait_for_selector("#heat:visible")
    with page.expect_response("**/explain*") as late:
        held[0].continue_()
    late.value.finished()
    page.wait_for_timeout(300)  # what the page would make of it, it has made by then
    page.focus("#opacity")
    page.keyboard.press("Home")
    assert pixels(page, ".stack")[8:-8, 8:-8].max() < 8  # its edge may be half a pixel of the page
    assert page.is_visible("#heat")


def test_dicom_is_shown_too(page: Page, service: str) -> None:
    page.goto(service)
    page.set_input_files("#file", image("study.dcm", dicom_bytes(dicom(noise_images(1, 40)[0]))))
    page.wait_for_selector("#cases li")
    assert page.evaluate("document.getElementById('plain').naturalWidth") > 0


def test_a_bad_file_is_said_in_words_and_the_next_image_works(page: Page, service: str) -> None:
    page.goto(service)
    page.set_input_files("#file", image("notes.png", b"no picture"))
    expect(page.locator("#problem")).not_to_be_empty()
    assert "PNG, JPEG or DICOM" in page.inner_text("#problem")
    assert not page.is_visible("#answer")
    page.set_input_files("#file", image())
    page.wait_for_selector("#verdict:visible")
    assert page.inner_text("#problem") == ""


def test_the_keyboard_reaches_the_image_and_a_name_says_what_it_is(page: Page, service: str) -> None:
    page.goto(service)
    page.keyboard.press("Tab")
    expect(page.locator("#file")).to_be_focused()
    assert page.evaluate("document.activeElement.labels[0].innerText").startswith("Drop a radiograph here")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files([image()])  # type: ignore[list-item]
    # The answer takes the focus, so that a screen reader reads on from there.
    expect(page.locator("#answer-title")).to_be_focused()
    missing = "[...document.images].filter((each) => !each.hasAttribute('alt')).length"
    assert page.evaluate(missing) == 0
    assert page.evaluate("document.getElementById('status').getAttribute('aria-live')") == "polite"


def test_without_a_model_the_page_says_what_to_do(page: Page, tmp_path: Path) -> None:
    with serving(CXR_HOME=str(tmp_path)) as running:
        page.goto(running.address)
        expect(page.locator("#model-state")).not_to_be_empty()
        assert "dvc repro" in page.inner_text("#model-state")
        page.set_input_files("#file", image())
        expect(page.locator("#problem")).not_to_be_empty()
        assert "dvc repro" in page.inner_text("#problem")


def test_a_key_can_be_given(page: Page, exported_run: Path) -> None:
    with serving(CXR_HOME=str(exported_run), CXR_API_KEY="secret") as running:
        page.goto(running.address)
        page.wait_for_selector("#key:visible")
        page.fill("#key", "secret")
        page.set_input_files("#file", image())
        page.wait_for_selector("#verdict:visible")
        assert page.inner_text("#model dd >> nth=1") == "normal, pneumonia"
