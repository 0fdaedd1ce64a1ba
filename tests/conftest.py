"""What tests of several packages need."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    folder = tmp_path / "full"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system can only be mounted by root, outside of most containers")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="session")
def object_storage() -> Iterator[str]:
    """Address of a server of objects on this machine."""
    moto = pytest.importorskip("moto.server")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def bucket(object_storage: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The name of an empty bucket, which this process and those it starts can reach."""
    s3fs = pytest.importorskip("s3fs")
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", object_storage)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-of-the-test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("GEOVISION_CACHE", str(tmp_path / "cache"))
    s3fs.S3FileSystem.clear_instance_cache()
    name = f"bucket{abs(hash(str(tmp_path))) % 10**9}"
    s3fs.S3FileSystem().mkdir(name)
    return name


@pytest.fixture(scope="session")
def imported() -> Callable[..., tuple[set[str], int, float]]:
    """What a command imports: ``imported("gv_data.cli:main", "gv-data", "--help")``.

    Gives the top-level modules, the exit code and the seconds of processor time.
    """

    def run(entry: str, *argv: str) -> tuple[set[str], int, float]:
        module, _, function = entry.partition(":")
        script = (
            "import sys\n"
            f"sys.argv = {list(argv)!r}\n"
            f"from {module} import {function}\n"
            f"code = {function}()\n"
            "print(*sys.modules, file=sys.stderr)\n"
            "sys.exit(code)\n"
        )
        started = os.times()
        told = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=False
        )
        ended = os.times()
        seconds = ended.children_user + ended.children_system
        seconds -= started.children_user + started.children_system
        names = {name.partition(".")[0] for name in told.stderr.splitlines()[-1].split()}
        return names, told.returncode, seconds

    return run
