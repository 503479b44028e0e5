"""Mutated device logs and golden files, seeded: each is read, or refused in one line of ours; nothing is lost silently.

python tests/support/log_fuzzer.py [COUNT [SEED]]       10000 and 0 unless given; a third of them are golden files
"""

from __future__ import annotations

import json
import math
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from support.bundle_fuzzer import NAMES, Random, damaged, odd_value, places
from support.made_up_phone import Phone

from dvt_edge.device.device_log import ImageRecord, Record
from dvt_edge.device.log_reader import LogReader
from dvt_edge.errors import DvtEdgeError
from dvt_edge.simulation.device_profile import open_profile
from dvt_edge.simulation.measured_profile import measured_profile
from dvt_edge.validation.device_validation import HostSide, validate_log
from dvt_edge.validation.golden import check_golden

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = Path(__file__).parents[1] / "simulation/device_logs"
MAX_SECONDS = 5.0
GOLDEN_INPUTS = ("preprocess/cases.json", "camera/cases.json", "exit_rule.json", "device_log.json")


def restructured(r: Random, line: bytes) -> bytes:
    """A JSON text with some of its values replaced, removed, moved or repeated."""
    try:
        value = json.loads(line)
    except ValueError:
        return damaged(r, line)
    for _ in range(r.choice((1, 1, 1, 2, 6))):
        found = places(value) if isinstance(value, (dict, list)) else []
        if not found:
            break
        node, key = r.choice(found)
        kind = r.randrange(6)
        old = node[key]
        if kind < 2:
            node[key] = odd_value(r)
        elif kind == 2 and isinstance(old, (int, float)) and abs(old) < 1e300:
            node[key] = old * r.choice((-1, 0, 1e-3, 1e3, 1e300, 1.5)) + r.choice((0, 1, -1))
        elif kind == 3:
            del node[key]
        elif isinstance(node, dict):
            node[r.choice((*NAMES, str(key) + "x", "event", "seq", "logits"))] = node.pop(key)
        else:
            node.extend([old] * r.choice((1, 70)))
    text = json.dumps(value, ensure_ascii=r.random() < 0.7, separators=r.choice(((",", ":"), (", ", ": "))))
    return text.encode(errors="surrogatepass") + b"\n"


