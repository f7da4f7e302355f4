"""Settings of the property tests."""

from hypothesis import settings

# a deadline per example measures how busy the machine is, not our code
settings.register_profile("ddtp", deadline=None)
settings.load_profile("ddtp")
