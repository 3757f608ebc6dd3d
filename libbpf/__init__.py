# SPDX-License-Identifier: Apache-2.0
"""The binding that loader and collector share: libbpf, linked into one extension module.

objects.py is the loader's half (open, load, attach, pin); abi.py, maps.py, iterators.py and
ringbuf.py are what an unprivileged holder of descriptors may do.
"""
