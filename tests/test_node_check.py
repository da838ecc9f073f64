"""What is told of a node, where little is installed too."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from trainables.errors import UserError
from trainables.node_check import about_node, check_run_is_seen

# What a node may lack is there for nobody.
_BARE = """
import json, sys
sys.modules |= dict.fromkeys(["torch", "torchvision", "ray", "optuna", "numpy", "fsspec", "filelock"])
from trainables.node_check import about_node
print(json.dumps(about_node(("nothing-of-that-name", "pip"), sys.argv[1], "sweep.json")))
"""


def test_a_node_that_lacks_everything_still_says_so(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").touch()
    done = subprocess.run(
        [sys.executable, "-c", _BARE, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    about = json.loads(done.stdout)
    assert (about["versions"]["nothing-of-that-name"], about["blind"]) == (None, "")
    assert about["versions"]["pip"]


def test_a_run_that_is_not_seen(tmp_path: Path) -> None:
    assert about_node((), str(tmp_path / "none"), "sweep.json")["blind"] == "it is not there"
    with pytest.raises(UserError, match="a node does not see the sweep's folder"):
        check_run_is_seen(str(tmp_path / "none"))
