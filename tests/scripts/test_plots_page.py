"""The page of `dvc plots` draws its curves without a network, and is what the locked package writes."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import plots_page
from tests.builders import ROOT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PAGE = ROOT / plots_page.PAGE


def locked_version() -> str:
    (found,) = re.findall(r'name = "vl-convert-python"\nversion = "(.+)"', (ROOT / "uv.lock").read_text())
    return found


def test_the_page_is_of_the_locked_version_and_of_the_template() -> None:
    page = PAGE.read_text(encoding="utf-8")
    head, tail = plots_page.fill((ROOT / plots_page.TEMPLATE).read_text(), "\0", locked_version()).split("\0")
    if not (page.startswith(head) and page.endswith(tail)):
        pytest.fail(f"{plots_page.PAGE} is outdated; run `make plots-page`", pytrace=False)
    assert "vegaEmbed=" in page[len(head) : -len(tail)]


@pytest.mark.parametrize("word", ["</script", "<!--", "{plot_divs}", "{refresh_tag}"])
def test_a_bundle_that_would_break_the_page_is_an_error(word: str) -> None:
    with pytest.raises(ValueError, match=re.escape(word)):
        plots_page.fill("[bundle]", f"a {word} b", "1")


@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium: apt-get install chromium")
def test_curves_are_drawn_with_every_request_blocked(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    for command in (["git", "init", "--quiet"], [sys.executable, "-m", "dvc", "init", "--quiet"]):
        subprocess.run(command, cwd=tmp_path, check=True)
    for name in ("config", "plots_page.html"):
        shutil.copy(ROOT / ".dvc" / name, tmp_path / ".dvc" / name)
    (tmp_path / "curve.csv").write_text("epoch,loss\n1,0.9\n2,0.5\n3,0.4\n")
    (tmp_path / "dvc.yaml").write_text("plots:\n- curve.csv:\n    x: epoch\n    y: loss\n")
    command = [sys.executable, "-m", "dvc", "plots", "show", "--quiet"]
    subprocess.run(command, cwd=tmp_path, check=True)

    requests, errors = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_context(offline=True).new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((tmp_path / "dvc_plots/index.html").as_uri())
        page.wait_for_selector("canvas.marks, svg.marks")
        browser.close()
    assert errors == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
