"""What every use case is given: settings, keys, records, the clock, randomness, and the way to other peers.

The real clock and the real randomness are chosen in `facade.py` only; use cases never reach for them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import trio

from ddtp.agent.lines import Dial, Lines
from ddtp.agent.workers import WORKERS
from ddtp.chain.ledger import Ledger
from ddtp.config import Config
from ddtp.errors import ConfigInvalid, StorageFailed
from ddtp.identity.keys import PrivateKey, Seed
from ddtp.store.records import Records

TRANSFER_PROTOCOL = "/ddtp/transfer/1.0.0"
REQUEST_PROTOCOL = "/ddtp/request/1.0.0"
LEDGER_PROTOCOL = "/ddtp/ledger/1.0.0"
VERIFY_PROTOCOL = "/ddtp/verify/1.0.0"
WITNESS_PROTOCOL = "/ddtp/witness/1.0.0"
COLLECT_PROTOCOL = "/ddtp/collect/1.0.0"

DIAL_TIMEOUT_SECONDS = 15.0
"""A peer that does not answer within this is taken as unreachable: three tries of a lossy mobile link."""
CALL_TIMEOUT_SECONDS = 30.0
"""One question to a ledger, verifier or witness, which answer in milliseconds unless they are overloaded."""


@dataclass(frozen=True, slots=True)
class Context:
    """The surroundings of a use case.

    Attributes:
        config: Settings of this home.
        seed: Source of all keys.
        records: What this home remembers.
        clock: Returns the time in whole seconds since the epoch.
        random_bytes: Returns n random bytes fit for keys.
        peer_id: Our network identity.
        dial: Opens a stream to a peer.
        own_ledger: This process's own log, or None.
        sealing: Held while chunks are sealed, for all transfers together.
        lines: Where questions to other parties go; None dials for each.
    """

    config: Config
    seed: Seed
    records: Records
    clock: Callable[[], int]
    random_bytes: Callable[[int], bytes]
    peer_id: str
    dial: Dial
    own_ledger: Ledger | None = None
    lines: Lines | None = None
    sealing: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(WORKERS))

    @property
    def institution_key(self) -> PrivateKey:
        """The signing key of this institution.

        Raises:
            ConfigInvalid: This home belongs to a person.
        """
        if self.config.institution is None:
            raise ConfigInvalid(
                "expected an institution's home, found a person's", hint="run: ddtp init --institution NAME"
            )
        return self.seed.institution_key("sign")

    def vault_folder(self, name: str) -> Path:
        """Return a folder of the vault, which need not exist yet, to write into.

        Raises:
            StorageFailed: The vault is on a drive that is not there.
        """
        check_vault(self.config)
        return self.config.vault / name


def check_vault(config: Config) -> None:
    """Check that a vault which the settings name is there: made anew, it would lie on the disk below its mount point.

    Raises:
        StorageFailed: It is not there.
    """
    if config.vault_is_set and not config.vault.is_dir():
        raise StorageFailed(
            f"expected the vault at {config.vault}, found no such folder",
            hint="is the drive mounted? a new vault is made by: ddtp init --vault, ddtp vault move, or mkdir",
        )
