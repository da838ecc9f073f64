"""What a sweep's numbers depend on besides its settings and its hardware: code and libraries.

current_versions()["torch"]         # "2.15.0"
"""

import hashlib
import platform
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("tuneyard", "torch", "torchvision", "ray", "optuna")
# Of the reports, what reads the record that trials are chosen by.
_RECORD = ("database", "history", "journal", "ledger", "ranking")


def current_versions() -> dict[str, str]:
    """Versions by name; `code` is a digest of the sources, for those who work on them."""
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "code": _code_digest(),
    }


def _code_digest() -> str:
    """The sources that decide what a trial computes and which trial comes next."""
    project = Path(__file__).parent.parent
    files = [*(project / "trainables").rglob("*.py"), *(project / "tuning").glob("*.py")]
    files += [project / "reports" / f"{name}.py" for name in _RECORD]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.relative_to(project).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
