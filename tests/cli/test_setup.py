"""Making, restoring and showing an identity."""

import stat
import tomllib
from pathlib import Path

import pytest

from ddtp.identity.phrase import parse_phrase
from tests.cli.conftest import CARD, Run

pytestmark = pytest.mark.slow


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_init_makes_a_private_home(ddtp: Run, home: Path) -> None:
    """Home and key file are for their owner alone, and stdout tells what to do next."""
    done = ddtp("init", "--no-passphrase")
    assert done.code == 0
    assert (mode(home), mode(home / "identity.key")) == (0o700, 0o600)
    assert "ddtp card add" in done.out
    assert not (home / "config.toml").exists()


def test_init_refuses_twice(person: Run, home: Path) -> None:
    """An identity is never replaced."""
    before = (home / "identity.key").read_bytes()
    done = person("init", "--no-passphrase")
    assert done.code == 1
    assert "found one" in done.err
    assert (home / "identity.key").read_bytes() == before


def test_init_without_terminal_names_the_flags(ddtp: Run, home: Path) -> None:
    """Nobody can be asked for a passphrase: exit 2, both flags named, nothing made."""
    done = ddtp("init")
    assert (done.code, done.out) == (2, "")
    assert "--passphrase-file" in done.err
    assert "--no-passphrase" in done.err
    assert not home.exists()


def test_init_of_an_institution_writes_settings(ddtp: Run, home: Path) -> None:
    """The settings hold what was said, in a file that the settings reader accepts."""
    done = ddtp("init", *CARD, "--no-passphrase", "--json")
    assert done.code == 0
    assert done.json["kind"] == "institution"
    settings = tomllib.loads((home / "config.toml").read_text())
    assert settings == {"institution": {"name": "Bank A", "country": "CN", "contact": "privacy@bank-a.example"}}
    assert ddtp("id", "--json").json["did"] == done.json["did"]


@pytest.mark.parametrize("wrong", [("--institution", "Bank A"), (*CARD[:3], "China", *CARD[4:])])
def test_init_of_half_an_institution_is_refused(ddtp: Run, home: Path, wrong: tuple[str, ...]) -> None:
    """What could not stand on a card is refused before anything is made."""
    assert ddtp("init", *wrong, "--no-passphrase").code == 2
    assert not home.exists()


def test_init_keeps_settings_that_are_there(ddtp: Run, home: Path) -> None:
    """Settings that somebody prepared are used, and never replaced."""
    home.mkdir()
    (home / "config.toml").write_text('language = "zh"\n')
    assert ddtp("init", *CARD, "--no-passphrase").code == 1
    assert not (home / "identity.key").exists()
    done = ddtp("init", "--no-passphrase")
    assert done.code == 0
    assert "下一步" in done.out


def test_init_with_names_that_need_quoting(ddtp: Run) -> None:
    """Quotes and Chinese characters in a name survive the settings file."""
    name = '银行 "A" \\ Co'
    card = ("--institution", name, *CARD[2:])
    assert ddtp("init", *card, "--no-passphrase").code == 0
    assert ddtp("id", "--json").json["name"] == name


def test_phrase_restores_the_same_identity(ddtp: Run, home: Path, tmp_path: Path) -> None:
    """The 24 words bring back the same identifier in another home."""
    made = ddtp("init", "--no-passphrase", "--show-phrase", "--json").json
    words = tmp_path / "words.txt"
    words.write_text(made["phrase"])
    other = tmp_path / "other"
    restored = ddtp("init", "--no-passphrase", "--phrase", words, "--json", home=other).json
    assert restored["did"] == made["did"]
    assert restored["restored"] is True
    assert "phrase" not in restored
    again = ddtp("phrase", "--yes", "--json", home=other).json
    assert again["phrase"] == made["phrase"]


