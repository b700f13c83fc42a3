"""Settings of all tests."""

from hypothesis import settings

# How long an example takes says more of a busy machine than of cai.
settings.register_profile("cai", deadline=None)
settings.load_profile("cai")
