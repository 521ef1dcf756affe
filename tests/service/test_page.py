"""The page in Chromium: predictions, a list of files, errors, a missing model as a user sees them."""

import csv
import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from benchmarks.broken_images import encoded
from cxr.inference.onnx_session import OnnxModel
from scripts.running_service import serving
from tests.builders import dicom, dicom_bytes, make_export_unlike, noise_images

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Chromium's sandbox needs rights that a container does not have; the other flags keep it off the network.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
PHONE = {"width": 320, "height": 640}  # what WCAG 2.2, 1.4.10 asks for

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
    posts: list[str] = []
    page.on("request", lambda request: posts.append(request.url) if request.method == "POST" else None)
    page.on("pageerror", lambda error: seen.append(f"error {error}"))
    page.goto(service)
    with page.expect_response("**/analyse") as response:
        page.set_input_files("#file", image())
    answer = response.value.json()["prediction"]
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
    assert not page.is_visible("#files")
    assert posts == [f"{service}/analyse"]
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
    def changed(route: Route, part: str | None = None, **changes: object) -> None:
        answer = route.fetch()
        whole = answer.json()
        (whole[part] if part else whole).update(changes)
        route.fulfill(response=answer, json=whole)

    classes = {"normal": 0.4, "bacterial": 0.35, "viral": 0.25}
    point = {"rule": "most probable class", "threshold": None, "positive": None}
    page.route("**/metadata", lambda route: changed(route, classes=list(classes), prevalence=classes))
    page.route("**/analyse", lambda route: changed(route, "prediction", operating_point=point))
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
    plain = pixels(page, "#stack")
    assert (plain.max(axis=2) - plain.min(axis=2)).max() < 8  # grey
    page.keyboard.press("End")
    heat = pixels(page, "#stack")
    assert (heat.max(axis=2) - heat.min(axis=2)).max() > 100  # yellow where the map has its maximum


def test_the_radiograph_is_enlarged_and_put_back(page: Page, service: str) -> None:
    page.set_viewport_size({"width": 1000, "height": 800})
    page.goto(service)
    page.set_input_files("#file", image())
    page.wait_for_selector("#heat:visible")
    before = page.locator("#stack").bounding_box()
    page.focus("#enlarge")
    page.keyboard.press("Enter")
    expect(page.locator("#large")).to_be_visible()
    large = page.locator("#stack").bounding_box()
    assert before
    assert large
    assert before["width"] < large["width"] == large["height"] <= 800
    page.keyboard.press("Escape")
    expect(page.locator("#large")).to_be_hidden()
    expect(page.locator("#stack")).to_be_visible()  # the dialog closes before it gives the radiograph back
    after = page.locator("#stack").bounding_box()
    assert after
    assert [after[key] for key in ("x", "width", "height")] == [
        before[key] for key in ("x", "width", "height")
    ]
    expect(page.locator("#enlarge")).to_be_focused()


def test_a_similar_case_is_enlarged(page: Page, service: str) -> None:
    page.set_viewport_size({"width": 1000, "height": 800})
    page.goto(service)
    page.set_input_files("#file", image())
    page.wait_for_selector("#cases li:nth-child(5)")
    name = page.get_attribute("#cases li:nth-child(2) img", "alt")
    page.focus("#cases li:nth-child(2) button")
    page.keyboard.press("Enter")
    expect(page.locator("#large-title")).to_have_text(re.compile(rf"^{name}: 16...16 pixels$"))
    small, large = (
        page.locator(part).bounding_box() for part in ("#cases li:nth-child(2) img", "#large .case")
    )
    assert small
    assert large
    assert 3 * small["width"] < large["width"] == large["height"] <= 800
    page.keyboard.press("Escape")
    expect(page.locator(".case")).to_have_count(0)
    page.focus("#enlarge")
    page.keyboard.press("Enter")  # the radiograph still has its own place
    expect(page.locator("#large #stack")).to_be_visible()


