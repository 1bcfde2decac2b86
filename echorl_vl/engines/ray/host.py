"""A framework that trains on Ray: its tested version, and the version that is installed here."""

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
    """A package that a host needs.

    Attributes:
        why: what it is needed for.
        versions: a version specifier of pip; empty for any version.
        on_cpu: the specifier for a CPU dry run; None if it is the same.
        gpu_only: a CPU dry run does not need the package.
    """

    why: str
    versions: str = ""
    on_cpu: str | None = None
    gpu_only: bool = False

    def issue(self, name: str, found: str | None, cpu: bool) -> str | None:
        """Describe what is wrong with the installed version (`found`, None if there is none); None if it fits."""
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
    """The host framework of an engine. Its package is called `verl`; both EasyR1 and the official verl are.

    Attributes:
        engine: name of the engine.
        name: name of the framework.
        measured: the version that the adapter is tested with.
        marker: a file that only this package called `verl` has.
        install: command that installs it.
        packages: its dependencies, by name.
        hooks: the names that the adapter uses.
    """

    engine: str
    name: str
    measured: str
    marker: str
    install: str
    packages: Mapping[str, Package]
    hooks: tuple[Hook, ...]

    def is_installed(self) -> bool:
        """Whether `import verl` would import this host. Imports nothing."""
        folder = _verl_folder()
        return folder is not None and (folder / self.marker).is_file()

    def found(self) -> str:
        """What `import verl` would import, as text for a message."""
        if _verl_folder() is None:
            return "no package verl"
        name = self.name if self.is_installed() else "another package verl"
        return f"{name} {installed_version('verl') or 'of unknown version'}"

    def check_installed(self) -> None:
        """Raises UserError unless `import verl` would import this host."""
        if not self.is_installed():
            raise UserError(
                f"engine {self.engine}: expected {self.name} {self.measured}, got {self.found()}: {self.install} into "
                "a separate environment. EasyR1 and the official verl are both called verl, so one environment can't "
                "have both."
            )

    def version_issues(self, cpu: bool, installed: Callable[[str], str | None] | None = None) -> Iterator[ConfigIssue]:
        """Packages that are missing or have a version that the host does not work with.

        Args:
            cpu: check for a CPU dry run.
            installed: from a package's name to its version, or None. Default: `installed_version`.
        """
        for name, package in self.packages.items():
            if cpu and package.gpu_only:
                continue
            if issue := package.issue(name, (installed or installed_version)(name), cpu):
                yield ConfigIssue((), f"engine {self.engine} needs {issue}")

    def check_hooks(self, hooks: tuple[Hook, ...] | None = None) -> None:
        """Import the host and check its names.

        Args:
            hooks: the names to check. Default: all.

        Raises:
            UserError: a name is missing or has other parameters, or a package is missing.
        """
        if lines := hook_faults(self.hooks if hooks is None else hooks, self.engine):
            raise UserError(
                f"engine {self.engine}: expected {self.name} {self.measured}, got {self.found()}, which differs in "
                f"what the adapter uses:\n{lines}\nInstall the expected version ({self.install}), or use another "
                "engine."
            )


def installed_version(package: str) -> str | None:
    """The version of a package, or None if it is not installed."""
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
