"""One version of each dependency in the two builds of the Android demo, and the SDK levels that it says."""

from __future__ import annotations

import re
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

DEMO = Path(__file__).parents[2] / "android_demo"
POM = "{http://maven.apache.org/POM/4.0.0}"


def test_maven_and_gradle_name_the_same_versions() -> None:
    properties = ElementTree.parse(DEMO / "pom.xml").getroot().find(f"{POM}properties")
    assert properties is not None
    maven = {p.tag.removeprefix(POM): p.text for p in properties}
    catalogue = tomllib.loads((DEMO / "gradle/libs.versions.toml").read_text())["versions"]
    for name in ("kotlin", "serialization", "onnxruntime"):
        assert catalogue[name] == maven[f"{name}.version"]
    runner = (DEMO / "app/src/main/kotlin/dvtedge/demo/ExecuTorchStageRunner.kt").read_text()
    assert f'EXECUTORCH = "executorch-android {catalogue["executorch"]}"' in runner
    assert maven["api.signature"] == f"gummy-bears-api-{catalogue['minSdk']}"
    assert f"--min-sdk-version {catalogue['minSdk']} " in (DEMO / "app/pom.xml").read_text()


def test_the_app_and_the_core_are_of_one_version() -> None:
    poms = [ElementTree.parse(path).getroot() for path in (DEMO / "pom.xml", *DEMO.glob("*/pom.xml"))]
    own = [pom.findtext(path) for pom in poms for path in (f"{POM}version", f"{POM}parent/{POM}version")]
    versions = {version for version in own if version is not None}
    gradle = re.findall(r'versionName = "(.+)"', (DEMO / "app/build.gradle.kts").read_text())
    app = re.findall(r'VERSION = "(.+)"', (DEMO / "app/src/main/kotlin/dvtedge/demo/Logs.kt").read_text())
    assert versions == set(gradle) == set(app) == {"0.2.0"}


def test_both_languages_have_the_same_strings() -> None:
    """Each string in English and Chinese, with the same places for values."""
    found = []
    for folder in ("values", "values-zh"):
        root = ElementTree.parse(DEMO / f"app/src/main/res/{folder}/strings.xml").getroot()
        found.append({s.get("name"): sorted(re.findall(r"%\d\$[.\d]*[a-z]", s.text or "")) for s in root})
    assert found[0] == found[1] and len(found[0]) > 50


def test_every_picture_of_the_readme_is_there_and_no_other() -> None:
    """`make screenshots` draws those that are in the folder."""
    shown = re.findall(r"\(screenshots/(.+?)\)", (DEMO / "README.md").read_text())
    assert sorted(shown) == sorted(path.name for path in (DEMO / "screenshots").iterdir())


def test_the_readmes_example_is_what_a_test_runs() -> None:
    example = (DEMO / "README.md").read_text().split("```kotlin\n")[1].split("```")[0]
    test = (DEMO / "core/src/test/kotlin/dvtedge/device/ReadmeTest.kt").read_text()
    assert "".join(f"        {line}\n" for line in example.splitlines()) in test


def test_the_wrapper_is_made_of_the_pinned_gradle() -> None:
    """`gradle wrapper` alone would pin the version of whoever runs it."""
    pinned = re.findall(r"gradle-(.+)-bin", (DEMO / "gradle/wrapper/gradle-wrapper.properties").read_text())
    assert re.findall(r"gradle wrapper --gradle-version (\S+)", (DEMO / "README.md").read_text()) == pinned
    assert "android.useAndroidX=true" in (DEMO / "gradle.properties").read_text().splitlines()


def test_the_theme_of_old_androids_is_one_that_they_have() -> None:
    """DayNight is of API 29; before that an app that names it does not start."""
    themes = {}
    for folder in (DEMO / "app/src/main/res").glob("values*"):
        if (file := folder / "styles.xml").is_file():
            themes[folder.name] = [style.get("parent") for style in ElementTree.parse(file).getroot()]
    base = "@android:style/Theme.DeviceDefault"
    assert themes == {"values": [f"{base}.Light"], "values-v29": [f"{base}.DayNight"]}
