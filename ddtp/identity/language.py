"""The languages that people are addressed in."""

from enum import Enum


class Language(Enum):
    """A language of screens, reports and phrases; the value is its tag of RFC 5646."""

    EN = "en"
    ZH = "zh"
