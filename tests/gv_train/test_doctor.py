"""What the doctor says of machines that are described by files, variables and programs."""

import contextlib
import errno
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import namedtuple
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from gv_data.terminal.command import run as run_command
from gv_train.cli import FAMILY
from gv_train.doctor import accelerators, disks, geography, machine, reach, software, torch_build
from gv_train.doctor.accelerators import Installed
from gv_train.doctor.examination import PROBES, examine
from gv_train.doctor.finding import Finding, Place, Probe
from gv_train.doctor.torch_build import Device, Torch

CPU = Device("CPU", gflops=80.0)
CPU_ONLY = Torch("2.10.0+cpu", "", "", (), CPU)
CUDA_13 = Torch("2.10.0+cu130", "13.0", "", (), CPU)
L4 = Device("NVIDIA L4", 24_000_000_000, 23_000_000_000, 12_500.0)
LIMITS = "Limit  Soft Limit  Hard Limit  Units\nMax open files            {}   {}   files\n"
MEMORY = "MemTotal:       16000000 kB\nMemFree: 1 kB\nMemAvailable:    8000000 kB\n"


@pytest.fixture
def here(tmp_path):
    """A place with nothing in it; ``place(**files)`` writes into it."""
    home = tmp_path / "home"
    home.mkdir()
    return Place(
        root=tmp_path / "root",
        env={},
        home=home,
        prefix=tmp_path / "venv",
        site=(str(tmp_path / "site"),),
        runs=tmp_path / "runs",
        cache=tmp_path / "cache",
        program=_no_program,
    )


@pytest.fixture
def write(here):
    """Writes files of the system: ``write({"proc/meminfo": "..."})``."""

    def files(texts, under=None):
        for name, text in texts.items():
            file = (under or here.root) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    return files


def _no_program(words, limit_s):
    raise FileNotFoundError(errno.ENOENT, "no such program", words[0])


def answering(**programs):
    """Programs that say something, or fail."""

    def program(words, limit_s):
        said = programs.get(Path(words[0]).name.replace("-", "_").partition(".")[0])
        if said is None:
            raise FileNotFoundError(words[0])
        if isinstance(said, Exception):
            raise said
        return said(words) if callable(said) else said

    return program


def levels(findings):
    return [one.level for one in findings]


def processors(count, allowed=None):
    return {
        "proc/cpuinfo": "".join(f"processor\t: {n}\nmodel name\t: x\n" for n in range(count)),
        "proc/self/status": f"Name:\tx\nCpus_allowed_list:\t{allowed or f'0-{count - 1}'}\n",
    }


def test_all_cores_are_there_without_a_container(here, write):
    write(processors(8))
    assert machine.cores(here) == [Finding("ok", "cores", "8")]


@pytest.mark.parametrize(
    "files",
    [
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "350000 100000\n"},
        {
            "proc/self/cgroup": "0::/slice/pod\n",
            "sys/fs/cgroup/slice/pod/cpu.max": "max 100000\n",
            "sys/fs/cgroup/slice/cpu.max": "350000 100000\n",
        },
        {
            "proc/self/cgroup": "3:memory:/\n1:cpu,cpuacct:/pod\n0::/\n",
            "sys/fs/cgroup/cpu/pod/cpu.cfs_quota_us": "350000\n",
            "sys/fs/cgroup/cpu/pod/cpu.cfs_period_us": "100000\n",
        },
    ],
    ids=["version 2", "version 2, of the parent", "version 1"],
)
def test_the_limit_of_a_container_is_found(here, write, files):
    write(processors(64) | files)
    assert machine.cpu_limit(here) == 3.5
    [found] = machine.cores(here)
    assert found.level == "warning"
    assert "4 of 64" in found.text
    assert "limit is 3.5" in found.text
    assert found.fix == "export OMP_NUM_THREADS=4"
    assert levels(machine.cores(replace(here, env={"OMP_NUM_THREADS": "4"}))) == ["ok"]


