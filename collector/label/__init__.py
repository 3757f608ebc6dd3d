# SPDX-License-Identifier: Apache-2.0
"""Labels: who a series of samples belongs to. labels.py makes them, escape.py cleans text."""