def test_a_window_changes_what_is_shown_as_its_formula_says(page: Page, service: str) -> None:
    page.goto(service)
    levels = np.repeat(np.arange(0, 250, 50, dtype=np.uint8)[None], 40, axis=0).repeat(8, axis=1)
    page.set_input_files("#file", image(content=encoded(levels, "PNG")))
    page.wait_for_selector("#heat:visible")
    page.evaluate("document.getElementById('heat').style.opacity = 0")

    def shown() -> np.ndarray:
        """The five grey levels, each in the middle of its column."""
        row = pixels(page, "#stack")[:, :, 0]
        return row[len(row) // 2, np.linspace(0, row.shape[1], 11)[1::2].astype(int)]

    np.testing.assert_allclose(shown(), np.arange(0, 250, 50), atol=2)
    page.click("#window summary")
    for field, value in (("centre", 120), ("width", 100)):
        page.locator(f"#{field}").fill(str(value))
    np.testing.assert_allclose(shown(), [0, 0, 0.3 * 255, 0.8 * 255, 255], atol=3)
    page.set_input_files("#file", image(content=encoded(levels, "PNG")))
    expect(page.locator("#width")).to_have_value("255")  # each file starts with its own


def test_what_the_classifier_gets_is_shown_beside_it(page: Page, service: str) -> None:
    page.goto(service)
    page.set_input_files("#file", image())
    page.wait_for_selector("#seen:visible")
    assert page.evaluate("document.getElementById('seen').naturalWidth") == 16
    assert re.search("16 . 16 pixels", text(page, "#input"))


def test_a_late_answer_is_not_shown_over_the_next_image(page: Page, service: str) -> None:
    delayed: list[Route] = []
    page.route("**/analyse", lambda route: route.continue_() if delayed else delayed.append(route))
    page.goto(service)
    page.set_input_files("#file", image())
    expect(page.locator("#status")).to_have_text("Classifying …")
    page.set_input_files("#file", image("black.png", encoded(np.zeros((40, 40), np.uint8), "PNG")))
    page.wait_for_selector("#heat:visible")
    with page.expect_response("**/analyse") as late:
        delayed[0].continue_()
    late.value.finished()
    page.wait_for_timeout(300)  # time for the page to show it
    page.focus("#alpha")
    page.keyboard.press("Home")
    assert pixels(page, "#stack")[8:-8, 8:-8].max() < 8  # the edge may be off by half a pixel
    assert page.inner_text("#chosen") == "File: black.png"


def test_dicom_is_shown_too(page: Page, service: str) -> None:
    page.goto(service)
    page.set_input_files("#file", image("study.dcm", dicom_bytes(dicom(noise_images(1, 40)[0]))))
    page.wait_for_selector("#cases li")
    assert page.evaluate("document.getElementById('plain').naturalWidth") > 0


def several(page: Page, address: str) -> dict[str, dict[str, Any]]:
    """Have three images and a file that is none classified; the answers by name, the error's is empty."""
    contents = {
        f"image{number}.png": encoded(noise_images(1, 40, seed=number)[0], "PNG") for number in (10, 9)
    }
    sent = {"=a,b.png": contents["image9.png"], **contents, "notes.png": b"not an image"}
    page.goto(address)
    posts: list[str] = []
    page.on("request", lambda request: posts.append(request.url) if request.method == "POST" else None)
    page.set_input_files("#file", [image(name, content) for name, content in sent.items()])
    expect(page.locator("#status")).to_have_text("3 of 4 files classified.")
    assert posts == [f"{address}/analyse"] * 4
    answers = {}
    for name, content in sent.items():
        answer = httpx.post(f"{address}/predict", files={"file": content})
        answers[name] = answer.json() if answer.status_code == 200 else {}
    return answers


def names(page: Page) -> list[str]:
    return page.locator("#rows th").all_inner_texts()


def test_several_files_are_a_list_that_can_be_sorted(page: Page, service: str) -> None:
    answers = several(page, service)
    assert names(page) == list(answers)
    for name, row in zip(answers, page.locator("#rows tr").all(), strict=True):
        if not answers[name]:
            assert "not a PNG, JPEG" in row.inner_text()
            continue
        confidence = {item["label"]: item["confidence"] for item in answers[name]["predictions"]}
        decision, probability, typicality = row.locator("td").all_inner_texts()
        assert decision == answers[name]["decision"]
        assert probability == f"{100 * confidence['pneumonia']:.1f} %"
        assert typicality == f"{answers[name]['typicality']:.3f}"
    page.click("[data-key=name]")
    assert names(page) == ["=a,b.png", "image9.png", "image10.png", "notes.png"]  # 9 before 10
    page.keyboard.press("Enter")  # the focus stayed on the button
    assert names(page) == ["notes.png", "image10.png", "image9.png", "=a,b.png"]
    assert page.get_attribute("#files th >> nth=0", "aria-sort") == "descending"
    page.click("[data-key=typicality]")
    typical = [name for name, answer in answers.items() if answer]
    typical.sort(key=lambda name: answers[name]["typicality"])
    assert names(page) == [*typical, "notes.png"]  # what has no value is last, in either order
    assert page.get_attribute("#files th >> nth=0", "aria-sort") is None
    page.click("[data-key=typicality]")
    assert names(page)[-1] == "notes.png"
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_a_row_of_the_list_shows_its_result_by_keyboard(page: Page, service: str) -> None:
    answers = several(page, service)
    assert page.inner_text("#answer-title") == "Result: =a,b.png"
    page.focus("#rows tr:nth-child(2) button")
    page.keyboard.press("Enter")
    expect(page.locator("#answer-title")).to_be_focused()
    assert page.inner_text("#answer-title") == "Result: image10.png"
    assert page.inner_text("#decision") == f"Decision: {answers['image10.png']['decision']}"
    assert page.locator("#rows [aria-current]").all_inner_texts() == ["image10.png"]


def test_the_list_is_saved_as_csv(page: Page, service: str, tmp_path: Path) -> None:
    answers = several(page, service)
    with page.expect_download() as download:
        page.click("#save")
    assert download.value.suggested_filename == "cxr.csv"
    download.value.save_as(tmp_path / "cxr.csv")
    with (tmp_path / "cxr.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    # A spreadsheet would take a name that starts with = for a formula.
    assert [row["file"] for row in rows] == [name.replace("=", "'=") for name in answers]
    for row, answer in zip(rows, answers.values(), strict=True):
        if not answer:
            assert (row["decision"], row["p_normal"]) == ("", "")
            assert "not a PNG, JPEG" in row["problem"]
            continue
        for item in answer["predictions"]:
            assert float(row[f"p_{item['label']}"]) == item["confidence"]
        assert float(row["typicality"]) == answer["typicality"]
        assert (row["decision"], row["unlike"], row["problem"]) == (answer["decision"], "false", "")
        assert row["model_sha256"] == answer["model_sha256"]


def test_dropped_files_are_classified(page: Page, service: str) -> None:
    page.goto(service)
    page.evaluate(
        """(content) => {
            const files = new DataTransfer();
            for (const name of ["first.png", "second.png"])
                files.items.add(new File([new Uint8Array(content)], name));
            window.dispatchEvent(new DragEvent("drop", { dataTransfer: files }));
        }""",
        list(encoded(noise_images(1, 40)[0], "PNG")),
    )
    expect(page.locator("#status")).to_have_text("2 of 2 files classified.")
    assert names(page) == ["first.png", "second.png"]
    page.set_input_files("#file", image("notes.png", b"not an image"))
    expect(page.locator("#problem")).not_to_be_empty()
    assert page.inner_text("#chosen") == "File: notes.png"
    assert not page.is_visible("#files")


def test_a_service_at_capacity_is_asked_again(page: Page, service: str) -> None:
    busy = {"status": 503, "content_type": "application/problem+json", "json": {"detail": "Full."}}
    seen: list[Route] = []

    def answer(route: Route) -> None:
        seen.append(route)
        if len(seen) == 1:
            route.fulfill(headers={"Retry-After": "1"}, **busy)  # type: ignore[arg-type]
        else:
            route.continue_()

    page.route("**/analyse", answer)
    page.goto(service)
    page.set_input_files("#file", image())
    page.wait_for_selector("#decision:visible")
    assert len(seen) == 2


def test_a_server_that_is_gone_ends_the_list(page: Page, service: str) -> None:
    seen: list[Route] = []

    def answer(route: Route) -> None:
        seen.append(route)
        if len(seen) == 1:
            route.continue_()
        else:
            route.abort()

    page.route("**/analyse", answer)
    page.goto(service)
    page.set_input_files("#file", [image(f"{number}.png") for number in range(4)])
    expect(page.locator("#problem")).to_have_text("The server cannot be reached.")
    assert len(seen) == 2
    assert page.locator("#rows td[colspan]").all_inner_texts() == ["not classified"] * 3
    assert page.is_enabled("#save")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_against_wcag(
    page: Page, exported_run: Path, tmp_path: Path, scheme: Literal["light", "dark"]
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}

    def check() -> None:
        result = axe.run(page, options=rules).response
        found = [(rule["id"], node["html"]) for rule in result["violations"] for node in rule["nodes"]]
        assert found == []
        assert len(result["passes"]) > 20

    page.emulate_media(color_scheme=scheme)
    shutil.copytree(exported_run, tmp_path, dirs_exist_ok=True)
    make_export_unlike(tmp_path)
    with serving(CXR_HOME=str(tmp_path), CXR_API_KEY="secret") as running:
        page.goto(running.address)
        page.wait_for_selector("#key:visible")
        check()
        page.fill("#key", "secret")
        page.set_input_files("#file", image("notes.png", b"not an image"))
        expect(page.locator("#problem")).not_to_be_empty()
        check()
        page.set_input_files("#file", [image(), image("notes.png", b"no image"), image("other.png")])
        expect(page.locator("#status")).to_have_text("2 of 3 files classified.")
        assert "unlike the training images" in page.inner_text("#rows tr:first-child")
        page.click("[data-key=typicality]")
        for width in (PHONE["width"], 1200):
            page.set_viewport_size({"width": width, "height": 900})
            check()
        page.goto(f"{running.address}/docs")
        page.wait_for_selector("#endpoints section")
        check()


def luminance(page: Page) -> float:
    return float(np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("L")).mean())


def test_the_page_follows_the_colour_scheme(page: Page, service: str) -> None:
    page.goto(service)
    page.emulate_media(color_scheme="light")
    light = luminance(page)
    page.emulate_media(color_scheme="dark")
    assert luminance(page) < 80 < 180 < light


def test_the_card_is_linked_and_needs_the_key(page: Page, exported_run: Path, tmp_path: Path) -> None:
    shutil.copytree(exported_run, tmp_path, dirs_exist_ok=True)
    sha256 = OnnxModel((tmp_path / "models/classifier.onnx").read_bytes(), 1).facts.classifier_sha256
    (tmp_path / "reports").mkdir(exist_ok=True)
    (tmp_path / "reports/model_card.md").write_text(f"# Model card of {sha256}")
    with serving(CXR_HOME=str(tmp_path), CXR_API_KEY="secret") as running:
        page.goto(running.address)
        page.wait_for_selector("#key:visible")
        page.fill("#key", "secret")
        with page.expect_popup() as opened:
            page.click("#card")
        expect(opened.value.locator("body")).to_have_text(f"# Model card of {sha256}")
        opened.value.close()


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
    page.on("filechooser", lambda _: None)  # from now on, and not while the key is being pressed
    page.goto(service)
    page.keyboard.press("Tab")
    expect(page.locator("#file")).to_be_focused()
    assert page.evaluate("document.activeElement.labels[0].innerText").startswith(
        "Drop chest radiographs here"
    )
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files([image()])  # type: ignore[list-item]
    # The result gets the focus, so that a screen reader continues there.
    expect(page.locator("#answer-title")).to_be_focused()
    missing = "[...document.images].filter((image) => !image.hasAttribute('alt')).length"
    assert page.evaluate(missing) == 0
    assert page.get_attribute("#status", "role") == "status"


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
