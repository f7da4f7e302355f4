"""Use case: an institution answers "what do you want, and why?" with a signed request from a template (spec/06 s.2).

A template is a TOML file whose name is the request's name; its keys are the fields of the request, without those that
make every request a different one. Times are lengths: `valid_seconds` of the request, `use_seconds` of the consent,
with `uses` and `every_seconds` of its `when`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from ddtp.agent.context import Context
from ddtp.config import Institution, read_toml
from ddtp.consent.request import Request
from ddtp.errors import ConfigInvalid, DecodeError, NotFound
from ddtp.identity.keys import PrivateKey
from ddtp.identity.naming import check_name
from ddtp.protocol import codec, envelope
from ddtp.protocol.envelope import Signed

TEMPLATE_SUFFIX = ".toml"
MAX_TEMPLATE_NAME_BYTES = 64
"""Of a question for a request (spec/15)."""

_OWN_FIELDS = ("request_id", "issued", "expires", "receiver", "nonce", "when")
_TIMES = ("valid_seconds", "use_seconds")


def template_names(folder: Path) -> tuple[str, ...]:
    """Return the names of the templates in a folder."""
    return tuple(sorted(path.stem for path in folder.glob(f"*{TEMPLATE_SUFFIX}")))


def make_request(
    context: Context, folder: Path, name: str, *, signer: PrivateKey, verifier: str | None = None
) -> Signed[Request]:
    """Sign a fresh request from a template.

    Args:
        context: Surroundings of an institution.
        folder: Where the templates are.
        name: Which template.
        signer: The institution's key.
        verifier: DID of who judges the evidence, if that is somebody else: the person must read it before they agree.

    Raises:
        NotFound: There is no such template.
        ConfigInvalid: The template is wrong; names the file.
    """
    if name not in template_names(folder):
        raise NotFound(f"expected one of the requests {', '.join(template_names(folder))}, found {name[:32]!r}")
    institution = context.config.institution
    if institution is None:
        raise ConfigInvalid("expected an institution in the settings, found none")
    path, now, identifiers = folder / f"{name}{TEMPLATE_SUFFIX}", context.clock(), context.random_bytes
    table = _fill(path, institution, signer=signer, verifier=verifier, now=now)
    return _sign(table | {"request_id": identifiers(16), "nonce": identifiers(32)}, path, signer)


def check_templates(
    folder: Path, institution: Institution, *, signer: PrivateKey, now: int, verifier: str | None = None
) -> tuple[str, ...]:
    """Sign every template once, so that the institution finds what is wrong with one before its customers do.

    Returns:
        The names of all templates.

    Raises:
        ConfigInvalid: A template is wrong, or the folder is not there; names the file.
    """
    if not folder.is_dir():
        raise ConfigInvalid(f"expected the folder of [receiver] requests at {folder}, found none")
    names = template_names(folder)
    for name in names:
        if len(name.encode()) > MAX_TEMPLATE_NAME_BYTES:
            raise ConfigInvalid(
                f"expected at most {MAX_TEMPLATE_NAME_BYTES} bytes in a name in {folder}, found {name!r}"
            )
        try:
            check_name(name)
        except DecodeError as err:
            raise ConfigInvalid(f"the name {name!r} in {folder} cannot stand on a card: {err.message}") from err
        path = folder / f"{name}{TEMPLATE_SUFFIX}"
        table = _fill(path, institution, signer=signer, verifier=verifier, now=now)
        # nobody is given this one, so its identifiers need not be random
        _sign(table | {"request_id": bytes(16), "nonce": bytes(32)}, path, signer)
    return names


def _fill(
    path: Path, institution: Institution, *, signer: PrivateKey, verifier: str | None, now: int
) -> dict[str, object]:
    """Return the fields of a request from a template, without its identifiers."""
    table = dict(read_toml(path))
    taken = [field for field in _OWN_FIELDS if field in table]
    if taken:
        raise ConfigInvalid(f"expected no {taken[0]} in {path}, which is made for every request; found one")
    _name_verifier(table, verifier if verifier != signer.did else None, path)
    valid, use = (_seconds(table, key, path) for key in _TIMES)
    limits = _use_limits(table, path)
    receiver = {"did": signer.did, "name": institution.name, "contact": institution.contact}
    return table | {
        "issued": now,
        "expires": now + valid,
        "receiver": receiver | {"country": institution.country},
        "when": {"not_before": now, "expires": now + use} | limits,
        "notice": _notice(table, path),
    }


def _sign(table: Mapping[str, object], path: Path, signer: PrivateKey) -> Signed[Request]:
    try:
        return envelope.sign(Request.from_value(_plain(table)), signer)
    except DecodeError as err:
        raise ConfigInvalid(f"the request template {path} is wrong: {err.message}") from err


def _name_verifier(table: dict[str, object], verifier: str | None, path: Path) -> None:
    """Say who judges (spec/06 s.2); a template cannot say otherwise than the settings do."""
    told = table.get("verifier", verifier)
    if told != verifier:
        raise ConfigInvalid(
            f"expected the verifier of the settings in {path}, {verifier or 'which is nobody'}; found {told!r}",
            hint="leave verifier out of the template, and set [receiver] verifier",
        )
    if verifier is not None:
        table["verifier"] = verifier


def _seconds(table: dict[str, object], key: str, path: Path) -> int:
    value = table.pop(key, None)
    if type(value) is not int or value <= 0:
        found = "none" if value is None else repr(value)
        raise ConfigInvalid(f"expected {key}, a number of seconds, in {path}, found {found}")
    return value


def _use_limits(table: dict[str, object], path: Path) -> dict[str, object]:
    limits = {"uses": table.pop("uses", 1)}
    if "every_seconds" in table:
        limits["every_seconds"] = table.pop("every_seconds")
    for key, value in limits.items():
        if type(value) is not int or value < 1:
            raise ConfigInvalid(f"expected {key}, a whole number from 1, in {path}, found {value!r}")
    return limits


def _notice(table: Mapping[str, object], path: Path) -> dict[str, object]:
    notice = table.get("notice")
    if not isinstance(notice, dict) or not isinstance(notice.get("digest"), str):
        raise ConfigInvalid(f"expected a table [notice] with uri, digest and language in {path}")
    try:
        return notice | {"digest": bytes.fromhex(notice["digest"])}
    except ValueError as err:
        raise ConfigInvalid(f"expected the digest of [notice] in hexadecimal in {path}") from err


def _plain(table: Mapping[str, object]) -> codec.Value:
    return cast("codec.Value", dict(table))