def test_a_process_may_use_the_cores_it_is_bound_to(here, write):
    write(processors(64, allowed="0-3,8,10-11"))
    assert machine.cores(here) == [Finding("ok", "cores", "7 of 64")]
    [found] = machine.cores(replace(here, env={"OMP_NUM_THREADS": "16"}))
    assert (found.level, found.fix) == ("warning", "export OMP_NUM_THREADS=7")
    [found] = machine.cores(replace(here, env={"OMP_NUM_THREADS": "1"}))
    assert (found.level, "lets 1 compute" in found.text) == ("note", True)


def test_a_cgroup_without_limit_limits_nothing(here, write):
    write(
        processors(4)
        | {
            "proc/self/cgroup": "4:memory:/x\n1:cpu:/x\n",
            "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/x/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/x/memory.usage_in_bytes": "1000\n",
            "proc/meminfo": MEMORY,
        }
    )
    assert machine.cpu_limit(here) is None
    assert machine.memory_limit(here) == (None, 1000)
    assert levels(machine.memory(here)) == ["ok"]


def test_memory_is_that_of_the_container(here, write):
    write({"proc/meminfo": MEMORY})
    [found] = machine.memory(here)
    assert (found.level, found.text) == ("ok", "16.4 GB, 8.2 GB free")
    write(
        {
            "sys/fs/cgroup/memory.max": "4000000000\n",
            "sys/fs/cgroup/memory.current": "3000000000\n",
        }
    )
    [found] = machine.memory(here)
    assert found.level == "warning"
    assert found.text == "4.0 GB for this container of 16.4 GB, 1.0 GB free"
    assert "--trainer.batch-size" in found.fix


Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(("free", "level"), [(64e6, "warning"), (8e9, "ok")])
def test_little_shared_memory_is_told_with_the_way_to_more(here, monkeypatch, free, level):
    (here.root / "dev" / "shm").mkdir(parents=True)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: Usage(int(free), 0, int(free)))
    [found] = machine.shared_memory(here)
    assert found.level == level
    assert ("--shm-size=8g" in found.fix) == (level == "warning")


def test_shared_memory_of_a_real_small_file_system_is_measured(here, full_disk):
    (here.root / "dev").mkdir(parents=True)
    (here.root / "dev" / "shm").symlink_to(full_disk)
    [found] = machine.shared_memory(here)
    assert (found.level, found.text[:6]) == ("warning", "3.1 MB")


@pytest.mark.parametrize(
    ("soft", "hard", "level", "fix"),
    [
        ("256", "524288", "warning", "ulimit -n 4096"),
        ("256", "512", "warning", "ulimit -n 512"),
        ("1024", "524288", "ok", ""),
        ("unlimited", "unlimited", "ok", ""),
    ],
)
def test_the_limit_of_open_files_is_read(here, write, soft, hard, level, fix):
    write({"proc/self/limits": LIMITS.format(soft, hard)})
    [found] = machine.open_files(here)
    assert (found.level, found.fix) == (level, fix)


def test_the_limit_of_open_files_is_that_of_this_process():
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert machine.open_files(Place())[0].text.split()[0] == str(soft)


