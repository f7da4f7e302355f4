"""The build back end: setuptools, with an extension that is left out where it cannot be built.

Without a compiler the wheel is pure and tagged as pure; a wheel with a native tag always holds the extension.
`DDTP_CRYPTO=native` at build time makes a failure an error, as it does at run time.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403 - the hooks of PEP 517
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CCompilerError, ExecError, PlatformError

STABLE_ABI = "cp311"
"""Oldest Python whose stable ABI has the buffer protocol."""
OURS = Path(__file__).parent
"""What the extension is made of, besides the sources that pyproject.toml names: a change builds anew, and all of it is
in the source distribution."""


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """Build an editable installation without what an earlier one has put beside the sources (PEP 660).

    If this one cannot compile, that would serve instead of the present sources.
    """
    for path in OURS.parent.glob("ddtp/crypto/_native.*"):
        if path.suffix != ".pyi":
            path.unlink()
    return build_meta.build_editable(wheel_directory, config_settings, metadata_directory)


class BuildNative(build_ext):
    """Builds the extension, or takes it out of the distribution."""

    first_lib = None
    """Where this process built first. An editable installation builds for the tag, and then asks again, for a folder of
    its own that it deletes: what lies here serves."""

    def finalize_options(self):
        """Name the files that the sources include, and those that build them."""
        super().finalize_options()
        files = [*OURS.glob("src/*.inc"), *OURS.glob("src/*.h"), *OURS.glob("src/*.py"), *OURS.glob("*.*")]
        for extension in self.extensions or []:
            extension.depends = ["pyproject.toml", *sorted(f"native/{file.relative_to(OURS)}" for file in files)]

    def run(self):
        """Build, unless that was tried in vain; then nothing of an earlier build may stay."""
        if not self.extensions:
            return
        asked_lib = self.build_lib
        self.first_lib = self.build_lib = self.first_lib or self.build_lib
        built = [self.get_ext_fullpath(extension.name) for extension in self.extensions]
        try:
            super().run()
        except (CCompilerError, ExecError, PlatformError, OSError) as err:
            if os.environ.get("DDTP_CRYPTO") == "native":
                raise
            sys.stderr.write(f"warning: the native extension was not built, libraries are used instead: {err}\n")
            for path in built:
                Path(path).unlink(missing_ok=True)
            self.extensions.clear()
            self.distribution.ext_modules = []
        finally:
            self.build_lib = asked_lib

    def build_extension(self, extension):
        """Tell the extension the version of the distribution, and compile on all cores."""
        version = self.distribution.get_version()
        extension.define_macros = [("DDTP_NATIVE_VERSION", f'"{version}"')]
        one_by_one = self.compiler.compile

        def side_by_side(sources, **options):
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                objects = pool.map(lambda source: one_by_one([source], **options), sources)
                return [path for made in objects for path in made]

        # setuptools works on extensions side by side, not on the sources of one
        self.compiler.compile = side_by_side
        super().build_extension(extension)


class NativeWheel(bdist_wheel):
    """Gives the wheel its tag after the extension was built, because that decides it."""

    def finalize_options(self):
        """Build first, then choose the tag."""
        self.run_command("build_ext")
        if self.distribution.has_ext_modules():
            self.py_limited_api = STABLE_ABI
        super().finalize_options()
