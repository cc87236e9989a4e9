"""The parts of the Docker engine that need no daemon: client selection, error messages, secrets, owner labels."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
from pathlib import Path

import pytest
import requests
from docker.errors import DockerException
from docker.models.images import Image
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.engines import _dockercli, _dockerd, _dockerrun, _images, docker_probe, install_errors, network, registry
from bench.engines import docker as docker_engine
from bench.engines._dockercli import Build, Cli
from bench.engines.network import Redactor
from bench.errors import BuildError, ConfigError, EngineError

HASH_MISMATCH = """\
#8 0.217 Using Python 3.11.2 environment at: /opt/venv
#8 0.271 Resolved 1 package in 52ms
#8 0.281 error: Failed to download `six==1.17.0`
#8 0.281   cause: Hash mismatch for `six==1.17.0`
#8 0.281
#8 0.281          Expected:
#8 0.281            sha256:beeff391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274
#8 0.281          Computed:
#8 0.282            sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274
#8 ERROR: executor failed running [/bin/sh -c set -eu]: exit code: 1
------
 > [packages 1/1] RUN --mount=type=bind:
------
executor failed running [/bin/sh -c set -eu]: exit code: 1
"""
OLD_UV_MISMATCH = """\
#9 1.1   \u00d7 Failed to download `six==1.17.0`
#9 1.1   \u2570\u2500\u25b6 Hash mismatch for `six==1.17.0`
"""


def tool(folder: Path, version: str, *, buildx: bool) -> Path:
    """Create a fake docker client that only reports its version and plugins."""
    folder.mkdir(parents=True)
    path = folder / "docker"
    path.write_text(
        "#!/bin/sh\n"
        f'[ "$1" = --version ] && {{ echo "Docker version {version}, build 1"; exit 0; }}\n'
        f'[ "$1 $2" = "buildx version" ] && exit {0 if buildx else 1}\n'
        '[ "$1 $2" = "context show" ] && { echo rootless; exit 0; }\n'
        "exit 1\n",
        encoding="utf-8",
    )
    path.chmod(0o755)
    return path


def path_of(*tools: Path) -> dict[str, str]:
    return {"PATH": os.pathsep.join([*(str(path.parent) for path in tools), "/bin"])}


def test_the_first_client_that_can_build_is_used(tmp_path: Path) -> None:
    without = tool(tmp_path / "a", "28.2.2", buildx=False)
    with_buildx = tool(tmp_path / "b", "27.1.0", buildx=True)
    cli = _dockercli.find_cli(path_of(without, with_buildx))
    assert (cli.path, cli.version, cli.buildx) == (str(with_buildx), "27.1.0", True)


@pytest.mark.parametrize("version", ["18.09.1", "19.03.8", "20.10.24+dfsg1", "22.06.0"])
def test_old_clients_build_by_themselves(tmp_path: Path, version: str) -> None:
    cli = _dockercli.find_cli(path_of(tool(tmp_path / "a", version, buildx=False)))
    assert (cli.version, cli.buildx) == (version, False)


@pytest.mark.parametrize("version", ["17.05.0", "18.06.3", "23.0.1", "28.2.2"])
def test_a_named_client_without_buildkit_is_refused_by_name(tmp_path: Path, version: str) -> None:
    without = tool(tmp_path / "a", version, buildx=False)
    with pytest.raises(EngineError) as caught:
        _dockercli.find_cli({**path_of(), "TFREPRO_DOCKER_CLI": str(without)})
    assert str(without) in str(caught.value)
    assert version in str(caught.value)
    assert "buildx" in caught.value.hint


def test_a_missing_client_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="nowhere/docker"):
        _dockercli.find_cli({"TFREPRO_DOCKER_CLI": str(tmp_path / "nowhere/docker")})


def test_links_to_one_client_count_once(tmp_path: Path) -> None:
    real = tool(tmp_path / "a", "28.2.2", buildx=False)
    (tmp_path / "b").mkdir()
    (tmp_path / "b/docker").symlink_to(real)
    programs = _dockercli.candidates(path_of(real, tmp_path / "b/docker"))
    assert [program for program in programs if program.startswith(str(tmp_path))] == [str(real)]


def test_buildx_builds_inside_the_daemon_of_the_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BUILDX_BUILDER", raising=False)
    cli = Cli(path=str(tool(tmp_path / "a", "28.0.0", buildx=True)), version="28.0.0", buildx=True)
    assert cli.build_command()[1:] == ["buildx", "build", "--load", "--builder", "rootless"]
    monkeypatch.setenv("BUILDX_BUILDER", "mine")
    assert "--builder" not in cli.build_command()


def test_the_command_names_the_secrets_files_only() -> None:
    build = Build(
        context=Path("/ctx"),
        secrets={"settings": Path("/s/settings")},
        arguments={"PAIR": "tf1"},
        tag="tfrepro/tf1:x",
        network="host",
    )
    command = build.command(Cli(path="docker", version="20.10.1", buildx=False))
    assert command[:2] == ["docker", "build"]
    assert command[-1] == "/ctx"
    text = " ".join(command)
    for word in ("--network host", "--secret id=settings,src=/s/settings", "--build-arg PAIR=tf1"):
        assert word in text


def test_network_settings_of_the_host_are_passed_on() -> None:
    environ = {
        "UV_INDEX": "https://one.test/simple file:///srv/wheels /srv/more",
        "UV_EXTRA_INDEX_URL": "file:///srv/wheels",
        "UV_INDEX_INHOUSE_PASSWORD": "secret",
        "https_proxy": "http://proxy.test:3128",
        "UV_HTTP_TIMEOUT": "60",
        "NO_PROXY": "",
        "HOME": "/root",
        "UV_CACHE_DIR": "/cache",
    }
    assert network.settings(environ) == {
        "UV_HTTP_TIMEOUT": "60",
        "UV_INDEX": "https://one.test/simple",
        "UV_INDEX_INHOUSE_PASSWORD": "secret",
        "https_proxy": "http://proxy.test:3128",
    }


def test_the_index_of_pip_is_used_if_uv_has_none() -> None:
    pip = {"PIP_INDEX_URL": "https://pip.test/simple"}
    assert network.settings(pip) == {"UV_DEFAULT_INDEX": "https://pip.test/simple"}
    own = {"UV_INDEX_URL": "https://uv.test/simple"}
    assert network.settings({**pip, **own}) == own


@settings(max_examples=40, deadline=None)  # each example asks a real shell
@given(st.lists(st.text(st.characters(codec="ascii", min_codepoint=1)), min_size=1, max_size=5))
def test_a_shell_reads_back_what_was_written(values: list[str]) -> None:
    names = [f"V{number}" for number in range(len(values))]
    lines = network.secret_lines(dict(zip(names, values, strict=True)))
    script = lines + "".join(f"printf '%s\\0' \"${name}\"\n" for name in names)
    answer = subprocess.run(["sh", "-euc", script], capture_output=True, check=True)
    assert answer.stdout.decode().split("\0")[:-1] == values


def test_no_part_of_a_secret_stays_in_a_line() -> None:
    redact = Redactor(
        {
            "UV_DEFAULT_INDEX": "https://sam:pa55@index.test/simple/",
            "UV_INDEX": "inhouse=https://other.test/simple",
            "NO_PROXY": "localhost",
            "UV_HTTP_TIMEOUT": "30",
        }
    )
    line = redact("30 s: https://index.test/simple/six/ (pa55, inhouse=https://other.test/simple) localhost")
    assert line == "30 s: https://<UV_DEFAULT_INDEX>/simple/six/ (<UV_DEFAULT_INDEX>, <UV_INDEX>) localhost"
    assert Redactor({})("as it is") == "as it is"


def test_an_oversized_ca_bundle_is_refused(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(b"x" * 600_000)
    with pytest.raises(BuildError, match="CA bundle in SSL_CERT_FILE has 600,000 bytes"):
        network.ca_bundle({"SSL_CERT_FILE": str(bundle)})
    bundle.write_bytes(b"pem")
    assert network.ca_bundle({"SSL_CERT_FILE": str(bundle)}) == b"pem"
    assert network.ca_bundle({"SSL_CERT_FILE": str(tmp_path / "none")}) == b""


@pytest.mark.parametrize("text", [HASH_MISMATCH, OLD_UV_MISMATCH])
def test_a_wrong_hash_names_package_and_lock(text: str) -> None:
    message, hint = install_errors.explain(
        text.splitlines(), "tf1-cpu.txt", Path("/logs/build.log"), install_errors.DOCKER
    )
    assert message == "six==1.17.0 is not the file that tf1-cpu.txt pins (wrong hash)"
    assert "/logs/build.log" in hint


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "#8 1.0 error: Failed to fetch: `six`\n#8 1.0   cause: in between\n#8 1.0   cause: dns error: no host\n",
            "the installation could not reach the package index: Failed to fetch: `six` (dns error: no host)",
            "TFREPRO_BUILD_NETWORK=host",
        ),
        (
            "#8 1.0 error: No interpreter found for Python 3.12 in virtual",
            "the base image has no Python 3.12",
            "matrix",
        ),
        ("#8 1.0 write /x: no space left on device", "the disk of the Docker engine is full", "prune"),
        ("#8 1.0 error: x\n#8 1.0   cause: invalid peer certificate: UnknownIssuer", "not trusted", "SSL_CERT_FILE"),
        (
            "#8 1.0 gcc: gone\n------\n > [a 1/2] RUN:\n------\n",
            "the installation failed: gcc: gone",
            "/logs/build.log",
        ),
        ("", "the installation failed: no output", "/logs/build.log"),
    ],
)
def test_other_failures_give_their_reason(text: str, message: str, hint: str) -> None:
    actual, advice = install_errors.explain(
        text.splitlines(), "tf1-cpu.txt", Path("/logs/build.log"), install_errors.DOCKER
    )
    assert message in actual
    assert hint in advice


@given(st.lists(st.text()), st.integers(1, 7))
def test_lines_are_whole_wherever_the_chunks_end(texts: list[str], size: int) -> None:
    lines = [text.replace("\n", " ") + "\n" for text in texts]
    stream = "".join(lines).encode()
    splitter = _dockerrun.LineSplitter()
    seen = [line for start in range(0, len(stream), size) for line in splitter.feed(stream[start : start + size])]
    assert seen == lines
    assert splitter.rest() == ""


def test_a_cut_off_line_is_kept_as_it_is() -> None:
    splitter = _dockerrun.LineSplitter()
    assert splitter.feed(b"a\nb\r") == ["a\n"]
    assert splitter.rest() == "b\r"
    assert splitter.rest() == ""


def test_only_the_allow_list_reaches_a_container() -> None:
    image = Image(
        attrs={
            "Config": {"Env": ["PATH=/opt/venv/bin", "LD_LIBRARY_PATH=", "GPG_KEY=1", "LANG=de", "A=b=c", "XLA_FLAGS="]}
        }
    )
    given_names = _dockerrun.environment_of(image, {})
    removed = {entry for entry in given_names if "=" not in entry}
    assert removed == {"GPG_KEY", "A", "LD_LIBRARY_PATH", "XLA_FLAGS"}
    values = dict(entry.split("=", 1) for entry in given_names if "=" in entry)
    assert values["PATH"] == "/opt/venv/bin"
    assert values["LANG"] == "C.UTF-8"
    assert values.pop("TFREPRO_PRIVATE_TMP") == "1", "the driver may empty /tmp"
    assert set(values) == {
        "PATH", "HOME", "TMPDIR", "XDG_CACHE_HOME", "CUDA_CACHE_PATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE",
        "LANG",
    }  # fmt: skip


def test_variables_of_a_pair_and_a_gpu_route_reach_a_container() -> None:
    image = Image(attrs={"Config": {"Env": ["LD_LIBRARY_PATH=/site/nvidia/cublas/lib", "XLA_FLAGS=--xla_x=/site"]}})
    entries = _dockerrun.environment_of(image, {"NVIDIA_VISIBLE_DEVICES": "GPU-1"})
    assert {
        "LD_LIBRARY_PATH=/site/nvidia/cublas/lib",
        "XLA_FLAGS=--xla_x=/site",
        "NVIDIA_VISIBLE_DEVICES=GPU-1",
    } <= set(entries)


RECIPE = _images.Recipe(pair="tf1-cpu-py311", lock="l", suite="s", dockerfile="d", base="b")


def image_of(identity: str, tags: list[str], labels: dict[str, str], digests: list[str] | None = None) -> Image:
    config = {"Labels": labels}
    return Image(attrs={"Id": f"sha256:{identity}", "RepoTags": tags, "Config": config, "RepoDigests": digests or []})


def test_the_name_in_a_registry_follows_from_the_recipe_alone() -> None:
    assert RECIPE.remote("host:5000/team/") == "host:5000/team/tfrepro/tf1-cpu-py311"
    assert RECIPE.tag == dataclasses.replace(RECIPE).tag
    others = [
        dataclasses.replace(RECIPE, **{name: "x"}).tag for name in ("pair", "lock", "suite", "dockerfile", "base")
    ]
    assert len({RECIPE.tag, *others}) == 6
    assert re.fullmatch(r"[\w][\w.-]{0,127}", RECIPE.tag), "the syntax of a tag in a registry"
    assert _images.recipe_from(RECIPE.labels()) == RECIPE
    assert _images.recipe_from({}) is None


@pytest.mark.parametrize("name", ["localhost:5000", "host.example/team/", "10.0.0.1:5000/a/b-c", "[::1]:5000"])
def test_a_registry_is_a_host_and_a_path(name: str) -> None:
    assert registry.normalized_name(name) == name.removesuffix("/")


@pytest.mark.parametrize(
    "name", ["", "team", "https://host.example", "me:secret@host.example", "Host.example", "h.example/;rm", "h.e//a"]
)
def test_other_names_are_refused_and_not_repeated(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        registry.normalized_name(name)
    assert "secret" not in f"{caught.value} {caught.value.hint}"


def test_a_tag_is_ours_only_if_it_contains_the_id_of_its_image() -> None:
    own, remote = f"tfrepro/tf1-cpu-py311:{'a' * 12}", f"host:5000/tfrepro/tf1-cpu-py311:{RECIPE.tag}"
    labels = RECIPE.labels()
    assert _images.own_tags(image_of("a" * 64, [own, remote, "mine:1"], labels)) == (own, remote)
    assert _images.own_tags(image_of("b" * 64, [own, "mine:1"], labels)) == (), "built FROM ours, with inherited labels"
    assert _images.own_tags(image_of("b" * 64, [remote], labels)) == (), "pulled manually"
    assert _images.own_tags(image_of("a" * 64, [own], {})) == ()


def test_the_digest_is_that_of_the_registry() -> None:
    digests = ["tf@sha256:1", "host:5000/tfrepro/tf1-cpu-py311@sha256:2"]
    assert registry.digest_of(image_of("a" * 64, [], {}, digests), RECIPE) == digests[1]
    assert registry.digest_of(image_of("a" * 64, [], {}), RECIPE) == ""


def test_an_owner_is_a_process_id_with_its_start_time() -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        started = _dockerrun._started(child.pid)
        assert started is not None
        assert _dockerrun.owner_lives(f"{child.pid}:{started:.2f}")
        assert not _dockerrun.owner_lives(f"{child.pid}:{started - 5:.2f}"), "another process had this id before"
        assert _dockerrun.owner_lives(f"{child.pid}:unknown")
    finally:
        child.kill()
        child.wait()
    assert not _dockerrun.owner_lives(f"{child.pid}:{started:.2f}")
    assert _dockerrun.owner_lives(_dockerrun.this_process())
    assert _dockerrun.owner_lives(""), "an unreadable owner counts as alive"


@pytest.mark.parametrize(
    ("cause", "words", "hint"),
    [
        (FileNotFoundError(2, "No such file or directory"), "there is no Docker socket", "--engine venv"),
        (PermissionError(13, "Permission denied"), "no permission to use the Docker socket", "docker group"),
        (ConnectionRefusedError(111, "Connection refused"), "no Docker daemon answers", "Start it"),
        (ValueError("odd"), "reported an error: wrapped", ""),
    ],
)
def test_a_missing_daemon_is_explained_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, cause: Exception, words: str, hint: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///some/docker.sock")
    hidden = requests.ConnectionError("Connection aborted.", cause)
    error = DockerException("wrapped")
    error.__context__ = hidden
    explained = _dockerd.no_answer(error)
    assert words in str(explained)
    assert "/some/docker.sock" in str(explained)
    assert hint in explained.hint


@pytest.mark.parametrize(
    ("job", "mib"),
    [
        ({}, 21_600),  # nine tenths of the daemon's 24,000 MiB
        ({"SLURM_MEM_PER_NODE": "16000"}, 14_400),
        ({"SLURM_MEM_PER_CPU": "2000", "SLURM_CPUS_ON_NODE": "4"}, 6976),  # 1 GiB is left for others
        ({"SLURM_MEM_PER_NODE": "0"}, 21_600),  # Slurm's word for all of it
        ({"SLURM_MEM_PER_NODE": "900000"}, 21_600),
        ({"SLURM_MEM_PER_NODE": "300"}, 300),
    ],
)
def test_a_container_has_the_memory_of_its_slurm_job(job: dict[str, str], mib: int) -> None:
    assert _dockerd.memory_limit({"MemTotal": 24_000 << 20}, job) == mib << 20


def test_a_container_has_the_cores_of_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.release", lambda: "6.1")
    monkeypatch.setattr("socket.gethostname", lambda: "vm")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {5, 2})
    info = {"NCPU": 8, "KernelVersion": "6.1", "Architecture": "x86_64", "Name": "vm"}
    assert _dockerd.cpu_set(info) == "2,5"
    assert _dockerd.host_facts(info) == {"cores": "2"}
    assert not _dockerd.cpu_set({**info, "NCPU": 2})
    for other in ({"KernelVersion": "5.15"}, {"Name": "another"}):
        assert not _dockerd.cpu_set({**info, **other}), "the cores of another host"
        assert _dockerd.host_facts({**info, **other})["name"] == {**info, **other}["Name"]


class Daemon:
    """Answers as two real engines did: Podman 4.3.1, and Docker 20.10 without root on a host with cgroup v1."""

    def __init__(self, name: str = "Engine") -> None:
        self._name = name

    def version(self) -> dict[str, object]:
        return {"Version": "4.3.1", "Components": [{"Name": self._name, "Version": "4.3.1"}]}

    def info(self) -> dict[str, object]:
        return {"MemTotal": 24 * 1024**3, "MemoryLimit": False, "PidsLimit": False, "CgroupVersion": "1"}

    def close(self) -> None:
        """Close nothing."""


def test_podman_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_probe, "connect", lambda **_: Daemon("Podman Engine"))
    monkeypatch.setattr(_dockercli, "find_cli", lambda _: Cli(path="docker", version="28", buildx=True))
    found = docker_probe.probe()
    assert not found.answers
    assert found.why.startswith("Podman 4.3.1 answers, which cannot build with BuildKit; start Docker")


def test_a_limit_that_docker_ignores_is_not_stated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(docker_engine, "connect", lambda **_: Daemon())
    engine = docker_engine.DockerEngine(tmp_path, Cli(path="docker", version="28", buildx=True))
    assert engine.describe()["memory limit"] == "none: Docker cannot set one here"
