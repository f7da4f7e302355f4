"""Which trust policy a check uses, and adding a card's institution to the one of the home."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ddtp.errors import UsageError

if TYPE_CHECKING:
    from ddtp.config import Config
    from ddtp.identity.document import Card
    from ddtp.verify.policy import TrustPolicy

POLICY_FILE: Final = "policy.toml"

_FIRST_LINES: Final = '# Whom this home trusts when it verifies (spec/10 s.2).\nattestation = "issuer"\n'


def find_policy(config: "Config", given: Path | None) -> "TrustPolicy":
    """Load the policy that was given, else that of the home, else that of its receiving or verifying role.

    Raises:
        UsageError: There is none: nothing is trusted by default.
        ConfigInvalid: It is wrong.
    """
    from ddtp.agent.checking import load_policy

    candidates = [config.home / POLICY_FILE, config.receiver and config.receiver.policy, config.verifier_policy]
    path = given or next((path for path in candidates if path and path.exists()), None)
    if path is None:
        raise UsageError(
            "expected a policy that says whom to trust, found none",
            hint="add --policy FILE, or trust the issuer's card: ddtp card add FILE --trust",
        )
    return load_policy(path)


def add_trust(config: "Config", card: "Card") -> Path:
    """Add what a card offers to the policy of the home: issuer, witness, ledgers. What is there stays.

    Raises:
        ConfigInvalid: The policy was wrong before.
        UsageError: The policy has a ledger of this name with another key.
    """
    from ddtp.store.durable import make_directory, write_file
    from ddtp.verify.policy import parse_policy

    path = make_directory(config.home) / POLICY_FILE
    text = path.read_text(encoding="utf-8") if path.exists() else _FIRST_LINES
    text += "".join(_tables(card, parse_policy(text)))
    parse_policy(text)
    write_file(path, text.encode())
    return path


def _tables(card: "Card", policy: "TrustPolicy") -> list[str]:
    from ddtp.identity.document import Role

    # the strings of JSON are strings of TOML
    name = f"name = {json.dumps(card.name, ensure_ascii=False)}\n"
    tables = []
    if Role.ISSUER in card.roles and card.did not in policy.issuers:
        tables.append(f"\n[issuers.{json.dumps(card.did)}]\n{name}")
    if Role.WITNESS in card.roles and card.did not in policy.witnesses:
        tables.append(f"\n[witnesses.{json.dumps(card.did)}]\n{name}")
    for log in card.logs:
        key = policy.logs.get(log.origin)
        if key not in (None, log.public_key):
            raise UsageError(
                f"expected the ledger {log.origin!r} under the key that is trusted already, found another key",
                hint=f"find out why before you change {POLICY_FILE} by hand",
            )
        if key is None:
            origin = json.dumps(log.origin, ensure_ascii=False)
            tables.append(f'\n[logs.{origin}]\npublic_key = "{log.public_key.hex()}"\n')
    return tables