def test_chinese_phrase_restores_from_stdin(ddtp: Run, tmp_path: Path) -> None:
    """A phrase in Chinese is shown with --language zh, and read from stdin."""
    made = ddtp("init", "--no-passphrase", "--show-phrase", "--json", "--language", "zh").json
    assert len(made["phrase"].split()) == 24
    parse_phrase(made["phrase"])
    other = ddtp("init", "--no-passphrase", "--phrase", "-", "--json", home=tmp_path / "o", stdin=made["phrase"])
    assert other.json["did"] == made["did"]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_phrase_as_it_is_shown_restores(person: Run, tmp_path: Path, language: str) -> None:
    """What `ddtp phrase` prints, with its numbers, is what `ddtp init --phrase` reads."""
    shown = person("phrase", "--yes", "--language", language).out
    assert " 1. " in shown
    restored = person("init", "--no-passphrase", "--phrase", "-", "--json", home=tmp_path / "o", stdin=shown)
    assert restored.code == 0, restored.err
    assert (
        restored.json["did"]
        == person(
            "init",
            "--no-passphrase",
            "--phrase",
            "-",
            "--json",
            home=tmp_path / "p",
            stdin=person("phrase", "--yes", "--json").json["phrase"],
        ).json["did"]
    )


def test_wrong_phrase_names_the_word(ddtp: Run, home: Path) -> None:
    """A misspelt word is named and corrected; nothing is made."""
    done = ddtp("init", "--no-passphrase", "--phrase", "-", stdin="abandn " + "abandon " * 23)
    assert done.code == 2
    assert "abandon" in done.err
    assert not home.exists()


def test_phrase_is_not_shown_without_terminal(ddtp: Run) -> None:
    """A run whose output goes to a log shows no secret, and says how to see it."""
    done = ddtp("init", "--no-passphrase")
    assert "ddtp phrase" in done.err
    words = ddtp("phrase", "--yes", "--json").json["phrase"].split()
    # a few of the 2048 words stand in any English sentence
    assert len(set(words) & set((done.out + done.err).split())) < 6
    assert ddtp("phrase").code == 2


def test_init_at_a_terminal(terminal: Run, ddtp: Run) -> None:
    """A person is asked for the passphrase twice, sees the words once on stderr, and needs the passphrase after."""
    done = terminal("init", answers=[("machine: ", "correct horse\n"), ("again: ", "correct horse\n")])
    assert done.code == 0
    assert "24." in done.err
    assert "24." not in done.out
    assert "correct horse" not in done.err
    refused = ddtp("phrase", "--yes")
    assert refused.code == 4
    assert "--passphrase-file" in refused.err


def test_differing_passphrases_make_nothing(terminal: Run, home: Path) -> None:
    """Two different passphrases are a mistake of typing."""
    done = terminal("init", answers=[("machine: ", "one\n"), ("again: ", "two\n")])
    assert done.code == 2
    assert not home.exists()


@pytest.mark.parametrize("answer", ["\n", "n\n"])
def test_no_is_the_default(terminal: Run, person: Run, answer: str) -> None:
    """Asked whether to show the phrase, anything but yes shows nothing and exits 3."""
    done = terminal("phrase", answers=[("[y/N] ", answer)])
    assert (done.code, done.out) == (3, "")


def test_yes_shows_the_phrase(terminal: Run, person: Run) -> None:
    """After a yes the words are the result, on stdout."""
    done = terminal("phrase", answers=[("[y/N] ", "y\n")])
    assert done.code == 0
    assert "24." in done.out


def test_end_of_input_at_a_question_cancels(terminal: Run, person: Run) -> None:
    """Ctrl-D, which ends the input, cancels."""
    assert terminal("phrase", answers=[("[y/N] ", "\x04")]).code == 3


def test_words_fit_a_narrow_terminal(terminal: Run) -> None:
    """At 60 columns the recovery words stand four in a line, none is broken, and the advice around them neither."""
    done = terminal("init", "--no-passphrase", answers=[], COLUMNS="60")
    assert done.code == 0
    assert max(map(len, done.err.splitlines())) <= 60
    assert len([line for line in done.err.splitlines() if ". " in line[:4]]) == 6


