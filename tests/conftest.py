"""What all tests share: how hypothesis searches."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Machines differ in speed by more than any deadline allows for.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# In continuous integration a run must not fail for what another run would not have tried.
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default"))
