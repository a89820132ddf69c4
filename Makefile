# The few verbs a person types. `make demo` and `make test` install what they need.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

# What Debian 12 must have: to build, to run the lab, to check our streams with Xen's own verifier.
PACKAGES := build-essential pkg-config libxen-dev libclang-dev \
            qemu-system-x86 xen-utils-4.17 xenstore-utils busybox-static cpio kmod xz-utils \
            iproute2 socat python3

FUZZ_SECONDS ?= 20

.PHONY: help setup build agent demo test check scenarios lab lab-test bench bench-scan campaign install \
	clean

help:
	@echo "make setup     install what building and testing need (Debian 12, as root)"
	@echo "make demo      migrate a guest between two real Xen hosts, ours and stock side by side"
	@echo "make test      the tests, a way through everything on real Xen included"
	@echo "make scenarios all that is tried on real Xen"
	@echo "make check     format, lints, documentation and the tests that need no Xen"
	@echo "make lab       two Xen hosts to play with, a shell on each"
	@echo "make lab-test  the lab tested on itself"
	@echo "make bench     our helper against stock, in pairs; ARGS=--toolstack: xend against xl"
	@echo "make bench-scan  how fast memory is read and digested here, against a plain copy"
	@echo "make campaign  to and fro, looking for leaks; memory of the helper; PV guests without shadow"
	@echo "               paging; log-dirty against digest; busy, stunned and empty guests; what is"
	@echo "               foretold; the agent; pacing. All to docs/results, in some hours"
	@echo "make agent     xend-agent for guests, as one static file"
	@echo "make install   put xend and xend-save-helper under PREFIX (/usr/local)"

setup:
	@command -v cargo >/dev/null || { \
	  echo "cargo is missing: install Rust 1.95 with rustup (Debian 12's own is too old)"; exit 1; }
	@missing=$$(for p in $(PACKAGES); do \
	    dpkg-query -W -f '$${db:Status-Status}' $$p 2>/dev/null | grep -qx installed || echo $$p; done); \
	  if [ -n "$$missing" ]; then \
	    [ "$$(id -u)" = 0 ] || { echo "missing packages, install them as root:" $$missing; exit 1; }; \
	    apt-get update -q && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $$missing; \
	  fi

build: setup
	cargo build --release -p xend-rs

AGENT_TARGET := x86_64-unknown-linux-gnu

agent: setup
	RUSTFLAGS='-C target-feature=+crt-static -C strip=symbols' \
	  cargo build --release -p xend-agent --target $(AGENT_TARGET) --target-dir target/guest
	@echo "target/guest/$(AGENT_TARGET)/release/xend-agent"

demo: build
	cargo run --release -q -p scenarios --bin demo

lab: build
	cargo run --release -q -p lab -- up

lab-test: setup
	cargo test --release -p lab --features boot --test boot

bench: build
	cargo run --release -q -p scenarios --bin bench -- $(ARGS)

bench-scan: setup
	cargo run --release -q -p xend-rs --example scan -- $(ARGS)

campaign: build
	cargo run --release -q -p scenarios --bin campaign -- to-and-fro $(or $(N),20)
	cargo run --release -q -p scenarios --bin campaign -- memory 1024
	cargo run --release -q -p scenarios --bin campaign -- digest 30
	cargo run --release -q -p scenarios --bin campaign -- trackers 5
	cargo run --release -q -p scenarios --bin campaign -- busy 5
	cargo run --release -q -p scenarios --bin campaign -- prediction 30
	cargo run --release -q -p scenarios --bin campaign -- stun 20
	cargo run --release -q -p scenarios --bin campaign -- agent 5
	cargo run --release -q -p scenarios --bin campaign -- pacing
	cargo run --release -q -p scenarios --bin campaign -- empty

check: setup
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
	XEND_FUZZ_SECONDS=$(FUZZ_SECONDS) cargo test --workspace --exclude scenarios

# An hour or more.
scenarios: build
	cargo test --release -p scenarios --test lab -- --full

# The parts of `check` first, then the scenarios on real Xen; totals of both at the end.
test: setup
	@log=$$(mktemp); trap 'rm -f $$log' EXIT; \
	  { $(MAKE) --no-print-directory check && \
	    cargo build --release -p xend-rs && \
	    cargo test --release -p scenarios; } 2>&1 | tee $$log && status=0 || status=$$?; \
	  awk '/^test result:/ { passed += $$4; failed += $$6; ignored += $$8 } \
	       END { printf "\ntotal: %d passed, %d failed, %d ignored\n", passed, failed, ignored }' $$log; \
	  exit $$status

PREFIX ?= /usr/local

install: build
	install -D -m 755 target/release/xend $(DESTDIR)$(PREFIX)/sbin/xend
	install -D -m 755 target/release/xend-save-helper \
	  $(DESTDIR)$(PREFIX)/libexec/xend/xend-save-helper

clean:
	cargo clean
