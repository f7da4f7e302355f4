"""Imports the part of libp2p that spec/14 s.2 needs without what its packages import for everybody (decision 0034).

To import `libp2p.peer.id` is to import all of libp2p first: QUIC, ACME, HTTP, mDNS and more, half of the time in which
a command of ours starts. Inside `hollow` the named packages are there, with their modules in their places, but empty.
Afterwards the package is as if nobody had imported it: whoever imports it next gets it whole, and a copy of its own.
"""

import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def hollow(packages: Sequence[str], stand_ins: Mapping[str, Mapping[str, type]]) -> Iterator[None]:
    """Let modules of a package be imported in the `with` block without running its packages.

    If the package has been imported already nothing is hollow, and nothing is forgotten.

    Args:
        packages: It and those below it that are not to run, each after the one that holds it.
        stand_ins: Modules that are not to run, with what others find there under the names that they want.

    Raises:
        ImportError: There is no such package.
    """
    name = packages[0]
    if name in sys.modules:
        yield
        return
    try:
        for package in packages:
            spec = importlib.util.find_spec(package)
            if spec is None:
                raise ImportError(f"expected the package {package}, found none")
            sys.modules[package] = importlib.util.module_from_spec(spec)
        for module, names in stand_ins.items():
            sys.modules[module] = ModuleType(module)
            vars(sys.modules[module]).update(names)
        yield
    finally:
        for module in list(sys.modules):  # other threads may import others meanwhile
            if module == name or module.startswith(f"{name}."):
                sys.modules.pop(module, None)
