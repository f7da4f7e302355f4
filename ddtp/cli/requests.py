"""A request in plain words: who asks for what, why, and for how long (spec/06 s.2).

This is for reading only. What a person confirms is the consent screen, which also shows their choice.
"""

from collections.abc import Iterator

from ddtp.consent.layout import wrap
from ddtp.consent.request import EVERYTHING, Ask, Request
from ddtp.consent.wording import duration, words
from ddtp.identity.language import Language


def describe(request: Request, language: Language, *, columns: int) -> str:
    """Return a request as text for people; lines that start with ">" are the requester's words.

    Args:
        request: What is asked, its signature already checked.
        language: Language of the text.
        columns: Width of the terminal in cells.
    """
    return wrap("\n".join(_lines(request, language)), columns)


def to_json(request: Request) -> dict[str, object]:
    """Return a request as a JSON object."""
    return {
        "request_id": request.request_id.hex(),
        "receiver": request.receiver.did,
        "receiver_name": request.receiver.name,
        "title": request.title,
        "issued": request.issued,
        "expires": request.expires,
        "asks": [
            {"schema": ask.schema, "items": list(ask.items), "level": ask.level, "sensitive": ask.sensitive}
            for ask in request.asks
        ],
        "purposes": [
            {"number": number, "code": purpose.code, "text": purpose.text, "required": purpose.required}
            for number, purpose in enumerate(request.purposes, start=1)
        ],
        "permitted_until": request.when.expires,
        "uses": request.when.uses,
        "keep_seconds": request.keep.seconds,
        "keep_until": request.keep.until,
        "notice": request.notice.uri,
    }


def _lines(request: Request, language: Language) -> Iterator[str]:
    text = words(language)
    yield from (f"> {request.title}", text.quoted, "")
    yield from (text.who, f"  > {request.receiver.name}", "  " + text.identifier.format(did=request.receiver.did), "")
    yield text.what
    for ask in request.asks:
        yield from _ask(ask, language)
    yield from ("", text.why)
    for number, purpose in enumerate(request.purposes, start=1):
        box = text.required if purpose.required else text.optional
        # nothing is agreed to yet, so no box is ticked
        yield from ("  " + box.format(number=number).replace("[x]", "[ ]"), f"    > {purpose.text}")
        yield "    " + text.basis.format(basis=text.bases[purpose.basis])
    yield from ("", text.keep)
    if request.keep.seconds is not None:
        yield "  " + text.keep_seconds.format(duration=duration(request.keep.seconds, text))
    if request.keep.event is not None:
        yield from ("  " + text.keep_event, f"    > {request.keep.event}")
    yield "  " + text.at_end[request.keep.at_end]
    yield from ("", text.withdrawal, *(f"  > {sentence}" for sentence in request.withdrawal))


def _ask(ask: Ask, language: Language) -> Iterator[str]:
    text = words(language)
    yield f"  > {ask.schema}"
    if ask.sensitive:
        yield "    " + text.sensitive
    yield "    " + {1: text.level_1, 2: text.level_2, 3: text.level_3, 4: text.level_4}[ask.level]
    if ask.items != (EVERYTHING,):
        yield from (f"      > {item}" for item in ask.items)
    if ask.max_age_seconds is not None:
        yield "    " + text.max_age.format(duration=duration(ask.max_age_seconds, text))
