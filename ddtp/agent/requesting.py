"""Use case: an institution answers "what do you want, and why?" with a signed request from a template (spec/06 s.2).

A template is a TOML file whose name is the request's name; its keys are the fields of the request, without those that
make every request a different one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from ddtp.agent.context import Context
from ddtp.config import read_toml
from ddtp.consent.request import Request
from ddtp.errors import ConfigInvalid, DecodeError, NotFound
from ddtp.identity.keys import PrivateKey
from ddtp.protocol import codec, envelope
from ddtp.protocol.envelope import Signed

TEMPLATE_SUFFIX = ".toml"
MAX_TEMPLATE_NAME_CHARACTERS = 64

_OWN_FIELDS = ("request_id", "issued", "expires", "receiver", "nonce")
_TIMES = ("valid_seconds", "use_seconds")


def template_names(folder: Path) -> tuple[str, ...]:
    """Return the names of the templates in a folder."""
    return tuple(sorted(path.stem for path in folder.glob(f"*{TEMPLATE_SUFFIX}")))


def make_request(context: Context, folder: Path, name: str, *, signer: PrivateKey) -> Signed[Request]:
    """Sign a fresh request from a template.

    Args:
        context: Surroundings of an institution.
        folder: Where the templates are.
        name: Which template.
        signer: The institution's key.

    Raises:
        NotFound: There is no such template.
        ConfigInvalid: The template is wrong.
    """
    if name not in template_names(folder):
        raise NotFound(f"expected one of the requests {', '.join(template_names(folder))}, found {name[:32]!r}")
    table = dict(read_toml(folder / f"{name}{TEMPLATE_SUFFIX}"))
    taken = [field for field in _OWN_FIELDS if field in table]
    if taken:
        raise ConfigInvalid(f"expected no {taken[0]} in the request template {name}, found one")
    valid, use = (_seconds(table, key, name) for key in _TIMES)
    now = context.clock()
    institution = context.config.institution
    if institution is None:
        raise ConfigInvalid("expected an institution in the settings, found none")
    receiver = {"did": signer.did, "name": institution.name, "contact": institution.contact}
    table |= {
        "request_id": context.random_bytes(16),
        "nonce": context.random_bytes(32),
        "issued": now,
        "expires": now + valid,
        "receiver": receiver | {"country": institution.country},
        "when": {"not_before": now, "expires": now + use, "uses": _uses(table, name)},
        "notice": _notice(table, name),
    }
    try:
        return envelope.sign(Request.from_value(_plain(table)), signer)
    except DecodeError as err:
        raise ConfigInvalid(f"the request template {name} is wrong: {err.message}") from err


def _seconds(table: dict[str, object], key: str, name: str) -> int:
    value = table.pop(key, None)
    if type(value) is not int or value <= 0:
        raise ConfigInvalid(f"expected {key}, a number of seconds, in the request template {name}")
    return value


def _uses(table: dict[str, object], name: str) -> int:
    value = table.pop("uses", 1)
    if type(value) is not int or value < 1:
        raise ConfigInvalid(f"expected uses, a whole number from 1, in the request template {name}")
    return value


def _notice(table: Mapping[str, object], name: str) -> dict[str, object]:
    notice = table.get("notice")
    if not isinstance(notice, dict) or not isinstance(notice.get("digest"), str):
        raise ConfigInvalid(f"expected a notice with uri, digest and language in the request template {name}")
    try:
        return notice | {"digest": bytes.fromhex(notice["digest"])}
    except ValueError as err:
        raise ConfigInvalid(f"expected the notice's digest in hexadecimal in the request template {name}") from err


def _plain(table: Mapping[str, object]) -> codec.Value:
    return cast("codec.Value", dict(table))
