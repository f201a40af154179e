# One command for each thing people do here. CI runs `make test` and nothing else.

SHELL := /bin/bash
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help requirements build release test soak demo bench api-check webhook-check docs fuzz lint format clean

# Of `make soak`: how long, and the first seed; another one every time unless told.
SECONDS ?= 300
SEED ?= $(shell date +%s)

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

requirements: ## Check for Swift and install missing Debian or Ubuntu packages
	@scripts/requirements

build: requirements ## Build everything for debugging
	swift build --build-tests

# SwiftPM builds one product a call.
release: requirements ## Build the two programs optimised
	swift build -c release --product sync-server
	swift build -c release --product replica

# Must stay the last command of its recipe: the output ends with the test runner's own summary, and its failure is ours.
# The width keeps hundreds of replicas from being open at once, which takes gigabytes; a runner that does not know it runs them all.
test: requirements ## Build and run all tests
	SWT_EXPERIMENTAL_MAXIMUM_PARALLELIZATION_WIDTH=12 swift test

soak: requirements ## Simulate faults for SECONDS=… from SEED=…
	TIDELINE_SOAK_SECONDS=$(SECONDS) TIDELINE_FIRST_SEED=$(SEED) swift test --filter soak_findsNothing

demo: release ## Start a server, enrol replicas and let them sync, all on this machine
	swift build -c release --product demo-receiver
	@demo/run

bench: release ## Measure; prints figures for this machine
	@bench/run

# SECONDS is how long each reader is fuzzed; TARGET names one of them.
fuzz: requirements ## Fuzz what reads bytes from outside (SECONDS=60 each, TARGET=json)
	@SECONDS_EACH=$(SECONDS) fuzz/run $(TARGET)

api-check: release ## Hold the REST API against its OpenAPI document with schemathesis, if it is installed
	@scripts/api-check
	@scripts/api-check --as field

webhook-check: release ## Verify delivered webhooks with the public Standard Webhooks library (installed with pip for the run)
	@scripts/webhook-check

docs: requirements ## Build the reference documentation of the Replica library (DocC)
	@scripts/docs

lint: ## Check the formatting of all Swift sources
	swift format lint --strict --recursive Sources Tests bench demo fuzz Package.swift

format: ## Format all Swift sources in place
	swift format --in-place --recursive Sources Tests bench demo fuzz Package.swift

clean: ## Remove build products
	rm -rf .build .build-*
