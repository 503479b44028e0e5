"""What of the app needs no compiler: its Xcode project, its strings, its privacy manifest."""

from __future__ import annotations

import plistlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

APP = Path(__file__).parents[2] / "ios_demo/App"
SOURCES = APP / "DvtEdgeDemo"
TOKEN = re.compile(r'\s+|//[^\n]*|/\*.*?\*/|"(?:[^"\\]|\\.)*"|[{}()=;,]|[\w./$-]+', re.DOTALL)
LINE = re.compile(r'"((?:[^"\\]|\\.)*)" = "((?:[^"\\]|\\.)*)";')


def parsed(text: str) -> Any:
    """An OpenStep property list, whole: dictionaries, lists and strings."""
    tokens: list[str] = []
    at = 0
    while at < len(text):
        found = TOKEN.match(text, at)
        assert found, f"unreadable at byte {at}: {text[at : at + 20]!r}"
        at = found.end()
        if not found[0].isspace() and not found[0].startswith(("//", "/*")):
            tokens.append(found[0])
    stream = iter(tokens)
    value = value_of(next(stream), stream)
    assert next(stream, None) is None
    return value


def value_of(token: str, rest: Iterator[str]) -> Any:
    if token == "{":
        entries: dict[str, Any] = {}
        while (key := next(rest)) != "}":
            assert next(rest) == "="
            assert key not in entries, f"{key} stands twice"
            entries[key] = value_of(next(rest), rest)
            assert next(rest) == ";"
        return entries
    if token == "(":
        items = []
        while (item := next(rest)) != ")":
            items.append(value_of(item, rest))
            assert next(rest) == ","
        return items
    assert token not in "}()=;,"
    return token.strip('"')


def test_every_reference_of_the_project_is_there() -> None:
    project = parsed((APP / "DvtEdgeDemo.xcodeproj/project.pbxproj").read_text())
    objects = project["objects"]
    assert objects[project["rootObject"]]["isa"] == "PBXProject"
    products = re.findall(r'\.library\(name: "(\w+)"', (APP.parent / "Package.swift").read_text())
    used = {project["rootObject"]}
    for entry in objects.values():
        for value in entry.values():
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, str) and re.fullmatch(r"[0-9A-F]{24}", item):
                    assert item in objects, item
                    used.add(item)
        if entry["isa"] == "PBXFileSystemSynchronizedRootGroup":
            assert (APP / entry["path"]).is_dir()
        if entry["isa"] == "XCLocalSwiftPackageReference":
            assert (APP / entry["relativePath"] / "Package.swift").is_file()
        if entry["isa"] == "XCSwiftPackageProductDependency":
            assert entry["productName"] in products
        assert entry["isa"] != "PBXFileReference" or entry["sourceTree"] == "BUILT_PRODUCTS_DIR"
    assert used == objects.keys()


def test_logs_lie_in_files() -> None:
    """Files asks for both keys. The plist that has them is merged with the generated one, and is no resource itself."""
    project = parsed((APP / "DvtEdgeDemo.xcodeproj/project.pbxproj").read_text())
    settings = [entry["buildSettings"] for entry in project["objects"].values() if "buildSettings" in entry]
    apps = [found for found in settings if found.get("GENERATE_INFOPLIST_FILE") == "YES"]
    assert len(apps) == 2
    for app in apps:
        path = APP / app["INFOPLIST_FILE"]
        assert SOURCES not in path.parents
        with path.open("rb") as file:
            assert plistlib.load(file) == {"UIFileSharingEnabled": True, "LSSupportsOpeningDocumentsInPlace": True}
        assert "INFOPLIST_KEY_UIFileSharingEnabled" not in app  # Xcode passes it over


def test_the_apps_are_of_one_version() -> None:
    """Android's is the other; logs say it."""
    gradle = (APP.parents[1] / "android_demo/app/build.gradle.kts").read_text()
    project = (APP / "DvtEdgeDemo.xcodeproj/project.pbxproj").read_text()
    versions = re.findall(r"MARKETING_VERSION = (.+);", project)
    assert len(versions) == 2 and set(versions) == set(re.findall(r'versionName = "(.+)"', gradle))
    assert not re.search(r'"dvt-edge demo \d', (SOURCES / "DvtEdgeDemoApp.swift").read_text())


def strings(language: str) -> dict[str, str]:
    text = (SOURCES / f"{language}.lproj/Localizable.strings").read_text()
    pairs = [found.groups() for found in map(LINE.fullmatch, text.splitlines()) if found]
    assert len(pairs) == len(text.splitlines()) == len(dict(pairs))
    return dict(pairs)


def test_strings_are_the_same_in_both_languages() -> None:
    english, chinese = strings("en"), strings("zh-Hans")
    assert english.keys() == chinese.keys()
    for key, words in english.items():
        assert words and chinese[key]
        assert sorted(re.findall(r"%\d\$\w+", words)) == sorted(re.findall(r"%\d\$\w+", chinese[key]))


def test_every_string_of_the_views_is_there_and_no_other() -> None:
    code = "\n".join(path.read_text() for path in SOURCES.glob("*.swift"))
    views = "Text|Button|Row|Section|Picker|Toggle|Label|ProgressView|ShareLink|PhotosPicker|navigationTitle|localized:"
    shown = set(re.findall(rf'(?:{views})\(?\s*"([^"]+)"', code))
    for choice in re.findall(r'(?:Text\(|Row\(|localized: )[^"?\n]+ \? "([^"]+)" : "([^"]+)"', code):
        shown |= set(choice)
    shown = {re.sub(r"\\\(\w+\)", "%lld", key) for key in shown}
    assert shown == strings("en").keys()


def test_states_are_shown_in_the_users_language() -> None:
    for path in SOURCES.glob("*Screen.swift"):
        assert "rawValue" not in path.read_text(), path


def test_the_privacy_manifest_says_that_nothing_leaves() -> None:
    with (SOURCES / "PrivacyInfo.xcprivacy").open("rb") as file:
        manifest = plistlib.load(file)
    assert manifest["NSPrivacyTracking"] is False
    assert manifest["NSPrivacyTrackingDomains"] == manifest["NSPrivacyCollectedDataTypes"] == []
    used = manifest["NSPrivacyAccessedAPITypes"]
    reasons = {entry["NSPrivacyAccessedAPIType"]: entry["NSPrivacyAccessedAPITypeReasons"] for entry in used}
    assert reasons == {
        "NSPrivacyAccessedAPICategoryFileTimestamp": ["C617.1", "3B52.1"],  # the app's own files; picked ones
        "NSPrivacyAccessedAPICategorySystemBootTime": ["35F9.1"],
    }


def test_the_guide_names_the_bundle_that_is_exported() -> None:
    root = APP.parents[1]
    place = re.search(r'RESOURCE = .* / "([^"]+)"', (root / "export_scripts/export_ios.py").read_text())
    assert place and f"dvt-edge validate {place[1]} " in (APP.parent / "README.md").read_text()


def test_no_source_reaches_for_the_network() -> None:
    for path in (*SOURCES.glob("*.swift"), *APP.parent.glob("Sources/**/*.swift")):
        assert not re.search(r"URLSession|NWConnection|import Network|https?://", path.read_text()), path
