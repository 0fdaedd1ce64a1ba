"""What `.ci/release` refuses before it builds anything."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ("", "is no tag"),
        ("gv-data", "is no tag"),
        ("gv-data-v0.1", "is no tag"),
        ("../gv-data-v0.1.0", "is no tag"),
        ("gv-nothing-v0.1.0", "no package is called gv-nothing"),
        ("gv-data-v99.0.0", "the tag says 99.0.0"),
        ("urbanvision-v99.0.0", "the tag says 99.0.0"),
    ],
)
def test_a_tag_that_does_not_fit_is_refused(tag, said):
    if shutil.which("uv") is None:
        pytest.skip("uv is not on the path")
    there = sorted(ROOT.glob("dist/*"))
    told = subprocess.run(
        [ROOT / ".ci" / "release", tag], capture_output=True, text=True, check=False, cwd="/"
    )
    assert (told.returncode, told.stdout) == (2, "")
    assert said in told.stderr
    assert sorted(ROOT.glob("dist/*")) == there
