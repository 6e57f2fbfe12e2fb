# Two commands set everything up on a fresh machine: `make run` and `make test`.
PYTHON ?= python3
CORES ?= all
BIN := .venv/bin
SNAKEMAKE := $(BIN)/snakemake --cores $(CORES)
IMAGES ?= $(value ISBI2015_IMAGES)
export IMAGES
# Quoted by Python, since a folder may have any name.
quoted = $$($(BIN)/python -c 'import json, os; print(json.dumps(os.environ["$1"], ensure_ascii=False))')
SOURCES = "datasets={isbi2015: {sources: [$(call quoted,IMAGES)]}}"
# Snakemake takes quotes off both ends of a value, so blanks are put there.
FILMS = "images= $(call quoted,IMAGES) " $(if $(OUT),"out= $(call quoted,OUT) ") \
  $(if $(METHOD),"method=$$METHOD") $(if $(NOISE),"noise_level={$$NOISE}") $(if $(WHITE),"white=$$WHITE")

# Of `make denoise`; the files of the films may have any name as well.
OUT ?=
METHOD ?=
NOISE ?=
WHITE ?=
export OUT METHOD NOISE WHITE

.PHONY: help run denoise report test lint verify why check-paper real paper methods detector model bench keras phantom-page readme

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

run: .venv/run ## the table and the figures on the digital phantom
	$(SNAKEMAKE)
	@cat results/phantom/table.md 2>/dev/null || true # another data set may be configured

denoise: .venv/run ## denoise films: IMAGES=FOLDER [OUT=denoised] [METHOD=nl_means] [NOISE='dose: 100, electronic: 0.01'] [WHITE=4095]
	@test "$(origin IMAGES)" != file || { echo "say where your films are: make denoise IMAGES=FOLDER" >&2; exit 1; }
	$(SNAKEMAKE) --keep-going --quiet rules --configfile config/denoise.yaml --config $(FILMS)

report: .venv/run ## results/<run>/report.html: a run as one page to mail; ARGS="..." as for why
	$(SNAKEMAKE) $(ARGS) -- page

test: .venv/test ## all tests; those of the real images need ISBI2015_IMAGES=FOLDER
	$(BIN)/python -m pytest -n 3 --dist loadgroup

lint: .venv/test ## check the style of the code and the structure of the workflow
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/snakemake --lint

verify: .venv/run ## compare all results with their recorded digests
	$(BIN)/python workflow/tools/verify.py

why: .venv/run ## say which jobs would run and why; ARGS="..." takes options of snakemake
	@$(BIN)/python workflow/tools/why.py $(ARGS)

# Forced, so that the given images are read whatever was read before.
check-paper: .venv/run need-images ## compare noisy and median scores with the published ones
	$(SNAKEMAKE) --quiet rules progress --configfile config/paper.yaml \
	  --config run=check-paper 'select={methods: [median]}' $(SOURCES) \
	  --forcerun fetch_images -- results/check-paper/table.md
	@cat results/check-paper/table.md
	@test "$$(grep -c 'inside in 7 of 7 rows' results/check-paper/table.md)" = 2

real: .venv/run need-images ## the table on the real images, with the default training budget
	$(SNAKEMAKE) --config dataset=isbi2015 $(SOURCES)

paper: .venv/run need-images ## the same with the published training; hours without a GPU
	$(SNAKEMAKE) --configfile config/paper.yaml --config 'select={methods: [autoencoder, median]}' $(SOURCES)

methods: .venv/bm3d need-images ## the tables of docs/denoisers.md, on the real images; takes hours
	$(SNAKEMAKE) --configfile config/methods.yaml config/tables.yaml --config dataset=isbi2015 $(SOURCES)

detector: .venv/run need-images ## the table for the noise of a detector, on the real images
	$(SNAKEMAKE) --configfile config/detector.yaml --config dataset=isbi2015 $(SOURCES)

RELEASE := $(BIN)/python workflow/tools/release.py results/model/models/quantum_100/unet_any.pt \
  resources/models/unet_any.safetensors
SCORES := results/phantom-any-noise/methods.md\#SSIM
model: .venv/run ## resources/models/: the network for any noise, trained again
	$(SNAKEMAKE) --configfile config/model.yaml
	$(RELEASE)
	$(SNAKEMAKE) --configfile config/any-noise.yaml
	$(RELEASE) --scores '$(SCORES)'

bench: .venv/run ## run the benchmarks that this machine can run, into benchmarks/results/
	$(BIN)/python benchmarks/run.py $${IMAGES:+--images "$$IMAGES"} \
	  $(if $(wildcard .venv-keras/run),--keras .venv-keras/bin/python)

keras: .venv-keras/run ## install Keras in its own environment, for bench

phantom-page: .venv/run need-images ## docs/phantom.md: the phantom and the real images compared
	$(SNAKEMAKE) --config $(SOURCES) -- docs/phantom.md

readme: run paper methods detector ## paste the tables of these into all pages, and copy the figures
	grep -lE '^<!-- (table|times): ' README.md docs/*.md | \
	  xargs -n 1 $(BIN)/python workflow/tools/paste.py
	cp results/isbi2015-methods/figures/compute.png docs/compute.png
	cp results/phantom/figures/gaussian_0.2_0_1.png docs/examples.png

.PHONY: need-images
need-images:
	@test -e "$$IMAGES" || { echo "say where the real images are: make ... IMAGES=FOLDER" >&2; exit 1; }

.venv/run: requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -r requirements.txt
	touch $@

.venv/bm3d: requirements-bm3d.txt .venv/run # for non-commercial use
	$(BIN)/pip install --quiet -r requirements-bm3d.txt
	touch $@

.venv-keras/run: requirements-keras.txt
	$(PYTHON) -m venv .venv-keras
	.venv-keras/bin/pip install --quiet -r requirements-keras.txt
	touch $@

.venv/test: requirements-dev.txt requirements-onnx.txt .venv/run
	$(BIN)/pip install --quiet -r requirements-dev.txt
	touch $@
