"""The service's page in Chromium: a prediction, an error and a missing model as a user sees them."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from benchmarks.broken_images import encoded
from scripts.running_service import serving
from tests.builders import dicom, dicom_bytes, make_export_unlike, noise_images

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Chromium's sandbox needs rights that a container does not have; the other flags keep it off the network.
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


def image(name: str = "radiograph.png", content: bytes | None = None) -> dict[str, object]:
    if content is None:
        content = encoded(noise_images(1, 40)[0], "PNG")
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


def text(page: Page, selector: str) -> str:
    return page.inner_text(selector).replace("\N{NO-BREAK SPACE}", " ")


def pixels(page: Page, selector: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(page.locator(selector).screenshot())).convert("RGB"), int)


def test_an_image_gets_probabilities_a_map_and_similar_cases(page: Page, service: str) -> None:
    seen: list[str] = []
    page.on("request", lambda request: seen.append(request.url))
    page.on("pageerror", lambda error: seen.append(f"error {error}"))
    page.goto(service)
    with page.expect_response("**/predict") as response:
        page.set_input_files("#file", image())
    answer = response.value.json()
    page.wait_for_selector("#cases li:nth-child(5)")
    assert page.inner_text("#decision") == f"Decision: {answer['decision']}"
    first = answer["predictions"][0]
    assert page.inner_text("#bars li:first-child span:first-child") == first["label"]
    assert page.inner_text("#bars .value >> nth=0") == f"{100 * first['confidence']:.1f} %"
    observed = answer["observed"]
    assert "Observed frequency of pneumonia" in text(page, "#observed")
    assert f"{observed['images']} test radiographs" in text(page, "#observed")
    assert f": {round(100 * observed['observed'])} % (95 % interval" in text(page, "#observed")
    threshold = answer["operating_point"]["threshold"]
    rule = f"Classified as pneumonia at a probability of {100 * threshold:.1f} % or more."
    assert text(page, "#rule") == rule
    assert text(page, "#prevalence") == "Assumes a prevalence of 50 % for pneumonia."
    assert page.inner_text("#cases li:first-child").split()[0] in ("normal", "pneumonia")
    assert "not for diagnosis" in page.inner_text("header")
    assert page.inner_text("#problem") == ""
    assert not page.is_visible("#unlike")
    # On a phone nothing has to be scrolled sideways, and nothing comes from elsewhere.
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert all(url.startswith((service, "blob:", "data:")) for url in seen)


def test_an_image_unlike_the_training_images_is_marked(
    page: Page, exported_run: Path, tmp_path: Path
) -> None:
    shutil.copytree(exported_run, tmp_path, dirs_exist_ok=True)
    make_export_unlike(tmp_path)
    with serving(CXR_HOME=str(tmp_path)) as running:
        page.goto(running.address)
        page.set_input_files("#file", image())
        page.wait_for_selector("#unlike:visible")
        assert "This image is unlike the training images." in text(page, "#unlike")
        assert "Reason: low correlation of its pixels" in text(page, "#unlike")
        assert (
            text(page, "#observed")
            == "Observed frequency not shown: test has hardly any images like this one."
        )
        assert page.is_visible("#decision")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_three_classes_without_a_threshold(page: Page, service: str) -> None:
    def changed(route: Route, **changes: object) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json=answer.json() | changes)

    classes = {"normal": 0.4, "bacterial": 0.35, "viral": 0.25}
    point = {"rule": "most probable class", "threshold": None, "positive": None}
    page.route("**/metadata", lambda route: changed(route, classes=list(classes), prevalence=classes))
    page.route("**/predict", lambda route: changed(route, operating_point=point))
    page.goto(service)
    page.set_input_files("#file", image())
    page.wait_for_selector("#decision:visible")
    assert text(page, "#rule") == "The most probable class is reported."
    assert "Observed frequency of the most probable class" in text(page, "#observed")
    proportions = "40 % for normal, 35 % for bacterial, 25 % for viral"
    assert text(page, "#prevalence") == f"Assumes a prevalence of {proportions}."


def test_the_slider_blends_the_radiograph_and_the_map(page: Page, service: str) -> None:
    page.goto(service)
    page.set_input_files("#file", image())
    page.wait_for_selector("#heat:visible")
    page.focus("#alpha")
    page.keyboard.press("Home")
    plain = pixels(page, ".stack")
    assert (plain.max(axis=2) - plain.min(axis=2)).max() < 8  # grey
    page.keyboard.press("End")
    heat = pixels(page, ".stack")
    assert (heat.max(axis=2) - heat.min(axis=2)).max() > 100  # yellow where the map has its maximum


def test_a_late_answer_is_not_shown_over_the_next_image(page: Page, service: str) -> None:
    delayed: list[Route] = []
    page.route("**/explain*", lambda route: route.continue_() if delayed else delayed.append(route))
    page.goto(service)
    page.set_input_files("#file", image())
    page.wait_for_selector("#cases li:nth-child(5)")
    page.set_input_files("#file", image("black.png", encoded(np.zeros((40, 40), np.uint8), "PNG")))
    page.wait_for_selector("#heat:visible")
    with page.expect_response("**/explain*") as late:
        delayed[0].continue_()
    late.value.finished()
    page.wait_for_timeout(300)  # time for the page to show it
    page.focus("#alpha")
    page.keyboard.press("Home")
    assert pixels(page, ".stack")[8:-8, 8:-8].max() < 8  # the edge may be off by half a pixel
    assert page.is_visible("#heat")


def test_dicom_is_shown_too(page: Page, service: str) -> None:
    page.goto(service)
    page.set_input_files("#file", image("study.dcm", dicom_bytes(dicom(noise_images(1, 40)[0]))))
    page.wait_for_selector("#cases li")
    assert page.evaluate("document.getElementById('plain').naturalWidth") > 0


def test_of_several_files_the_classified_one_is_named(page: Page, service: str) -> None:
    page.goto(service)
    page.evaluate(
        """(content) => {
            const files = new DataTransfer();
            for (const name of ["first.png", "second.png", "third.png"])
                files.items.add(new File([new Uint8Array(content)], name));
            window.dispatchEvent(new DragEvent("drop", { dataTransfer: files }));
        }""",
        list(encoded(noise_images(1, 40)[0], "PNG")),
    )
    page.wait_for_selector("#decision:visible")
    others = "One file is classified at a time; not classified: second.png, third.png."
    assert page.inner_text("#chosen") == f"File: first.png. {others}"
    page.set_input_files("#file", image("notes.png", b"not an image"))
    expect(page.locator("#problem")).not_to_be_empty()
    assert page.inner_text("#chosen") == "File: notes.png"


def test_the_hash_of_the_model_is_short_until_it_is_opened(page: Page, service: str) -> None:
    page.goto(service)
    page.wait_for_selector("#model details")
    whole = page.evaluate("fetch('/metadata').then((answer) => answer.json())")["model_version"]
    short = page.inner_text("#model summary")
    assert len(short) < 60 < len(whole)
    assert whole.rpartition(":")[2].startswith(short.rpartition(":")[2].rstrip("…"))
    assert not page.locator("#model details span").is_visible()
    assert page.get_attribute("#model details", "title") == whole
    page.focus("#model summary")
    page.keyboard.press("Enter")
    assert page.inner_text("#model details span") == whole


def test_a_wrong_file_is_an_error_message_and_the_next_image_works(page: Page, service: str) -> None:
    page.goto(service)
    page.set_input_files("#file", image("notes.png", b"not an image"))
    expect(page.locator("#problem")).not_to_be_empty()
    assert "PNG, JPEG, DICOM, WebP, BMP or TIFF" in page.inner_text("#problem")
    assert not page.is_visible("#answer")
    page.set_input_files("#file", image())
    page.wait_for_selector("#decision:visible")
    assert page.inner_text("#problem") == ""


def test_the_file_input_has_keyboard_access_and_a_label(page: Page, service: str) -> None:
    page.goto(service)
    page.keyboard.press("Tab")
    expect(page.locator("#file")).to_be_focused()
    assert page.evaluate("document.activeElement.labels[0].innerText").startswith(
        "Drop a chest radiograph here"
    )
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files([image()])  # type: ignore[list-item]
    # The result gets the focus, so that a screen reader continues there.
    expect(page.locator("#answer-title")).to_be_focused()
    missing = "[...document.images].filter((image) => !image.hasAttribute('alt')).length"
    assert page.evaluate(missing) == 0
    assert page.evaluate("document.getElementById('status').getAttribute('aria-live')") == "polite"


def test_without_a_model_the_page_names_the_command(page: Page, tmp_path: Path) -> None:
    with serving(CXR_HOME=str(tmp_path)) as running:
        page.goto(running.address)
        expect(page.locator("#model-state")).not_to_be_empty()
        assert "dvc repro" in page.inner_text("#model-state")
        page.set_input_files("#file", image())
        expect(page.locator("#problem")).not_to_be_empty()
        assert "dvc repro" in page.inner_text("#problem")


def test_an_api_key_can_be_entered(page: Page, exported_run: Path) -> None:
    with serving(CXR_HOME=str(exported_run), CXR_API_KEY="secret") as running:
        page.goto(running.address)
        page.wait_for_selector("#key:visible")
        page.fill("#key", "secret")
        page.set_input_files("#file", image())
        page.wait_for_selector("#decision:visible")
        assert page.inner_text("#model dd >> nth=1") == "normal, pneumonia"
