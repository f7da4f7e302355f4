"""Settings: what a file and the environment say together."""

from pathlib import Path

from ddtp.config import CONFIG_FILE, load_config
from ddtp.identity.language import Language


def test_environment_wins_over_the_file(tmp_path: Path) -> None:
    """A setting that the environment overrides may still stand in the file."""
    (tmp_path / CONFIG_FILE).write_text('language = "en"\npassphrase_file = "pass"\n')
    environment = {"DDTP_LANGUAGE": "zh", "DDTP_PASSPHRASE_FILE": "/run/pass"}
    config = load_config(home=tmp_path, environment=environment)
    assert (config.language, config.passphrase_file) == (Language.ZH, Path("/run/pass"))
    config = load_config(home=tmp_path, environment={})
    assert (config.language, config.passphrase_file) == (Language.EN, tmp_path / "pass")
