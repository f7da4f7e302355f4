"""The consent screen: the text that a person confirms and the grant names (spec/06-consent s.4).

Made from the signed request and the choice alone, so that the receiver can make it again and compare. One text per
request, choice and language: lines are not wrapped here, because terminals differ; `layout.wrap` does that for display.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from ddtp.consent.choice import Choice, GrantedPackage
from ddtp.consent.request import Ask, Keep, Party, Purpose, Request, When
from ddtp.consent.wording import Words, duration, words
from ddtp.crypto import sm3
from ddtp.errors import ConsentInvalid
from ddtp.identity.language import Language
from ddtp.protocol.envelope import Signed

VERSION: Final = 1
"""Version of wording and order; part of every grant."""

_SECTION: Final = "  "
_DETAIL: Final = "    "


def render(request: Signed[Request], choice: Choice, language: Language) -> str:
    """Return the screen: lines of plain text, each ended by a newline.

    Args:
        request: What is asked, its signature already checked.
        choice: What the person agrees to if they confirm.
        language: Language of the screen; texts of the request stay as they are.

    Raises:
        ConsentInvalid: The choice holds a package or a purpose that was not asked for.
    """
    body, text = request.body, words(language)
    sections = [
        [text.title, *_said(body.title, indent=""), text.quoted],
        [text.who, *_who(body, text)],
        [text.what, *_data(body, choice, text)],
        [text.why, *_purposes(body, choice, text)],
        [text.automated, *(_said(body.automated) or [_SECTION + text.automated_none])],
        [text.onward, *_onward(body, text)],
        [text.when, *_when(choice.when, text)],
        [text.keep, *_keep(body, choice.keep, text)],
        [text.fee, *(_said(body.fee) or [_SECTION + text.fee_none])],
        [text.withdrawal, *_withdrawal(body, choice, text)],
        [text.rights, *_rights(body, text)],
        [text.proof, *_proof(request, choice, text)],
    ]
    return "\n".join(line + "\n" for line in map("\n".join, sections))


def screen_digest(screen: str) -> bytes:
    """Return how a grant names a screen: SM3 of its UTF-8."""
    return sm3.digest(screen.encode())


def _who(request: Request, text: Words) -> Iterator[str]:
    yield from _party(request.receiver, text)
    if request.controllers:
        yield _SECTION + text.controllers
        for party in request.controllers:
            yield from _said(_one_line(party), indent=_DETAIL)


def _party(party: Party, text: Words) -> Iterator[str]:
    yield from _said(party.name)
    if party.country is not None:
        yield _SECTION + text.country.format(code=party.country)
    yield _SECTION + text.identifier.format(did=party.did)
    yield from _labelled(text.contact, party.contact)


def _data(request: Request, choice: Choice, text: Words) -> Iterator[str]:
    for package in choice.packages:
        ask = request.ask_for(package.schema)
        if ask is None:
            raise ConsentInvalid(f"expected a package of a kind that is asked for, found {package.schema!r}")
        yield from _said(package.schema)
        yield from (_DETAIL + line for line in _package(ask, package, text))


def _package(ask: Ask, package: GrantedPackage, text: Words) -> Iterator[str]:
    if ask.sensitive:
        yield text.sensitive
    yield _level(ask, package, text)
    if ask.level > 1:
        yield from _said(*ask.items, indent=_SECTION)
    if package.predicates:
        yield from _labelled(text.proves, *package.predicates, indent="")
    yield from _labelled(text.category, ask.category, indent="")
    yield from _period(ask, text)
    if ask.max_age_seconds is not None:
        yield text.max_age.format(duration=duration(ask.max_age_seconds, text))
    yield from _labelled(text.condition, ask.filter, indent="")
    yield from _labelled(text.others, ask.others, indent="")
    yield text.issuer.format(did=package.issuer)
    yield text.package.format(package=package.package_id.hex())


def _level(ask: Ask, package: GrantedPackage, text: Words) -> str:
    match package.level:
        case 1:
            return text.level_1
        case 2:
            return text.level_2_of_all if ask.level == 1 else text.level_2
        case 3:
            return text.level_3
        case _:
            return text.level_4


def _period(ask: Ask, text: Words) -> Iterator[str]:
    start = None if ask.period_from is None else _time(ask.period_from, text)
    end = None if ask.period_to is None else _time(ask.period_to, text)
    if start and end:
        yield text.period.format(start=start, end=end)
    elif start:
        yield text.period_from.format(start=start)
    elif end:
        yield text.period_to.format(end=end)


def _purposes(request: Request, choice: Choice, text: Words) -> Iterator[str]:
    if choice.purposes[-1] >= len(request.purposes):
        raise ConsentInvalid(f"expected {len(request.purposes)} purposes, found the purpose {choice.purposes[-1]}")
    # what is agreed to comes first; the rest is shown as well, because leaving it out is a choice too
    agreed = [(index, purpose) for index, purpose in enumerate(request.purposes) if index in choice.purposes]
    declined = [(index, purpose) for index, purpose in enumerate(request.purposes) if index not in choice.purposes]
    for index, purpose in agreed:
        box = text.required if purpose.required else text.optional
        yield from _purpose(box.format(number=index + 1), purpose, text)
    for index, purpose in declined:
        yield from _purpose(text.declined.format(number=index + 1), purpose, text)
    operations = text.comma.join(text.permitted[operation] for operation in request.operations)
    yield _SECTION + text.operations.format(operations=operations)


def _purpose(box: str, purpose: Purpose, text: Words) -> Iterator[str]:
    yield _SECTION + box
    yield from _said(purpose.text, indent=_DETAIL)
    yield _DETAIL + text.basis.format(basis=text.bases[purpose.basis])
    yield from _labelled(text.service, purpose.service, indent=_DETAIL)


def _onward(request: Request, text: Words) -> Iterator[str]:
    if request.onward:
        yield from _said(*map(_one_line, request.onward))
    else:
        yield _SECTION + text.onward_none
    yield from _labelled(text.place, *(request.locations or ()))
    yield from _labelled(text.cross_border, request.cross_border)


def _when(when: When, text: Words) -> Iterator[str]:
    yield _SECTION + text.starts.format(time=_time(when.not_before, text))
    yield _SECTION + text.ends.format(time=_time(when.expires, text))
    yield _SECTION + text.uses.format(count=when.uses)
    if when.every_seconds is not None:
        yield _SECTION + text.every.format(duration=duration(when.every_seconds, text))


def _keep(request: Request, keep: Keep, text: Words) -> Iterator[str]:
    if keep.until is not None:
        yield _SECTION + text.keep_until.format(time=_time(keep.until, text))
    if keep.seconds is not None:
        yield _SECTION + text.keep_seconds.format(duration=duration(keep.seconds, text))
    yield from _labelled(text.keep_event, keep.event)
    if sum(end is not None for end in (keep.until, keep.seconds, keep.event)) > 1:
        yield _SECTION + text.keep_first
    yield _SECTION + text.at_end[keep.at_end]
    if request.erase_within_seconds is not None:
        yield _SECTION + text.erase_within.format(duration=duration(request.erase_within_seconds, text))
    yield from _labelled(text.legal_holds, *(request.legal_holds or ()))
    yield from _labelled(text.reports, request.use_reports)


def _withdrawal(request: Request, choice: Choice, text: Words) -> Iterator[str]:
    yield from _said(*request.withdrawal)
    yield _SECTION + text.withdrawal_delay.format(duration=duration(choice.withdrawal_delay_seconds, text))
    yield from _labelled(text.withdrawal_effect, request.withdrawal_effect)


def _rights(request: Request, text: Words) -> Iterator[str]:
    yield from _said(*(request.rights or ()))
    if request.authority is not None:
        yield from _labelled(text.authority, _one_line(request.authority))
    yield _SECTION + text.law.format(codes=text.comma.join(request.jurisdictions))
    yield from _labelled(text.profile, request.profile)
    yield from _labelled(text.notice, request.notice.uri)
    yield from _labelled(text.notice_version, request.notice.version)
    yield _SECTION + text.notice_digest.format(digest=request.notice.digest.hex())


def _proof(request: Signed[Request], choice: Choice, text: Words) -> Iterator[str]:
    body = request.body
    if body.logs:
        yield from _labelled(text.logs, *body.logs)
    else:
        yield _SECTION + text.logs_any
    yield from _labelled(text.verifier, body.verifier)
    yield _SECTION + text.form.format(kind=text.kinds[choice.kind])
    # the digest ties the text to the exact request, also where its words are the same as another's
    yield _SECTION + text.request.format(request=request.digest.hex())
    yield _SECTION + text.answer_until.format(time=_time(body.expires, text))


def _said(*texts: str | None, indent: str = _SECTION) -> Sequence[str]:
    """Return words of the requester, marked as such; they hold no newline, so they cannot leave their line."""
    return [f"{indent}> {each}" for each in texts if each is not None]


def _labelled(label: str, *texts: str | None, indent: str = _SECTION) -> Iterable[str]:
    said = _said(*texts, indent=indent + _SECTION)
    return [indent + label, *said] if said else []


def _one_line(party: Party) -> str:
    return " · ".join(part for part in (party.name, party.country, party.contact, party.did) if part is not None)


def _time(seconds: int, text: Words) -> str:
    moment = datetime.fromtimestamp(seconds + text.utc_offset_seconds, tz=UTC)
    # whole minutes are what people write; other seconds are shown rather than rounded away
    form = "%Y-%m-%d %H:%M:%S" if seconds % 60 else "%Y-%m-%d %H:%M"
    return f"{moment.strftime(form)} {text.time_zone}"
