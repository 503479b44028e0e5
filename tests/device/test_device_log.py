"""docs/device-log.md: the bytes that are written, and what a reader does with each thing that can go wrong."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.log_fuzzer import fuzz_logs
from support.made_up_phone import HEADER

from dvt_edge.device.device_log import (
    MAX_LINE,
    ErrorRecord,
    ImageRecord,
    LogHeader,
    LogWriter,
    Record,
    StateRecord,
    decimals,
    encode,
)
from dvt_edge.device.log_reader import WINDOW, LogReader
from dvt_edge.errors import SchemaError
from dvt_edge.validation.golden import record_of

ROOT = Path(__file__).parents[2]
GOLDEN = json.loads((ROOT / "tests/golden/device_log.json").read_text())
IMAGE = ImageRecord(
    seq=0,
    time_s=1.5,
    id="7",
    pixels_sha256="d" * 64,
    exit=1,
    label=1,
    label_name="cat",
    confidence=(0.25, 0.75),
    stage_ms=(1.0, 2.0),
    preprocess_ms=0.5,
    total_ms=4.0,
    point="balanced",
    degraded=False,
    uncertified=True,
    logits=(np.array([0, 1], np.float32), np.array([1, 2], np.float32)),
)


def states(count: int) -> list[Record]:
    return [StateRecord(k, float(k), "state", True, False) for k in range(count)]


def lines_of(records: list[Record], header: LogHeader = HEADER) -> list[bytes]:
    return [encode(header), *map(encode, records)]


def written(path: Path, lines: list[bytes]) -> LogReader:
    path.write_bytes(b"".join(lines))
    return LogReader(path)


# -- bytes -------------------------------------------------------------------------------------------------------------


def test_the_golden_log_reads_as_what_was_written() -> None:
    """And written again gives the same bytes."""
    path = ROOT / "tests/golden/device_log.jsonl"
    reader = LogReader(path)
    records = list(reader)
    assert reader.notes.words() == []
    assert b"".join([encode(reader.header), *map(encode, records)]) == path.read_bytes()
    given = [record_of(k, value) for k, value in enumerate(GOLDEN["records"])]
    assert [type(r) for r in records] == [type(r) for r in given]
    for mine, theirs in zip(records, given, strict=True):
        if isinstance(mine, ImageRecord):
            assert isinstance(theirs, ImageRecord)
            for a, b in zip((*mine.logits, *mine.top5), (*theirs.logits, *theirs.top5), strict=True):
                assert np.array_equal(a, b, equal_nan=True)
            assert mine.confidence == pytest.approx(theirs.confidence, abs=1e-9, nan_ok=True)
    assert {r.event for r in records} == {"image", "idle", "state", "error"}


@given(st.floats(allow_nan=False, allow_infinity=False, width=64), st.integers(0, 9))
def test_numbers_are_the_exact_value_rounded_half_to_even(value: float, places: int) -> None:
    """Against decimal arithmetic on the exact value, as Java's BigDecimal does it."""
    from decimal import ROUND_HALF_EVEN, Context, Decimal

    text = decimals(places).write(value)
    exact = Decimal(value).quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN, Context(prec=400, Emax=999))
    assert Decimal(text) == exact
    assert not (text.startswith("-") and exact == 0) and len(text.partition(".")[2]) == places


@given(st.text())
def test_strings_come_back(text: str) -> None:
    record = ErrorRecord(0, 0.0, "x", text)
    if any("\ud800" <= c <= "\udfff" for c in text):
        with pytest.raises(ValueError):
            encode(record)
        return
    line = encode(record)
    assert line.count(b"\n") == 1 and json.loads(line)["message"] == text


@given(st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), min_size=2, max_size=2))
def test_logits_come_back_bit_for_bit(tmp_path_factory: pytest.TempPathFactory, row: list[float]) -> None:
    logits = np.array(row, np.float32)
    record = dataclasses.replace(IMAGE, logits=(logits, logits))
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    (found,) = written(path, lines_of([record]))
    assert isinstance(found, ImageRecord)
    for array in found.logits:
        same = array.view(np.uint32) == logits.view(np.uint32)
        assert (same | (np.isnan(logits) & (array.view(np.uint32) == 0x7FC00000))).all()


