# Targets make what they need: a virtual environment in .venv with the pinned packages.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=
OHIF ?= $(CURDIR)/.cache/ohif
OIDC ?= $(CURDIR)/.cache/oidc

.PHONY: demo test check format wheel-test screenshots page-screenshots golden oidc-provider clean

demo: $(VENV)/.demo
	$(BIN)/gatekeeper demo

test: $(VENV)/.development
	$(BIN)/pytest $(PYTEST_ARGS)

check: $(VENV)/.development
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/pyright
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.development
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

# The provider of OpenID Connect that tests sign in at. Needs npm.
oidc-provider:
	bash tests/oidc/fetch-provider.sh "$(OIDC)"

# The suite against the built wheel, from a folder outside the source tree.
wheel-test: $(VENV)/.development
	bash deploy/wheel-test.sh

# Pictures of the results in OHIF, for docs/images. Needs npm, and from Debian orthanc,
# orthanc-dicomweb and chromium.
screenshots: $(VENV)/.development
	bash tests/viewer/fetch-ohif.sh "$(OHIF)"
	GATEKEEPER_OHIF="$(OHIF)" PYTHONPATH=tests $(BIN)/python -m viewer.screenshots docs/images

# Pictures of the pages, for docs/images; all of them into .cache/pages. Needs from Debian orthanc,
# dcmtk and chromium.
page-screenshots: $(VENV)/.development
	mkdir -p .cache/pages
	GATEKEEPER_PICTURES="$(CURDIR)/.cache/pages" $(BIN)/pytest -q tests/admin/test_end_to_end.py
	PYTHONPATH=tests $(BIN)/python -m admin.screenshots .cache/pages --best docs/images

# The golden files of the results and the conformance statement of the example, after a change that
# is meant; see tests/results/golden.py and tests/conformance/golden.py.
golden: $(VENV)/.development
	PYTHONPATH=tests $(BIN)/python -m results.golden
	PYTHONPATH=tests $(BIN)/python -m conformance.objects
	PYTHONPATH=tests $(BIN)/python -m conformance.golden

$(VENV)/.demo: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo]'
	touch $@

$(VENV)/.development: pyproject.toml constraints.txt tests/originals.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[development]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r tests/originals.txt
	touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) .cache dist build demo-out .pytest_cache .ruff_cache .hypothesis
