# The two commands a user needs: `make demo` and `make test`. Each does its own set-up, once.
PYTHON ?= $(firstword $(shell command -v python3.11 python3))
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

export ORT_DISABLE_TELEMETRY := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test android screenshots ios swift-toolchain lint results photographs cifar224 arm-check arm-counts clean
.DELETE_ON_ERROR:

demo: $(READY)
	$(BIN)/dvt-edge demo --out build/demo

# The Kotlin and Swift sides first, since tests/android and tests/ios read what they log.
test: $(READY) lint android ios
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile -m "not timed"
	$(BIN)/python -m pytest -m timed

# On a JVM; skipped where Maven or Java is missing.
android: $(READY)
	PYTHON=$(BIN)/python android_demo/check.sh

# The pictures of the app that android_demo/README.md shows, drawn anew by its tests.
screenshots: android
	cp $(addprefix build/android/screenshots/,$(notdir $(wildcard android_demo/screenshots/*.png))) android_demo/screenshots

# The Swift package; skipped without a toolchain: on the PATH, or made once by `make swift-toolchain` (Debian, root).
ios: $(READY)
	ios_demo/check.sh

swift-toolchain:
	ios_demo/toolchain.sh

# docs/results-cifar10.md from CIFAR-10 in the folder DATA (torchvision's layout); trains the static models first, unless they are there.
results: $(READY)
	$(BIN)/python export_scripts/reproduce/make_results.py $(DATA)

# docs/results.md from a clone of the photographs' repository (docs/training.md) in the folder DATA, and
# docs/results-cifar224.md from CIFAR-10; static models and cascades without reuse are compared where
# train_photographs.py and train_cifar224.py have trained them, and cascades of one epoch where ablations are of one.
compared = $(addprefix --static ,$(wildcard runs/$(1)/static*/cascade.safetensors)) \
	$(addprefix --ablation ,$(wildcard $(addprefix runs/$(1)/,$(addsuffix /cascade.safetensors,no-* cascade-1ep-*))))

photographs: $(READY)
	$(BIN)/python export_scripts/reproduce/make_224.py photographs $(DATA) $(call compared,dvt_grocery)

cifar224: $(READY)
	$(BIN)/python export_scripts/reproduce/make_224.py cifar224 $(DATA) $(call compared,dvt_cifar10_224)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# The shipped bundles on emulated ARM processors; Debian, amd64. The first run downloads 300 MB and takes minutes.
arm-check: $(READY)
	PYTHONPATH=tests $(BIN)/python tests/support/arm_check.py build/arm

# dvt_edge/simulation/arm_instructions.json, in the same place.
arm-counts: $(READY)
	PYTHONPATH=tests $(BIN)/python tests/support/arm_counts.py build/arm

# The tested versions are in .ci/constraints.txt; `touch pyproject.toml` installs again.
$(READY): pyproject.toml .ci/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: needs Python 3.11 or later: make PYTHON=..."; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint .ci/constraints.txt --editable '.[test]'
	touch $@

clean:
	rm -rf build $(VENV)