@pytest.mark.parametrize(
    "record",
    [
        dataclasses.replace(IMAGE, total_ms=math.nan),
        dataclasses.replace(IMAGE, total_ms=math.inf),
        dataclasses.replace(IMAGE, label_name="\ud800"),
        dataclasses.replace(IMAGE, why="x" * MAX_LINE),
        StateRecord(0, 0.0, "state", True, False, current_ua=0.5),
    ],
)
def test_what_has_no_place_in_a_log_is_not_written(record: Record) -> None:
    with pytest.raises((ValueError, TypeError)):
        encode(record)


def test_a_writer_numbers_flushes_and_never_overwrites(tmp_path: Path) -> None:
    header = dataclasses.replace(HEADER, pixels="log.pixels")
    path = tmp_path / "log.jsonl"
    with LogWriter(path, header) as log:
        pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
        for k in range(2):
            number = log.write_pixels(pixels)
            log.write(dataclasses.replace(IMAGE, pixels=number, seq=99))
            assert len(list(LogReader(path))) == k + 1  # without close: a crash would keep it
            assert (tmp_path / "log.pixels").read_bytes() == pixels.tobytes() * (k + 1)
        assert [r.seq for r in LogReader(path)] == [0, 1]
    with pytest.raises(FileExistsError):
        LogWriter(path, header)
    with LogWriter(tmp_path / "other.jsonl", HEADER) as log:
        assert log.write_pixels(pixels) is None


@pytest.mark.parametrize("broken", ["header", "pixels", "long"])
def test_a_log_that_cannot_be_begun_leaves_nothing(tmp_path: Path, broken: str) -> None:
    """So that the next try may take the name; a file that was there before stays as it was."""
    path, kept = tmp_path / "log.jsonl", tmp_path / "log.pixels"
    header = dataclasses.replace(HEADER, pixels="log.pixels")
    if broken == "pixels":
        kept.write_bytes(b"mine")
    bad = {"header": {"device": "\udcff"}, "long": {"os": "x" * MAX_LINE}, "pixels": {}}[broken]
    with pytest.raises((ValueError, FileExistsError)):
        LogWriter(path, dataclasses.replace(header, **bad))
    assert [p.read_bytes() for p in tmp_path.iterdir()] == ([b"mine"] if broken == "pixels" else [])
    kept.unlink(missing_ok=True)
    with LogWriter(path, header):
        assert kept.exists()


def test_a_log_that_shares_its_name_with_the_pixels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError):
        LogWriter(tmp_path / "log.jsonl", dataclasses.replace(HEADER, pixels="log.jsonl"))
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full stands for a full disk")
def test_a_log_whose_header_finds_no_room_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open

    def full(self: Path, mode: str = "r") -> Any:
        real(self, mode).close()
        return open("/dev/full", "wb")  # noqa: PTH123

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="No space"):
        LogWriter(tmp_path / "log.jsonl", dataclasses.replace(HEADER, pixels="log.pixels"))
    assert not list(tmp_path.iterdir())


# -- what goes wrong, row by row ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 2, 20])
def test_a_torn_last_line_is_left_out_and_said(tmp_path: Path, cut: int) -> None:
    """Cut by one byte it is whole JSON, and torn all the same: a record is what ends with a line's end."""
    lines = lines_of(states(5))
    reader = written(tmp_path / "log.jsonl", [*lines[:-1], lines[-1][:-cut]])
    assert [r.seq for r in reader] == [0, 1, 2, 3]
    assert reader.notes.words() == ["the last line is torn and left out"]


def test_a_record_twice_counts_once_and_another_of_its_seq_is_refused(tmp_path: Path) -> None:
    lines = lines_of(states(6000))
    reader = written(tmp_path / "log.jsonl", [*lines[:9], *lines[5:8], *lines[9:]])
    assert [r.seq for r in reader] == list(range(6000))
    assert reader.notes.words() == ["3 records stand there twice and count once"]
    other = encode(StateRecord(4, 4.0, "idle", True, False))
    with pytest.raises(SchemaError, match=r"log\.jsonl:10: another record of seq 4 stands before"):
        list(written(tmp_path / "log.jsonl", [*lines[:9], other, *lines[9:]]))
    for line in (lines[5], other):
        with pytest.raises(SchemaError, match=r":6002: seq 4 where 6000 or later is expected: out of order, or twice"):
            list(written(tmp_path / "log.jsonl", [*lines, line]))


