.DEFAULT_GOAL := help
.PHONY: help setup demo test check format bench docs
BIN := .venv/bin
# where scripts/setup puts the uv that some tests call
export PATH := $(CURDIR)/.tools/uv/bin:$(PATH)

help: ## Show this
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

setup: ## Install what is missing, for the demo and the tests
	@scripts/setup --tests

demo: ## Show Kennel at work here; EXIT=1: end by itself
	@scripts/setup
	@$(BIN)/kennel demo $(if $(EXIT),--exit) $(ARGS)

test: ## Run all tests, two files at a time; ARGS="-k status" chooses
	@scripts/setup --tests
	$(BIN)/pytest $(if $(ARGS),$(ARGS),-n 2 --dist loadfile)

check: ## Check format, rules, types and who imports whom
	@scripts/setup
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: ## Put the code into its format
	@scripts/setup
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: ## Measure; see docs/benchmarks.md
	@scripts/setup --tests
	$(BIN)/python -m benchmarks $(ARGS)

docs: ## List the book's chapters
	@for page in docs/*.md; do printf '  %-32s %s\n' "$$page" "$$(sed -n 's/^# //p;T;q' $$page)"; done
