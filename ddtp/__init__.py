"""DDTP: a person carries their own data from one institution to another, and the receiver can prove it is genuine.

Importing this package imports nothing else. The public API is `ddtp.agent`, `ddtp.verify` and `ddtp.errors`.
"""

__version__ = "0.1.0"