def test_records_less_than_4096_off_are_put_in_order_and_further_off_refused(tmp_path: Path) -> None:
    header, *lines = lines_of(states(10_000))
    for off, ok in ((1, True), (4095, True), (4096, False), (9999, False)):
        moved = [*lines[1 : off + 1], lines[0], *lines[off + 1 :]]
        reader = written(tmp_path / "log.jsonl", [header, *moved])
        if ok:
            assert [r.seq for r in reader] == list(range(10_000))
            assert reader.notes.words() == ["1 records stood out of order and were put in theirs"]
        else:
            with pytest.raises(SchemaError, match=r":\d+: seq 0 where \d+ or later is expected"):
                list(reader)


def test_any_order_within_the_window_reads_the_same(tmp_path: Path) -> None:
    header, *lines = lines_of(states(9000))
    dice = random.Random(0)
    chunks = [lines[k : k + WINDOW // 2] for k in range(0, 9000, WINDOW // 2)]
    shuffled = [line for chunk in chunks for line in dice.sample(chunk, len(chunk))]
    reader = written(tmp_path / "log.jsonl", [header, *shuffled])
    assert [r.seq for r in reader] == list(range(9000))
    assert reader.notes.reordered > 4000


EVERY_SECOND = "between seq 0 and 2, between seq 2 and 4, between seq 4 and 6"


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (lambda k: k not in (3, 4, 8), "3 records are missing: between seq 2 and 5, between seq 7 and 9"),
        (lambda k: k > 1, "2 records are missing: before seq 2"),
        (lambda k: k % 2 == 0, f"5999 records are missing: {EVERY_SECOND} ..."),
    ],
)
def test_missing_records_are_counted_and_said_between_which(tmp_path: Path, left: Any, words: str) -> None:
    header, *lines = lines_of(states(12_000))
    reader = written(tmp_path / "log.jsonl", [header, *(line for k, line in enumerate(lines) if left(k))])
    assert len(list(reader)) == 12_000 - int(words.split()[0]) - ("5999" in words)
    assert reader.notes.words() == [words]


