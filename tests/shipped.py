"""Rules that are loaded once for all tests of a process: a rule is a value that nothing changes."""

from __future__ import annotations

from functools import cache

import rulec

load = cache(rulec.load)
