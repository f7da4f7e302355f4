"""Names and wording: nothing that looks like something else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddtp.errors import DecodeError
from ddtp.identity.naming import check_name, check_wording, show_blanks
from tests.vectors import Case, check, load


@pytest.mark.parametrize("case", [case for case in load("05-identity") if case.operation == "name"], ids=str)
def test_vector(case: Case) -> None:
    """Each vector of a name is accepted or refused."""
    check(case, {"name": lambda case: check_name(case.input["name"])})


@pytest.mark.parametrize(
    "name",
    [
        "City Bank",
        "城市银行",
        "城市银行 City Bank（中国）有限公司",
        "みずほ銀行 Mizuho",
        "イオンカード 佐々木",
        "국민은행 KB",
        "Société Générale S.A.",
        "Сбербанк",
        "Εθνική Τράπεζα",
        "ธนาคารกรุงเทพ",
        "7-Eleven 银行",
        "Bank 24",
    ],
)
def test_honest_names(name: str) -> None:
    """Names as banks have them, in one script, or Latin beside East Asian ones."""
    check_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "City B\u0430nk",  # Cyrillic a
        "\u0410BC",  # Cyrillic A
        "B\u03b1nk",  # Greek alpha
        "\u0421\u0421\u0392",  # Cyrillic and Greek
        "城市\u0430银行",  # Cyrillic beside Chinese
        "\uff22ank",  # full-width B
        "\uff22\uff21\uff2e\uff2b",  # full-width letters alone
        "\u212aB",  # Kelvin sign
        "\U0001d401ank",  # mathematical B
        "Ban\u029e\u02b0",  # modifier letter
        "\u2167 Bank",  # Roman numeral eight
        "Bank\u3164",
        "Bank\u00a0One",
        "Bank  One",
        " Bank",
        "Bank ",
        "\u0301Bank",
        "...",
        "q\u0301\u0302\u0303\u0304",
        "ธ\u0e01\u0e19K",  # Thai and Latin
        "Bank \u0664",  # Arabic-Indic digit
    ],
)
def test_deceptive_names(name: str) -> None:
    """Look-alikes from other scripts, letters that stand for others, and odd blanks are refused."""
    with pytest.raises(DecodeError):
        check_name(name)


@given(
    st.sampled_from("abcdefghijklmnopqrstuvwxyz"),
    st.sampled_from("абвгдежзиклмнопрстуфхцчшщэюяαβγδεζηθικλμνξοπρστυφχψω"),
)
def test_no_latin_word_holds_a_foreign_letter(latin: str, foreign: str) -> None:
    """Wherever it stands, a Cyrillic or Greek letter in a Latin name is refused."""
    for name in (latin * 3 + foreign, foreign + latin, f"{latin} {foreign}", f"{latin}-{foreign}{latin}"):
        with pytest.raises(DecodeError, match="one script"):
            check_name(name)


@pytest.mark.parametrize("text", ["", "a", "a b", "（甲）乙、丙。", "名 Name Имя", "1 + 1 = 2"])
def test_plain_wording(text: str) -> None:
    """Wording may mix scripts; only its blanks and marks are bounded."""
    check_wording(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("papers/my deed.pdf", "papers/my deed.pdf"),
        ("发票 2026.pdf", "发票 2026.pdf"),
        ("a  b", "a␣␣b"),
        ("a\u00a0b\u2800\u3000c", "a␣b␣␣c"),
        ("a \u00a0 b", "a ␣ b"),
        (" a ", "␣a␣"),
        ("a" + "\u0301" * 5, "a" + "\u0301" * 3 + "??"),
    ],
)
def test_blanks_are_shown(text: str, shown: str) -> None:
    """Honest names stay; blanks that push text around, and piles of marks, become visible."""
    assert show_blanks(text) == shown
