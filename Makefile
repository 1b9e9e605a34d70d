# `make` or `make help` lists what there is.

# Everything that is built is kept in this folder, outside of the clone.
export IMAGEPUSH_CACHE ?= $(HOME)/.cache/imagepush
export CARGO_TARGET_DIR ?= $(IMAGEPUSH_CACHE)/target

.DEFAULT_GOAL := help
.PHONY: help install control-plane peers demo demo-bundle test fuzz e2e lint deny bench bench-operator image generate ci

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: ## Install the Debian packages that the other targets need
	@scripts/install-packages

control-plane: ## Build etcd, kube-apiserver, kubectl, helm and kstatus, and print their folder
	@scripts/control-plane

peers: ## Build crane, regctl and two registries, and print their folder
	@scripts/peers

demo: install control-plane ## Set everything up, and push an image with an ImagePush object
	@cargo build --locked
	@scripts/demo

demo-bundle: install control-plane ## Push, compare, apply and prune the custom resources of an image
	@cargo build --locked
	@scripts/demo-bundle

test: install control-plane peers ## Run every test
	cargo test --locked

fuzz: install ## Fuzz what reads the custom resources of an image, a minute for each target
	@scripts/fuzz

lint: deny ## Check format, lints, documentation and dependencies
	cargo fmt --check
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --manifest-path fuzz/Cargo.toml -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

deny: ## Check licences, sources and bans of the dependencies
	scripts/cargo-deny --locked check bans licenses sources

# What the image has. A target of its own keeps procedural macros and build scripts, which can't be static, out of these
# flags; where things lay on this machine is kept out of the program.
TARGET := $(shell uname -m)-unknown-linux-gnu
RELEASE := $(CARGO_TARGET_DIR)/$(TARGET)/release
STATIC := RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=$(CURDIR)=/imagepush --remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)=/cargo"

bench: image peers ## Measure the image's program beside skopeo, crane and regctl
	$(STATIC) cargo build --locked --release --target $(TARGET) --example checks
	IMAGEPUSH_BINARY=$(RELEASE)/imagepush \
		cargo test --locked --test it bench:: -- --ignored --nocapture --test-threads=1 --skip bench::operator::

image: install ## Build the operator's container image, as archives, and print their paths
	$(STATIC) cargo build --locked --release --target $(TARGET) --bin imagepush
	@scripts/image $(RELEASE)/imagepush $(CARGO_TARGET_DIR)/image

e2e: image control-plane ## Run the operator on a whole node of Kubernetes, as root (builds with optimisation first)
	@scripts/control-plane node
	IMAGEPUSH_IMAGE=$$(ls -t $(CARGO_TARGET_DIR)/image/*.oci.tar | head -1) scripts/e2e

bench-operator: image control-plane ## Measure the operator with thousands of objects
	IMAGEPUSH_BINARY=$(RELEASE)/imagepush \
		cargo test --locked --test it bench::operator:: -- --ignored --nocapture

generate: ## Write the generated files anew
	BLESS=1 cargo test --locked --test it generated::

ci: lint test e2e ## What continuous integration runs