@pytest.mark.parametrize("command", ["init", "phrase"])
def test_ctrl_c_at_a_question_is_an_interruption(terminal: Run, home: Path, ddtp: Run, command: str) -> None:
    """Ctrl-C exits 130 at every question, on a line of its own, and offers nothing to go on with; Ctrl-D exits 3."""
    if command == "phrase":
        ddtp("init", "--no-passphrase")
    question = "[y/N] " if command == "phrase" else "machine: "
    broken = terminal(command, answers=[(question, "\x03")])
    assert (broken.code, broken.out) == (130, "")
    assert broken.err.endswith("\ninterrupted\n")
    ended = terminal(command, answers=[(question, "\x04")])
    assert (ended.code, ended.out) == (3, "")
    assert "cancelled" in ended.err


def test_passphrase_may_be_mistyped_twice(terminal: Run, ddtp: Run, tmp_path: Path) -> None:
    """At a terminal it is asked for three times; then the way back by the phrase is named, and nothing technical."""
    secret = tmp_path / "secret"
    secret.write_text("short\n")
    made = ddtp("init", "--passphrase-file", secret)
    assert made.code == 0
    assert "fewer than 8" in made.err
    wrong, again = ("Passphrase: ", "wrong\n"), ("Again, please.\r\nPassphrase: ", "wrong\n")
    third = ("please.\r\nPassphrase: \r\nThis is not the passphrase. Again, please.\r\nPassphrase: ", "short\n")
    assert terminal("phrase", "--yes", answers=[wrong, again, third]).code == 0
    lost = terminal("phrase", "--yes", answers=[wrong, again, (third[0], "wrong\n")])
    assert (lost.code, lost.out) == (4, "")
    assert "init --phrase" in lost.err
    assert "tag" not in lost.err


def test_passphrase_file(ddtp: Run, home: Path, tmp_path: Path) -> None:
    """The first line of a file opens the keys, given as an option or in the environment; another does not."""
    right, wrong, empty = tmp_path / "right", tmp_path / "wrong", tmp_path / "empty"
    right.write_text("open sesame\r\nand a second line\n")
    wrong.write_text("closed\n")
    empty.write_text("\n")
    made = ddtp("init", "--passphrase-file", right, "--json").json
    assert made["sealed"] is True
    assert ddtp("phrase", "--yes", "--passphrase-file", right).code == 0
    assert ddtp("phrase", "--yes", DDTP_PASSPHRASE_FILE=str(right)).code == 0
    assert ddtp("phrase", "--yes", "--passphrase-file", wrong).code == 4
    assert ddtp("phrase", "--yes", "--passphrase-file", empty).code == 2
    assert ddtp("phrase", "--yes", "--passphrase-file", tmp_path / "none").code == 2


def test_vault_elsewhere(ddtp: Run, home: Path, tmp_path: Path) -> None:
    """--vault is remembered as an absolute path, and made for its owner alone."""
    vault = tmp_path / "a drive" / "vault"
    assert ddtp("init", "--no-passphrase", "--vault", vault).code == 0
    assert ddtp("paths", "--json").json["vault"] == str(vault)
    assert mode(vault) == 0o700


def test_vault_of_a_new_home_moves(person: Run, home: Path, tmp_path: Path) -> None:
    """A home without packages has no vault yet, and may say where it is to be."""
    assert person("vault", "move", tmp_path / "drive").code == 0
    assert (tmp_path / "drive").is_dir()
    assert person("paths", "--json").json["vault"] == str(tmp_path / "drive")
    (tmp_path / "drive").rmdir()
    done = person("vault", "move", tmp_path / "other", "--json")
    assert done.code == 1
    assert "is the drive mounted?" in done.error["hint"]
    assert not (tmp_path / "other").exists()


def test_every_command_without_identity_explains_init(ddtp: Run) -> None:
    """Whoever starts with another command is told how to begin."""
    for line in (["transfers"], ["card", "list"], ["inbox"], ["id"], ["send", "pyproject.toml"], ["ledger", "head"]):
        done = ddtp(*line)
        assert done.code == 4, line
        assert "ddtp init" in done.err


def test_yes_in_chinese(terminal: Run, person: Run) -> None:
    """A question in Chinese is answered in Chinese."""
    done = terminal("phrase", "--language", "zh", answers=[("[y/N] ", "是\n")])
    assert done.code == 0
