"""A framework that trains on Ray, as an adapter knows it: the version that was measured, and what is found here."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from echorl_vl.config import ConfigIssue
from echorl_vl.engines.ray.hooks import Hook, hook_faults
from echorl_vl.errors import UserError


@dataclass(frozen=True)
class Package:
    """The versions of a package that a host runs with, as pip writes them: any where there are none.

    on_cpu: those of a CPU dry run, where they are others. gpu_only: a CPU dry run does without the package.
    """

    why: str
    versions: str = ""
    on_cpu: str | None = None
    gpu_only: bool = False

    def issue(self, name: str, found: str | None, cpu: bool) -> str | None:
        """What is wrong with the version that was found (None: it is not installed); None if nothing is."""
        from packaging.specifiers import SpecifierSet
        from packaging.version import InvalidVersion, Version

        versions = self.on_cpu or self.versions if cpu else self.versions
        if found is None:
            what = f"{name}{versions} ({self.why})" if versions else f"the package {name}"
            return f"{what}, which is not installed: pip install '{name}{versions}'"
        try:
            fits = SpecifierSet(versions).contains(Version(found), prereleases=True)
        except InvalidVersion:
            return None
        return None if fits else f"{name}{versions} ({self.why}); got {found}: pip install '{name}{versions}'"


@dataclass(frozen=True)
class Host:
    """The host framework of an engine; its package is called `verl`, as several are.

    engine: the engine's name. name, measured: the host's, and the version whose behaviour was measured. marker: a file
    that of all packages called `verl` only this one has. install: how to get it. packages: what it depends on.
    """

    engine: str
    name: str
    measured: str
    marker: str
    install: str
    packages: Mapping[str, Package]
    hooks: tuple[Hook, ...]

    def is_installed(self) -> bool:
        """Whether `import verl` would bring this host. Nothing of it is run."""
        folder = _verl_folder()
        return folder is not None and (folder / self.marker).is_file()

    def found(self) -> str:
        """What `import verl` would bring, in words."""
        if _verl_folder() is None:
            return "no package verl"
        name = self.name if self.is_installed() else "another package verl"
        return f"{name} {installed_version('verl') or 'of unknown version'}"

    def check_installed(self) -> None:
        """Raises UserError unless `import verl` would bring this host."""
        if not self.is_installed():
            raise UserError(
                f"engine {self.engine}: expected {self.name} {self.measured}, got {self.found()}: {self.install} into "
                "an environment of its own, since EasyR1 and the official verl are both called verl, and exclude each "
                "other."
            )

    def version_issues(self, cpu: bool, installed: Callable[[str], str | None] | None = None) -> Iterator[ConfigIssue]:
        """Packages that are missing or of a version that the host does not run with.

        Args:
            cpu: for a CPU dry run.
            installed: name of a package -> its version, or None.
        """
        for name, package in self.packages.items():
            if cpu and package.gpu_only:
                continue
            if issue := package.issue(name, (installed or installed_version)(name), cpu):
                yield ConfigIssue((), f"engine {self.engine} needs {issue}")

    def check_hooks(self, hooks: tuple[Hook, ...] | None = None) -> None:
        """Imports the host.

        Raises:
            UserError: lists each hook that is missing or can't be called as it is, or names a missing package.
        """
        if lines := hook_faults(self.hooks if hooks is None else hooks, self.engine):
            raise UserError(
                f"engine {self.engine}: found {self.found()}, which differs from {self.name} {self.measured} where the "
                f"adapter hooks in:\n{lines}\nInstall that version ({self.install}), or run with another engine."
            )


def installed_version(package: str) -> str | None:
    """None for a package that is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _verl_folder() -> Path | None:
    try:
        spec = importlib.util.find_spec("verl")
    except (ImportError, ValueError):
        return None
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return Path(folders[0]) if folders else None
