"""`make plots-page`: write .dvc/plots_page.html, which draws the curves of `dvc plots` without a network.

DVC's own page loads Vega, Vega-Lite and Vega-Embed from a public server. vl-convert-python holds the three;
it is locked in uv.lock, and needed only here.
"""

import importlib.metadata
from pathlib import Path

TEMPLATE, PAGE = Path("scripts/plots_page.html"), Path(".dvc/plots_page.html")
# The last of major version 5, for which DVC's templates and those in .dvc/plots/ are written.
VEGA_LITE = "5.21"


def main() -> None:
    import vl_convert  # 84 MB that `make setup` does not install

    bundle = vl_convert.javascript_bundle(vl_version=VEGA_LITE)
    page = fill(TEMPLATE.read_text(encoding="utf-8"), bundle, importlib.metadata.version("vl-convert-python"))
    PAGE.write_text(page, encoding="utf-8", newline="\n")
    print(f"{PAGE}: {PAGE.stat().st_size / 1e6:.1f} MB")


def fill(template: str, bundle: str, version: str) -> str:
    """The page. Raises `ValueError` if a browser or DVC would take a part of the bundle for its own."""
    if clashes := [word for word in ("</script", "<!--", "{plot_divs}", "{refresh_tag}") if word in bundle]:
        raise ValueError(f"the bundle of Vega contains {clashes[0]}, which has a meaning in the page")
    return template.replace("[version]", version).replace("[bundle]", bundle)


if __name__ == "__main__":
    main()
