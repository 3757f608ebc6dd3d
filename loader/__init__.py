# SPDX-License-Identifier: Apache-2.0
"""Root's part: load the embedded BPF programs, attach, pin, drop everything, end.

Everything here runs with capabilities, so it fits one screen of files and imports only the
standard library's small modules, libbpf and prctl; tests/loader/modules-*.txt lists what is in
sys.modules afterwards, and a new import is a line in the review. It opens no socket and reads
no path that a user controls.
"""
