"""What has to be so before any test module is imported."""

import libp2p  # noqa: F401 - whole, and first: then tests and the agent have the same classes of it (decision 0034)
