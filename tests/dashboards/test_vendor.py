"""The libraries in the page's folder are those that VENDOR.md names, and travel with their licences and the package."""

import hashlib
import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "dashboards" / "static"
LINE = re.compile(r"^\| ([\w.-]+\.js) \| ([\w-]+) \| ([\d.]+) \| `([0-9a-f]{64})` \|$", re.MULTILINE)


def test_each_library_is_byte_for_byte_the_one_that_is_written_down() -> None:
    told = {file: sha for file, _, _, sha in LINE.findall((STATIC / "vendor" / "VENDOR.md").read_text("utf-8"))}
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (STATIC / "vendor").glob("*.js")}
    assert told == found


def test_each_library_has_its_licence_beside_it_and_its_version_in_the_script() -> None:
    script = (STATIC / "vendor" / "refresh.sh").read_text("utf-8")
    for _, package, version, _ in LINE.findall((STATIC / "vendor" / "VENDOR.md").read_text("utf-8")):
        assert "Redistribution and use" in (STATIC / "vendor" / f"LICENSE-{package}.txt").read_text("utf-8")
        assert f"{package}@{version}" in script


def test_the_page_names_each_of_its_files_once_and_an_installed_package_has_them() -> None:
    page = (STATIC / "page.html").read_text("utf-8")
    scripts = re.findall(r'<script src="static/([\w./-]+)" defer></script>', page)
    there = {str(path.relative_to(STATIC)) for path in STATIC.rglob("*.js")}
    assert sorted(scripts) == sorted(there)
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-data"][
        "dashboards"
    ]
    for name in [*scripts, "page.html", "page.css"]:
        assert any(
            fnmatch(f"static/{name}", each) and each.count("/") == f"static/{name}".count("/") for each in patterns
        )


def test_our_scripts_never_read_text_as_html_or_as_code() -> None:
    for path in STATIC.glob("*.js"):
        text = path.read_text("utf-8")
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|\.srcdoc", text
        )
        assert "https://" not in text.replace("https://vega.github.io/schema/", "")