def mutated(r: Random, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    for _ in range(r.choice((1, 1, 2, 4))):
        kind, k = r.randrange(10), r.randrange(len(lines)) if lines else 0
        if not lines:
            break
        if kind < 4:
            lines[k] = restructured(r, lines[k])
        elif kind == 4:
            return damaged(r, b"".join(lines))
        elif kind == 5:
            lines.insert(r.randrange(len(lines) + 1), lines[k])
        elif kind == 6:
            del lines[k]
        elif kind == 7:
            lines[k:] = r.sample(lines[k:], len(lines) - k)
        elif kind == 8:
            lines[-1] = lines[-1][: r.randrange(len(lines[-1]) + 1)]
        else:
            lines[k] = r.choice((b"\n", b"{}\n", b"[" * 100 + b"\n", b"null\n", b"\xef\xbb\xbf" + lines[k], b"0\n"))
    return b"".join(lines)


def read_whole(path: Path) -> str:
    """What becomes of a log; a sentence for what must not be."""
    reader = LogReader(path)
    seqs = [record.seq for record in reader]
    notes = reader.notes
    if reader.header.log == 2:
        if seqs != sorted(set(seqs)):
            return "records that do not rise by seq"
        missing = sum(after - before - 1 for before, after in notes.missing)
        if seqs and missing + len(seqs) != seqs[-1] + 1:
            return "gaps that are not counted"
        lines = path.read_bytes().split(b"\n")
        stood = len(lines) - 1 + bool(lines[-1]) - 1
        if stood != len(seqs) + notes.duplicates + notes.torn:
            return "records that are lost silently"
    profile = measured_profile(open_profile("phone-cpu"), LogReader(path), spread=1.0)
    (costs,) = profile.measured
    figures = (*costs.stage_ms, *costs.stage_mj, costs.image_ms, costs.image_mj, profile.power.idle_w)
    if not all(math.isfinite(f) and f >= 0 for f in figures):
        return f"figures {figures}"
    return "read"


def outcome_of(read: object, path: Path) -> tuple[str, str]:
    """The outcome, and a problem in words or ""."""
    start = time.process_time()
    try:
        said, problem = read(path), ""  # type: ignore[operator]
        if said not in ("read", "differs", "same"):
            problem = said
    except DvtEdgeError as error:
        said, message = type(error).__name__, str(error)
        problem = "" if message.isprintable() and 0 < len(message) < 1500 else f"UNREADABLE {message!r}"
    except Exception as error:
        said, problem = "ESCAPED", f"{type(error).__name__}: {error}"[:300]
    if time.process_time() - start > MAX_SECONDS:
        problem = f"{time.process_time() - start:.1f} s"
    return said, problem


def bases(folder: Path) -> list[bytes]:
    """Logs to mutate: of each version, with all that a record may have, and with energy."""
    energy = Phone(images=100, minute_s=20.0, quantum_uah=10).log(folder / "energy.jsonl").read_bytes()
    short = (CASES / "good.jsonl").read_bytes().splitlines(keepends=True)
    return [(GOLDEN / "device_log.jsonl").read_bytes(), energy, b"".join(short)]


def fuzz_logs(count: int, seed: int, folder: Path) -> tuple[Counter[str], list[str]]:
    outcomes: Counter[str] = Counter()
    wrong = []
    originals = bases(folder)
    for number in range(count):
        r = random.Random(f"log {seed}/{number}")
        path = folder / "log.jsonl"
        path.write_bytes(mutated(r, r.choice(originals)))
        said, problem = outcome_of(read_whole, path)
        outcomes[said] += 1
        if problem:
            wrong.append(f"log {number} of seed {seed}: {said}: {problem}")
    return outcomes, wrong


def fuzz_validation(count: int, seed: int, folder: Path, log: Path, side: HostSide) -> tuple[Counter[str], list[str]]:
    """`log` is one that passes; its mutations are refused, fail, or pass with every answer as it was."""
    outcomes: Counter[str] = Counter()
    wrong = []
    content, reader = log.read_bytes(), LogReader(log)
    answers = {r.seq: answer_of(r) for r in reader}
    path = folder / "mutated.jsonl"

    def check(path: Path) -> str:
        report = validate_log(path, side)
        json.dumps(report.summary(), allow_nan=False)
        if not report.passed:
            return "differs"
        found = {r.seq: answer_of(r) for r in LogReader(path)}
        changed = [seq for seq, answer in found.items() if answer != answers.get(seq)]
        if changed or max(found) + 1 != len(found):
            return f"passes, though records {changed[:3]} are others"
        return "same"

    for number in range(count):
        r = random.Random(f"validation {seed}/{number}")
        path.write_bytes(mutated(r, content))
        said, problem = outcome_of(check, path)
        outcomes[said] += 1
        if problem:
            wrong.append(f"validation {number} of seed {seed}: {said}: {problem}")
    return outcomes, wrong


def answer_of(record: Record) -> object:
    return (record.exit, record.label, record.label_name) if isinstance(record, ImageRecord) else record.event


def fuzz_golden(count: int, seed: int, folder: Path) -> tuple[Counter[str], list[str]]:
    """`folder` is a copy of the golden files; each file is put back after its turn."""
    outcomes: Counter[str] = Counter()
    wrong = []

    def check(folder: Path) -> str:
        return "differs" if check_golden(folder, None) else "same"

    for number in range(count):
        r = random.Random(f"golden {seed}/{number}")
        path = folder / r.choice(GOLDEN_INPUTS)
        content = path.read_bytes()
        path.write_bytes(restructured(r, content) if r.random() < 0.8 else damaged(r, content))
        said, problem = outcome_of(check, folder)
        path.write_bytes(content)
        outcomes[said] += 1
        if problem:
            wrong.append(f"golden file {number} of seed {seed} ({path.name}): {said}: {problem}")
    return outcomes, wrong


def main() -> None:
    count, seed = (int(sys.argv[k]) if len(sys.argv) > k else default for k, default in ((1, 10_000), (2, 0)))
    found = []
    with tempfile.TemporaryDirectory() as folder:
        outcomes, wrong = fuzz_logs(count - count // 3, seed, Path(folder))
        found += wrong
        print(f"logs: {', '.join(f'{said} {n}' for said, n in sorted(outcomes.items()))}")
        golden = Path(shutil.copytree(GOLDEN, Path(folder) / "golden"))
        outcomes, wrong = fuzz_golden(count // 3, seed, golden)
        found += wrong
        print(f"golden files: {', '.join(f'{said} {n}' for said, n in sorted(outcomes.items()))}")
    print(f"{count} of seed {seed}: {len(found)} wrong")
    print("\n".join(found[:20]))
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
