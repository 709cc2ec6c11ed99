"""When this process began to load bnnedge: what changed on the disk since may not be what it runs."""

from __future__ import annotations

import time

LOADED = time.time()