MOUNTS = """\
22 1 0:21 / / rw,relatime - overlay overlay rw
23 22 0:22 / /proc rw - proc proc rw
30 22 0:40 / /data rw - nfs4 server:/export rw
31 30 8:1 / /data/fast\\040disk rw - ext4 /dev/sda1 rw
32 22 8:2 / /data/fast\\040disk/deep rw shared:1 - fuse.sshfs me@host: rw
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/me", "overlay"),
        ("/data", "nfs4"),
        ("/data/fast", "nfs4"),
        ("/data/fast disk/x", "ext4"),
        ("/data/fast disk/deep/er", "fuse.sshfs"),
    ],
)
def test_the_kind_of_a_file_system_is_that_of_the_deepest_mount(folder, kind):
    assert disks.file_system(MOUNTS, Path(folder)) == kind


@pytest.mark.skipif(shutil.which("findmnt") is None, reason="findmnt is not installed")
def test_the_kind_of_a_real_file_system_is_what_stat_says(tmp_path):
    mounts = Path("/proc/self/mountinfo").read_text()
    told = subprocess.check_output(["findmnt", "-n", "-o", "FSTYPE", "-T", tmp_path], text=True)
    assert disks.file_system(mounts, tmp_path.resolve()) == told.strip()


@pytest.mark.parametrize(
    ("kind", "free", "level", "word"),
    [
        ("ext4", 1e11, "ok", "ext4"),
        ("nfs4", 1e11, "warning", "another machine"),
        ("fuse.sshfs", 1e11, "warning", "another machine"),
        ("overlay", 1e11, "warning", "inside the container"),
        ("tmpfs", 1e11, "warning", "in memory"),
        ("ext4", 1e9, "warning", "1.0 GB free"),
        ("ext4", 1e6, "failure", "1.0 MB free"),
    ],
)
def test_the_disk_of_runs_is_judged(here, write, monkeypatch, kind, free, level, word):
    write({"proc/self/mountinfo": f"22 1 0:21 / / rw - {kind} x rw\n"})
    monkeypatch.setattr(disks.shutil, "disk_usage", lambda _: Usage(int(free), 0, int(free)))
    [found] = disks.runs_disk(replace(here, runs=here.home / "deep" / "runs"))
    assert (found.level, word in found.text) == (level, True)
    assert "~/deep/runs" in found.text
    assert str(here.home) not in found.text
    assert bool(found.fix) == (level != "ok")


def test_a_folder_that_cannot_be_written_is_a_failure(here, monkeypatch):
    monkeypatch.setattr(disks.os, "access", lambda path, mode: False)
    assert levels(disks.runs_disk(here)) == ["failure"]
    [found] = disks.cache_disk(here)
    assert (found.level, found.fix) == ("warning", "export GEOVISION_CACHE=/a/local/disk")


def test_stray_variables_are_named_with_who_set_them(here):
    inside = str(here.prefix / "share" / "proj")
    assert levels(software.variables(replace(here, env={"PROJ_DATA": inside}))) == ["ok"]
    env = {"PROJ_LIB": "/opt/conda/share/proj", "GDAL_DATA": "C:/QGIS/gdal", "LD_PRELOAD": "x.so"}
    found = software.variables(replace(here, env=env))
    assert levels(found) == ["warning", "warning", "note"]
    assert "set by conda" in found[0].text
    assert found[0].fix.startswith("env -u PROJ_LIB gv-train doctor")
    assert "set by QGIS" in found[1].text


def install(here, name, version, requires=(), record=""):
    folder = Path(here.site[0]) / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    lines = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    lines += [f"Requires-Dist: {text}" for text in requires]
    (folder / "METADATA").write_text("\n".join(lines) + "\n")
    (folder / "RECORD").write_text(record)


def test_packages_that_do_not_fit_together_are_failures(here):
    install(here, "gv-data", "0.2.0", ["numpy>=2"])
    install(here, "numpy", "2.4.1")
    install(
        here,
        "gv-train",
        "0.1.0",
        ["gv-data>=0.1,<0.2", "h5py>=3; extra == 'hdf5'", "torch>=2.10", "x; python_version < '3'"],
    )
    found = software.packages(here)
    assert levels(found) == ["ok", "failure", "failure"]
    assert found[0].text == "gv-data 0.2.0, gv-train 0.1.0"
    assert re.search(r"gv-train 0.1.0 needs gv-data\S+, which is 0.2.0", found[1].text)
    assert "torch>=2.10, which is not installed" in found[2].text
    assert 'uv pip install "gv-train" "torch>=2.10"' in found[2].fix


def test_two_kinds_of_openmp_are_a_warning(here):
    install(here, "torch", "2.10", record="torch/lib/libgomp.so.1,sha256=x,1\n")
    install(here, "sklearn", "1.7", record="scikit_learn.libs/libgomp-a34b3233.so.1.0.0,x,1\n")
    assert software.openmp(here) == [Finding("ok", "OpenMP", "libgomp from sklearn, torch")]
    install(here, "intel-openmp", "2025", record="../../lib/libiomp5.so,sha256=x,1\n")
    [found] = software.openmp(here)
    assert (found.level, "libiomp5 from intel-openmp" in found.text) == ("warning", True)


def test_the_system_is_told(here, write):
    write({"etc/os-release": 'PRETTY_NAME="Debian 12"\n', "proc/version": "Linux Microsoft WSL2"})
    write({".dockerenv": ""})
    text = software.system(here)[0].text
    assert all(word in text for word in ("Debian 12", "in a container", "in WSL"))


def test_uv_is_asked_for_its_version(here):
    assert levels(software.uv(here)) == ["note"]
    there = replace(here, program=answering(uv="uv 0.13.9 (linux)\n"))
    assert software.uv(there)[0].text.startswith("0.13.9")
    broken = replace(here, program=answering(uv=subprocess.TimeoutExpired(["uv"], 5)))
    assert levels(software.uv(broken)) == ["warning"]


def smi(words):
    if len(words) == 1:
        return "| NVIDIA-SMI 550.54.15   Driver Version: 550.54.15   CUDA Version: 12.4  |"
    return "550.54.15, NVIDIA L4, 23034 MiB\n550.54.15, NVIDIA L4, 23034 MiB\n"


def test_the_driver_and_its_cards_are_read(here, write):
    there = accelerators.installed(replace(here, program=answering(nvidia_smi=smi)))
    assert there.cards == ("NVIDIA L4 23034 MiB",) * 2
    assert (there.driver, there.cuda) == ("550.54.15", "12.4")
    [found] = accelerators.drivers(there)
    assert (found.level, "CUDA up to 12.4" in found.text) == ("ok", True)


@pytest.mark.parametrize(
    "line",
    [
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 2024\n",
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build\n",
    ],
)
def test_the_driver_is_found_without_its_programs(here, write, line):
    write(
        {
            "proc/driver/nvidia/version": line,
            "proc/driver/nvidia/gpus/0000:00:1e.0/information": "Model: NVIDIA L4\n",
        }
    )
    there = accelerators.installed(here)
    assert (there.driver, there.on_bus, there.any_nvidia) == ("550.54.15", 1, True)


def test_a_gpu_without_driver_is_found_on_the_bus(here, write):
    for address, vendor, kind in (
        ("0000:00:1e.0", "0x10de", "0x030200"),
        ("0000:00:1f.0", "0x10de", "0x040300"),  # its sound
        ("0000:00:02.0", "0x8086", "0x030000"),
    ):
        write({f"sys/bus/pci/devices/{address}/vendor": vendor + "\n"})
        write({f"sys/bus/pci/devices/{address}/class": kind + "\n"})
    there = accelerators.installed(here)
    assert there == Installed(on_bus=1)
    [found] = accelerators.drivers(there)
    assert (found.level, "docker run --gpus all" in found.fix) == ("warning", True)
    assert levels(accelerators.judged(there, CUDA_13)) == ["note", "ok"]


def test_a_driver_that_fails_is_told(here):
    failed = subprocess.CalledProcessError(9, ["nvidia-smi"], "NVIDIA-SMI has failed because\n")
    there = accelerators.installed(replace(here, program=answering(nvidia_smi=failed)))
    [found] = accelerators.drivers(there)
    assert (found.level, "NVIDIA-SMI has failed" in found.text) == ("warning", True)


CARDS = Installed(("NVIDIA L4 23034 MiB",), "550.54.15", "12.4")


@pytest.mark.parametrize(
    ("there", "torch", "level", "word", "fix"),
    [
        (Installed(), CPU_ONLY, "ok", "there is no GPU", ""),
        (Installed(), CUDA_13, "ok", "there is no GPU", ""),
        (CARDS, CPU_ONLY, "warning", "many times slower", "--torch-backend=auto"),
        (CARDS, CUDA_13, "warning", "CUDA up to 12.4", "or a newer driver"),
        (replace(CARDS, cuda="13.2"), CUDA_13, "warning", "sees no GPU", "--torch-backend=auto"),
        (replace(CARDS, cuda="13.2"), replace(CUDA_13, gpus=(L4,)), "ok", "built for CUDA 13", ""),
        (
            replace(CARDS, hidden="CUDA_VISIBLE_DEVICES="),
            CUDA_13,
            "warning",
            "hides the GPU",
            "unset CUDA_VISIBLE_DEVICES",
        ),
        (Installed(amd=1), CPU_ONLY, "warning", "AMD GPU", "--torch-backend=auto"),
    ],
)
def test_torch_is_judged_by_the_gpus_there_are(there, torch, level, word, fix):
    found = accelerators.judged(there, torch)[0]
    assert (found.level, word in found.text, fix in found.fix) == (level, True, True)


@pytest.mark.skipif(shutil.which("uv") is None, reason="uv is not on the path")
def test_the_line_that_brings_the_right_torch_is_one_that_uv_understands():
    words = accelerators.INSTALL.split()
    assert words[:3] == ["uv", "pip", "install"]
    told = subprocess.run(
        [*words[:3], "--offline", "--dry-run", "--no-config", *words[3:-2], "no-such-package-gv"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 1  # 2 would be a wrong option
    assert "no-such-package-gv" in told.stderr


def test_gpus_are_told_with_memory_and_speed():
    broken = replace(L4, gflops=0.0, error="CUDA error: no kernel image is available")
    found = accelerators.judged(CARDS, replace(CUDA_13, gpus=(L4, broken)))
    assert levels(found) == ["ok", "ok", "failure", "ok"]
    assert found[1].text.startswith("NVIDIA L4, 24.0 GB, 23.0 GB free, 12.5 TFLOP/s")
    assert "no kernel image" in found[2].text
    assert "--torch-backend=auto" in found[2].fix
    assert found[3].text.startswith("80 GFLOP/s")


def test_a_torch_that_cannot_be_loaded_is_a_failure(here):
    error = subprocess.CalledProcessError(1, ["python"], "", "Traceback\nImportError: libcudart\n")
    found = accelerators.gpus(replace(here, program=answering(python=error, python3=error)))
    assert levels(found) == ["failure"]
    assert "libcudart" in found[0].text


def test_what_torch_says_comes_back_as_it_was():
    told = replace(CUDA_13, gpus=(L4, L4), error="why")
    assert torch_build.from_json(json.dumps(asdict(told))) == told


GEOGRAPHY = {
    "versions": {
        "rasterio": ["3.12.2", "9.8.1", "3.14.1"],
        "pyogrio": ["3.11.0", None, "3.14.1"],
        "pyproj": [None, "9.8.1", None],
    },
    "point": list(geography.WEB_MERCATOR_M),
    "error": "",
}


def test_versions_of_gdal_proj_and_geos_are_told_by_package():
    found = geography.judged(GEOGRAPHY)
    assert levels(found) == ["ok"] * 3
    assert found[0].text == "3.12.2 in rasterio, 3.11.0 in pyogrio"


@pytest.mark.parametrize(
    "change",
    [{"point": None, "error": "CRSError: unknown EPSG"}, {"point": [12.0, 45.0]}],
)
def test_a_proj_that_knows_no_coordinate_systems_is_a_failure(change):
    found = geography.judged(GEOGRAPHY | change)
    assert levels(found) == ["ok", "ok", "ok", "failure"]
    assert "env -u PROJ_LIB" in found[3].fix


def test_the_libraries_here_are_those_that_rasterio_has():
    import rasterio

    told = geography.seen()
    assert told["versions"]["rasterio"][0] == rasterio.__gdal_version__
    assert levels(geography.judged(told)) == ["ok"] * 3


@contextlib.contextmanager
def serving(status):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            asked.append(self.headers)
            self.send_response(status)
            self.end_headers()

        def log_message(self, format, *args):
            pass

    asked = []
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("status", [200, 403, 404])
def test_a_registry_that_answers_anything_is_reached(here, monkeypatch, status):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving(status) as (host, asked):
        url = f"http://ann:canary@{host}/simple"
        env = {"UV_DEFAULT_INDEX": url, "HF_ENDPOINT": url, "UV_INDEX": f"mine={url}"}
        found = reach.network(replace(here, env=env))
    assert levels(found) == ["ok"] * 3
    assert not any("canary" in one.text for one in found)
    assert len(asked) == 3
    assert not any("authorization" in headers for headers in asked)


def test_a_registry_that_is_not_reached_is_told_without_its_login(here, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    url = "http://ann:canary@127.0.0.1:1/simple"
    env = {"PIP_INDEX_URL": url, "HF_ENDPOINT": "no address", "AWS_ENDPOINT_URL": url}
    found = reach.network(replace(here, env=env))
    assert levels(found) == ["warning"] * 3
    assert "canary" not in str(found)
    assert levels(reach.network(replace(here, env={"GEOVISION_OFFLINE": "1"}))) == ["note"]


def test_the_registries_of_the_settings_are_asked(here, write, tmp_path, monkeypatch):
    monkeypatch.chdir(here.home)
    write(
        {
            "pyproject.toml": '[[tool.uv.index]]\nname = "t"\nurl = "https://t.org/whl"\n',
            ".config/uv/uv.toml": '[[index]]\nurl = "https://own.org"\ndefault = true\n',
        },
        under=here.home,
    )
    told = reach.addresses(here)
    assert told["packages"] == "https://own.org"
    assert told["packages 2"] == "https://t.org/whl"
    assert told["weights"] == reach.WEIGHTS
    (here.home / "pyproject.toml").write_text("[[tool.uv")
    assert "packages 2" not in reach.addresses(here)


def test_credentials_are_told_by_kind_and_never_by_value(here, write):
    assert levels(reach.s3_credentials(here)) == ["note"]
    write(
        {
            ".aws/credentials": "[default]\naws_secret_access_key = canary\n[two]\nx=canary\n",
            ".aws/config": "[profile work]\nsso_start_url = https://canary\n",
        },
        under=here.home,
    )
    env = {"AWS_ACCESS_KEY_ID": "canary", "AWS_SECRET_ACCESS_KEY": "canary"}
    [found] = reach.s3_credentials(replace(here, env=env))
    assert found.level == "ok"
    assert found.text == "key in the environment, 2 profiles in a file, single sign-on"
    assert levels(reach.s3_credentials(replace(here, env={"AWS_ACCESS_KEY_ID": "x"}))) == [
        "warning"
    ]
    assert levels(reach.s3_credentials(replace(here, env={"AWS_PROFILE": "work"}))) == ["ok"]
    [found] = reach.s3_credentials(replace(here, env={"AWS_PROFILE": "canary"}))
    assert (found.level, "canary" in found.text) == ("warning", False)


def test_ssh_keys_are_told_by_kind(here, write):
    assert levels(reach.ssh_credentials(here)) == ["note"]
    files = {
        ".ssh/id_ed25519": "canary",
        ".ssh/id_ed25519.pub": "public",
        ".ssh/config": "Host gpu\n  HostName canary\nHost *\n",
    }
    write(files, under=here.home)
    (here.home / ".ssh" / "id_ed25519").chmod(0o600)
    [found] = reach.ssh_credentials(here)
    assert (found.level, found.text) == ("ok", "a key of kind ed25519, 2 hosts in ~/.ssh/config")
    (here.home / ".ssh" / "id_ed25519").chmod(0o644)
    [found] = reach.ssh_credentials(here)
    assert (found.level, found.fix) == ("warning", "chmod 600 ~/.ssh/id_ed25519")


def test_a_probe_that_breaks_or_hangs_is_a_line(here):
    released = threading.Event()

    def hangs(_):
        released.wait(20)
        return []

    def breaks(_):
        raise RuntimeError("token=canary is wrong\nand more")

    probes = (
        Probe("one", lambda _: [Finding("ok", "one", "fine")]),
        Probe("two", breaks),
        Probe("three", hangs, 0.3, "restart"),
        Probe("four", lambda _: [Finding("ok", "four", "fine")]),
    )
    started = time.monotonic()
    found = examine(here, probes)
    assert time.monotonic() - started < 10
    released.set()
    assert [one.subject for one in found] == ["one", "two", "three", "four"]
    assert levels(found) == ["ok", "warning", "warning", "ok"]
    assert found[1].text == "could not be looked at: RuntimeError: token=*** is wrong"
    assert (found[2].text, found[2].fix) == ("no answer within 0.3 s", "restart")


def test_every_probe_says_something_in_a_place_with_nothing_in_it(here):
    found = examine(here)
    said = {one.subject for one in found}
    assert "failure" not in levels(found)
    assert len(found) >= len(PROBES)
    assert {"cores", "memory", "/dev/shm", "open files", "runs", "cache", "S3", "SSH"} <= said


@pytest.fixture
def doctor(capsys, monkeypatch):
    """Runs ``gv-train doctor`` with findings that are given."""

    def told(found, *words):
        monkeypatch.setattr("gv_train.doctor.examination.examine", lambda *_: found)
        code = run_command("gv-train", FAMILY, ["doctor", *words])
        out = capsys.readouterr()
        return code, out.out, out.err

    return told


FOUND = [
    Finding("ok", "cores", "4"),
    Finding("note", "SSH", "a | b"),
    Finding("warning", "/dev/shm", "64 MB", "docker run --shm-size=8g"),
]


def test_the_report_has_a_line_a_finding_and_its_fix(doctor):
    code, told, err = doctor(FOUND)
    assert code == 0
    assert told.splitlines()[0].split() == ["ok", "cores", "4"]
    assert told.splitlines()[-1].strip() == "fix: docker run --shm-size=8g"
    assert "1 ok, 1 note, 1 warning; took" in err
    failed = [*FOUND, Finding("failure", "torch", "cannot be loaded")]
    assert doctor(failed)[0] == 4


def test_the_report_for_scripts_and_for_bugs(doctor):
    answer = json.loads(doctor(FOUND, "--json")[1])
    assert [Finding(**one) for one in answer["findings"]] == FOUND
    assert answer["counts"] == {"ok": 1, "note": 1, "warning": 1, "failure": 0}
    table = doctor(FOUND, "--md")[1].splitlines()
    assert table[1] == "| --- | --- | --- | --- |"
    assert table[3] == "| note | SSH | a \\| b |  |"
    assert doctor(FOUND, "--md", "--json")[0] == 2


def test_this_machine_is_examined(tmp_path):
    env = dict(os.environ, GEOVISION_RUNS=str(tmp_path / "runs"), OMP_NUM_THREADS="1")
    done = subprocess.run(
        [Path(sys.executable).with_name("gv-train"), "doctor", "--json"],
        capture_output=True,
        text=True,
        env=env,
        check=False,
    )
    answer = json.loads(done.stdout)
    by_subject = {one["subject"]: one for one in answer["findings"]}
    assert done.returncode == (4 if answer["counts"]["failure"] else 0)
    assert by_subject["packages"]["level"] == "ok"
    assert by_subject["GDAL"]["level"] == "ok"
    assert "GFLOP/s" in by_subject["CPU"]["text"] or "no answer" in by_subject["torch"]["text"]
    assert "of which OMP_NUM_THREADS lets 1" in by_subject["cores"]["text"] or os.cpu_count() == 1