def changed(line: bytes, **fields: Any) -> bytes:
    value = {k: v for k, v in (json.loads(line) | fields).items() if v != "gone"}
    return (json.dumps(value) + "\n").encode()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda b: b[: len(b) // 2] + b"\n", r"log\.jsonl:3: not JSON"),
        (lambda b: b"\n", r"log\.jsonl:3: not JSON"),
        (lambda b: b.replace(b'"seq"', b'"seq":1,"seq"'), "the key 'seq' stands twice"),
        (lambda b: b.replace(b'"point"', b'"place"'), "unknown field 'place'"),
        (lambda b: changed(b, point="gone"), "the field 'point' is missing"),
        (lambda b: changed(b, seq=-1), "seq -1; expected 0 or more"),
        (lambda b: changed(b, seq=1.0), "seq: found 1.0; expected an integer"),
        (lambda b: changed(b, event="picture"), "event 'picture'; expected image, idle, state, error"),
        (lambda b: changed(b, exit=2), "exit 2 where 2 stages ran"),
        (lambda b: changed(b, stage_ms=[1.0] * 4), "4 stage_ms; the header says 3 stages"),
        (lambda b: changed(b, stage_ms=[]), "0 stage_ms"),
        (lambda b: changed(b, stage_ms=[1.0, -1.0]), "stage_ms: found -1.0; expected a number of 0 or more"),
        (lambda b: changed(b, label=2), "label 2 of 2 classes"),
        (lambda b: changed(b, confidence=[0.5]), "1 confidences of 2 exits"),
        (lambda b: changed(b, confidence=[0.5, "x"]), "confidence: found 'x'; expected"),
        (lambda b: changed(b, logits=["AAAAAA=="]), "logits of 1 exits; 2 ran"),
        (lambda b: changed(b, logits=["AAAAAA==", "AAAAAA=="]), "1 logits of an exit; expected 2"),
        (lambda b: changed(b, logits=["AAAA", "AAAA"]), "expected base64 of little-endian float32"),
        (lambda b: changed(b, logits=["A!AAAA==", ""]), "expected base64"),
        (lambda b: changed(b, top5=["AAAAAAAAAAA="] * 2), "logits and top5; expected one of them"),
        (lambda b: changed(b, logits="gone", top5=["AAAAAAAAAAA="] * 2), "top5 without top5_labels"),
        (lambda b: changed(b, pixels=0), "pixels 0"),
        (lambda b: changed(b, pixels_sha256=""), "pixels_sha256 ''; expected a hash"),
        (lambda b: changed(b, pixels_sha256="n/a"), "pixels_sha256 'n/a'; expected a hash"),
        (lambda b: changed(b, total_ms=10**400), "is not finite|beyond"),
        (lambda b: b.replace(b'"cat"', b'"\\ud800"'), "not JSON"),
        (lambda b: b.replace(b'"cat"', b'"' + b"x" * MAX_LINE + b'"'), "a line of more than 1048576 bytes"),
    ],
)
def test_a_damaged_line_is_refused_with_its_place(tmp_path: Path, damage: Any, words: str) -> None:
    header, *lines = lines_of([*states(1), dataclasses.replace(IMAGE, seq=1), *states(4)[2:]])
    lines[1] = damage(lines[1])
    with pytest.raises(SchemaError, match=words) as caught:
        list(written(tmp_path / "log.jsonl", [header, *lines]))
    assert "log.jsonl:3: " in str(caught.value) and str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("battery_level", -1, "battery_level -1.0; expected 0 to 1, or none"),
        ("voltage_mv", 0, "voltage_mv 0; expected above 0, or none"),
        ("current_ua", -(2**63), "beyond 2\\^53 - 1.*looks like an API's word for 'not supported'"),
        ("charge_uah", 2**63 - 1, "looks like an API's word for 'not supported'"),
        ("temperature_c", 315.0, "temperature_c 315.0; expected degrees: tenths or thousandths"),
        ("thermal", "hot", "'hot'; expected 'nominal' or 'fair'"),
        ("screen_on", 1, "screen_on: found 1; expected true or false"),
    ],
)
def test_samples_that_cannot_be_are_refused(tmp_path: Path, field: str, value: Any, words: str) -> None:
    header, line = lines_of(states(1))
    with pytest.raises(SchemaError, match=words):
        list(written(tmp_path / "log.jsonl", [header, changed(line, **{field: value})]))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"log": 3}, "log 3; this reads 1 and 2"),
        ({"log": True}, "log True; this reads 1 and 2"),
        ({"stages": 0}, "stages 0; expected 1 to 64"),
        ({"stages": 2}, "3 backends of 2 stages"),
        ({"classes": 0}, "classes 0; expected 1 to"),
        ({"classes": 10**15}, "classes 1000000000000000; expected 1 to"),
        ({"artifact_sha256": "x"}, "artifact_sha256 'x'; expected a hash"),
        ({"power_source": "sun"}, "power_source: found 'sun'; expected 'battery' or"),
        *(({"pixels": name}, "expected a file's name, without folders") for name in ("", ".", "..", "a/b", "a\\b")),
        ({"engine": "gone"}, "the field 'engine' is missing"),
        ({"serial": 7}, "unknown field 'serial'"),
    ],
)
def test_a_header_that_cannot_be_is_refused(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(SchemaError, match=words) as caught:
        written(tmp_path / "log.jsonl", [changed(encode(HEADER), **fields)])
    assert "log.jsonl:1: " in str(caught.value)


def test_files_that_are_no_logs_are_refused(tmp_path: Path) -> None:
    for content, words in ((b"", "empty"), (encode(HEADER)[:-1], "the header is torn"), (b"[]\n", "log None")):
        with pytest.raises(SchemaError, match=words):
            written(tmp_path / "log.jsonl", [content])
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(SchemaError, match="cannot be read"):
            LogReader(path)
    assert list(written(tmp_path / "log.jsonl", [encode(HEADER)])) == []


def test_version_1_still_reads(tmp_path: Path) -> None:
    """Its image is an image and a sample; a torn last line is left out there too."""
    header = {"log": 1, "device": "d", "target": "onnx-int8", "artifact_sha256": "c" * 64, "stages": 2}
    power = {"screen_on": False, "charging": False, "current_ua": -3.5, "voltage_mv": 4000}
    idle = {"event": "idle", "time_s": 1.0, **power}
    image = {"event": "image", "time_s": 2.0, **power, "stage_ms": [1.0, 2.0], "image_ms": 0.5, "exit": 1}
    lines = [(json.dumps(line) + "\n").encode() for line in (header, idle, image)]
    reader = written(tmp_path / "log.jsonl", [*lines, b'{"event": "im'])
    first, answer, sample = reader
    assert isinstance(first, StateRecord) and (first.event, first.current_ua) == ("idle", -3.5)
    assert isinstance(answer, ImageRecord) and (answer.stage_ms, answer.exit, answer.total_ms) == ((1, 2), 1, 3.5)
    assert isinstance(sample, StateRecord) and sample.event == "state"
    with pytest.raises(ValueError, match=r"-3\.5; expected an integer"):
        encode(sample)
    assert reader.notes.torn
    with pytest.raises(SchemaError, match=r":4: time_s 1 is before 2"):
        list(written(tmp_path / "log.jsonl", [*lines, lines[1]]))


@pytest.mark.parametrize("stages", [0, -1, 65, 2**53 - 1])
def test_both_versions_have_the_same_most_stages(stages: int, tmp_path: Path) -> None:
    old = {"log": 1, "device": "d", "target": "onnx-int8", "artifact_sha256": "c" * 64, "stages": stages}
    new = json.loads(encode(HEADER)) | {"stages": stages}
    for header in (old, new):
        with pytest.raises(SchemaError, match=rf":1: stages {stages}; expected 1 to 64"):
            written(tmp_path / "log.jsonl", [json.dumps(header).encode() + b"\n"])
    assert written(tmp_path / "log.jsonl", [json.dumps(old | {"stages": 64}).encode() + b"\n"]).header.stages == 64


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes by name")
def test_a_log_from_a_pipe_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """It is read twice, which no pipe can be: records were lost without a word."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SchemaError, match=r"pipe: not a regular file.*save it first") as caught:
        LogReader(tmp_path / "pipe")
    assert "\n" not in str(caught.value)


def test_hostile_logs_are_read_whole_or_refused(tmp_path: Path) -> None:
    """A share of those of `python tests/support/log_fuzzer.py`."""
    outcomes, wrong = fuzz_logs(400, 0, tmp_path)
    assert not wrong and outcomes["read"] > 20 and outcomes["SchemaError"] > 100


# -- size --------------------------------------------------------------------------------------------------------------

READ = """
import sys
from dvt_edge.device.log_reader import LogReader
count = sum(1 for _ in LogReader(sys.argv[1]))
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))  # of this program alone
print(count, peak.split()[1])
"""
RECORDS = int(os.environ.get("DVT_EDGE_LOG_RECORDS", "30000"))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_log_streams_in_constant_memory(tmp_path: Path) -> None:
    """DVT_EDGE_LOG_RECORDS=1000000 for the whole million."""
    path = tmp_path / "log.jsonl"
    logits = (np.arange(10, dtype=np.float32),) * 3
    times = {"stage_ms": (1.0, 2.0, 3.0), "confidence": (0.1, 0.2, 0.9), "exit": 2}
    record = dataclasses.replace(IMAGE, logits=logits, label=1, **times)  # type: ignore[arg-type]
    before, after = encode(record).split(b'"seq":0')
    with path.open("wb") as file:
        file.write(encode(dataclasses.replace(HEADER, classes=10)))
        for k in range(RECORDS):
            file.write(before + b'"seq":%d' % k + after)
    found = subprocess.run(
        [sys.executable, "-c", READ, str(path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    count, peak_kib = map(int, found.stdout.split())
    assert count == RECORDS
    assert peak_kib < 100 * 1024, f"{peak_kib >> 10} MiB"
