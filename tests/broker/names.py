"""The environment of this directory's processes."""

from __future__ import annotations

#: The file that a pool process makes when it begins to start, slowly.
SLOW_START = "CELERIAC_TEST_SLOW_START"
