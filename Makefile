# SPDX-License-Identifier: Apache-2.0
# `make help` lists the targets. Everything that is built lands in build/, outside the tree.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

CLANG_MAJOR := 19
CLANG := clang-$(CLANG_MAJOR)
STRIP := llvm-strip-$(CLANG_MAJOR)
# The distribution's interpreter: the agent's users could not enter a private one.
SYSTEM_PYTHON := /usr/bin/python3
PYTHON := .venv/bin/python
say = @printf '%s\n' "$(1)"

DURATION ?=
OUT ?= out
HZ ?=
CONFIG ?=

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: root build ## profile this machine [DURATION=s] [OUT=dir] [HZ=n] [CONFIG=file]
	@exec $(PYTHON) -m supervisor run --stage build/stage --out "$(OUT)" \
	    $(if $(DURATION),--duration "$(DURATION)") $(if $(HZ),--hz "$(HZ)") $(if $(CONFIG),--config "$(CONFIG)")

.PHONY: root
root:
	@[ "$$(id -u)" = 0 ] || { \
	    echo "this loads BPF programs and so needs root; try: sudo make $(firstword $(MAKECMDGOALS))" >&2; exit 2; }

.PHONY: test
test: build ## every check and test; BPF tests need root
	@tools/checks
	$(call say,tests: pytest …)
	@$(PYTHON) -m pytest -q $(TESTS)

.PHONY: test-kernels
test-kernels: root build ## the agent on Debian's kernels, emulated [SUITES="bookworm …"]
	@tools/test-kernels $(SUITES)

.PHONY: check
check: $(PYTHON) build/module.stamp ## format, lint, types and import contracts
	@tools/checks

.PHONY: bench
bench: build ## measure what is claimed; writes benchmarks/results/
	@$(PYTHON) -m benchmarks

.PHONY: soak
soak: root build ## two hours of programs that come and go [MINUTES=n]
	@$(PYTHON) -m benchmarks.soak $(if $(MINUTES),--minutes $(MINUTES))

.PHONY: generate
generate: $(PYTHON) ## make the committed generated files anew
	@$(PYTHON) -m libbpf.generate
	@$(PYTHON) -m collector.encode.generate
	@$(PYTHON) -m ctl.schema

.PHONY: clean
clean: ## remove what was built, not what was downloaded for it
	@rm -rf build/bpf build/stage build/libbpf/src build/libbpf/obj build/libbpf/inst build/*.stamp libbpf/*.so

.PHONY: build
build: build/stage.stamp

# --- tools: packages by name, a virtual environment from the lock ----------------------------

build/packages.stamp: tools/install-packages
	@mkdir -p build
	@CLANG_MAJOR=$(CLANG_MAJOR) tools/install-packages
	@touch $@

$(PYTHON): pyproject.toml uv.lock tools/install-venv tools/uv.txt | build/packages.stamp
	@SYSTEM_PYTHON=$(SYSTEM_PYTHON) tools/install-venv
	@touch $@

# --- libbpf, the BPF objects, the extension module --------------------------------------------

LIBBPF := build/libbpf/inst/usr
build/libbpf.stamp: libbpf/upstream/version.env libbpf/upstream/fetch | build/packages.stamp
	$(call say,libbpf: building the pinned source …)
	@mkdir -p build/libbpf && rm -rf build/libbpf/src build/libbpf/obj && mkdir build/libbpf/src
	@libbpf/upstream/fetch build/libbpf/source.tar.gz
	@tar -C build/libbpf/src --strip-components=1 -xf build/libbpf/source.tar.gz
	@$(MAKE) -s --no-print-directory -C build/libbpf/src/src BUILD_STATIC_ONLY=y OBJDIR=$(CURDIR)/build/libbpf/obj \
	    DESTDIR=$(CURDIR)/build/libbpf/inst PREFIX=/usr LIBDIR=/usr/lib \
	    CFLAGS="-O2 -g -fPIC -fvisibility=hidden -ffile-prefix-map=$(CURDIR)=." \
	    install install_uapi_headers > build/libbpf/log 2>&1 || { cat build/libbpf/log >&2; exit 1; }
	@touch $@

# In the order the loader loads them.
OBJECTS := bootstrap unwinder sampler process iterators memory mappings faults
BPF_FLAGS := -O2 -g -target bpf -mcpu=v3 -D__TARGET_ARCH_x86 -Wall -Wextra -Wno-unused-parameter -Werror \
    -Ibpf -I$(LIBBPF)/include -ffile-prefix-map=$(CURDIR)=. -fdebug-compilation-dir=.

build/bpf/%.bpf.o: bpf/%.bpf.c $(wildcard bpf/*.h) build/libbpf.stamp
	@mkdir -p build/bpf
	$(call say,bpf: compiling $* …)
	@$(CLANG) $(BPF_FLAGS) -c $< -o $@
	@$(STRIP) -g $@

build/embedded_objects.h: libbpf/embed.py bpf/abi.h $(OBJECTS:%=build/bpf/%.bpf.o)
	@$(SYSTEM_PYTHON) libbpf/embed.py bpf/abi.h $@ $(foreach o,$(OBJECTS),$(o)=build/bpf/$(o).bpf.o)

build/module.stamp: libbpf/_libbpf.c libbpf/libbpf.csrc.c build/embedded_objects.h
	$(call say,libbpf: building the extension module …)
	@gcc -shared -fPIC -O2 -g -Wall -Wextra -Werror -Wno-unused-parameter -Wno-missing-field-initializers \
	    -fvisibility=hidden -Wl,-z,relro,-z,now -Wl,--exclude-libs,ALL -ffile-prefix-map=$(CURDIR)=. -D_GNU_SOURCE \
	    $$($(SYSTEM_PYTHON)-config --includes) -Ibuild -Ibpf -Ilibbpf -I$(LIBBPF)/include \
	    libbpf/_libbpf.c $(LIBBPF)/lib/libbpf.a -lelf -lz -o libbpf/_libbpf.abi3.so
	@touch $@

# --- the private directories each process runs from --------------------------------------------

STAGED := $(shell find loader collector libbpf -type f -not -path "*/__pycache__/*" -not -name "*.so" -not -name "_libbpf.c")
build/stage.stamp: build/module.stamp $(PYTHON) $(STAGED) tools/stage
	$(call say,stage: laying out what each process runs from …)
	@PYTHON=$(PYTHON) SYSTEM_PYTHON=$(SYSTEM_PYTHON) tools/stage build/stage
	@touch $@
