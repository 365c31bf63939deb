"""What is in `compose/`.

It follows the specification, names files that are there, and its checks tell the truth.
"""

import configparser
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt import publish
from ruamel.yaml import YAML

from busbar.config import loader
from scpi_bridge.settings import Config
from tests.broker import Mosquitto, find

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "compose"
UNIT = COMPOSE / "busbar@.service"
LIMIT = 60  # s; generous, only a failure needs it


def text_of(name: str) -> str:
    return (COMPOSE / name).read_text()


def compose() -> Any:
    return YAML(typ="safe").load(text_of("compose.yaml"))


def services() -> dict[str, Any]:
    return dict(compose()["services"])


def run(*command: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=LIMIT
    )


def check_against_the_specification(file: Path) -> subprocess.CompletedProcess[str]:
    return run(
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        file,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of `compose/` with the secrets that its README says how to make."""
    root = tmp_path_factory.mktemp("site")
    for name in ("compose", "mosquitto"):
        shutil.copytree(
            ROOT / name, root / name, ignore=shutil.ignore_patterns("secrets", ".env")
        )
    commands = re.findall(
        r"^    ((?:umask|for|mosquitto_passwd|echo) .*)$",
        text_of("README.md"),
        re.MULTILINE,
    )
    script = "\n".join(commands).replace(
        "mosquitto_passwd ", find("mosquitto_passwd") + " "
    )
    done = run("sh", "-ec", script, cwd=root / "compose")
    assert (done.returncode, done.stderr) == (0, ""), done
    return root / "compose"


@pytest.fixture(scope="module")
def broker(site: Path) -> Iterator[Mosquitto]:
    """The broker of compose.yaml, on this machine."""
    text = text_of("mosquitto.conf").replace("/run/secrets/", f"{site}/secrets/")
    with Mosquitto(
        configuration=text.replace("/mosquitto/config/", f"{site.parent}/mosquitto/")
    ) as running:
        yield running


def test_the_compose_file_follows_the_specification() -> None:
    done = check_against_the_specification(COMPOSE / "compose.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "word",
    ["restart:", "healthcheck:", "cap_drop:", "secrets: [", "internal:", "condition:"],
)
def test_a_misspelt_word_in_the_compose_file_is_noticed(
    word: str, tmp_path: Path
) -> None:
    planted = tmp_path / "compose.yaml"
    planted.write_text(text_of("compose.yaml").replace(word, f"{word[0]}{word}", 1))
    assert check_against_the_specification(planted).returncode == 1


def test_every_mounted_file_is_there_once_the_secrets_are_made(site: Path) -> None:
    volumes = [
        volume.split(":")[0]
        for service in services().values()
        for volume in service["volumes"]
    ]
    secrets = [secret["file"] for secret in compose()["secrets"].values()]
    assert [name for name in volumes + secrets if not (site / name).is_file()] == []


def test_every_secret_a_service_uses_is_declared_and_none_is_in_the_repository() -> (
    None
):
    used = {secret for service in services().values() for secret in service["secrets"]}
    assert used == set(compose()["secrets"])
    assert {"/.env", "/secrets/"} <= set(text_of(".gitignore").split())


def test_the_secrets_are_readable_by_their_owner_only_and_the_broker_has_hashes(
    site: Path,
) -> None:
    files = list((site / "secrets").iterdir())
    assert {file.stat().st_mode & 0o077 for file in files} == {0}
    hashes = (site / "secrets" / "passwords").read_text()
    assert [file.name for file in files if file.read_text().strip() in hashes] == [
        "passwords"
    ]


def test_every_service_is_confined_restarted_and_watched() -> None:
    for service in services().values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["restart"] == "unless-stopped"
        assert service["user"].startswith("${BUSBAR_USER:?")
        assert "healthcheck" in service
        assert "privileged" not in service


def test_ports_are_published_on_this_machine_only() -> None:
    ports = [
        port for service in services().values() for port in service.get("ports", [])
    ]
    assert ports == ["127.0.0.1:1883:1883"]


def test_what_the_image_copies_is_there() -> None:
    lines = re.findall(
        r"^COPY (?!--from)(.+) \S+$", text_of("Dockerfile"), re.MULTILINE
    )
    arguments = services()["scpi-bridge"]["build"]["args"]
    sources = [line.replace("${SERVICE}", arguments["SERVICE"]) for line in lines]
    assert len(sources) == 4
    assert [source for source in sources if not (ROOT / source).exists()] == []
    kept = re.findall(r"^!(.+)$", text_of("Dockerfile.dockerignore"), re.MULTILINE)
    assert all(
        any(Path(source).is_relative_to(keep) for keep in kept) for source in sources
    )


def test_the_image_does_not_run_as_root_and_starts_the_bridge_without_a_shell() -> None:
    lines = text_of("Dockerfile").splitlines()
    assert "USER 10001:10001" in lines
    assert 'ENTRYPOINT ["/opt/busbar/bin/bridge"]' in lines


def test_the_configuration_fits_the_broker_the_secret_and_the_rights() -> None:
    loaded = loader.load(COMPOSE / "scpi-bridge.yaml", Config, {})
    service = services()["scpi-bridge"]
    assert loaded.broker.url == "mqtt://broker:1883"
    assert loaded.broker.password_file == f"/run/secrets/{service['secrets'][0]}"
    assert loaded.bridge.name == loaded.broker.username
    assert f"user {loaded.bridge.name}\n" in (ROOT / "mosquitto" / "acl").read_text()
    assert service["healthcheck"]["test"][2:] == [
        "/opt/busbar/health.py",
        "broker",
        loaded.bridge.name,
        loaded.broker.password_file,
    ]


def broker_is_healthy(port: int) -> bool:
    """Run the broker's health check as Docker would."""
    kind, command = services()["broker"]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    return (
        run(
            "sh", "-c", command.replace("$$", "$").replace("1883", str(port))
        ).returncode
        == 0
    )


@pytest.mark.restarts
def test_the_broker_is_healthy_while_it_serves_and_only_then(broker: Mosquitto) -> None:
    assert broker_is_healthy(broker.port)
    broker.kill()
    assert not broker_is_healthy(broker.port)
    broker.start()
    assert broker_is_healthy(broker.port)


def health(broker: Mosquitto, site: Path) -> tuple[int, str]:
    """Run the bridge's health check as Docker would."""
    address = f"127.0.0.1:{broker.port}"
    done = run(
        sys.executable,
        COMPOSE / "health.py",
        address,
        "scpi1",
        site / "secrets" / "scpi1",
    )
    return done.returncode, done.stdout.strip()


@pytest.mark.parametrize(
    ("state", "code"),
    [("online", 0), ("connecting", 1), ("offline", 1), ("stopped", 1), ("unknown", 1)],
)
def test_a_bridge_is_healthy_when_its_status_says_online(
    broker: Mosquitto, site: Path, state: str, code: int
) -> None:
    password = (site / "secrets" / "scpi1").read_text().strip()
    publish.single(
        "busbar/scpi1/bridge/status",
        f'{{"state": "{state}"}}' if state != "unknown" else "",
        qos=1,
        retain=True,
        hostname="127.0.0.1",
        port=broker.port,
        auth={"username": "scpi1", "password": password},
    )
    assert health(broker, site) == (code, state)


DIRECTIVES = {
    "Unit": "Description Wants After StartLimitIntervalSec",
    "Service": """
        Type NotifyAccess ExecStart Restart RestartPreventExitStatus RestartSec
        WatchdogSec TimeoutStopSec
        LoadCredential DynamicUser
        StateDirectory UMask DevicePolicy RestrictAddressFamilies
        CapabilityBoundingSet NoNewPrivileges ProtectSystem
        ProtectHome PrivateTmp ProtectProc ProtectHostname ProtectControlGroups
        ProtectKernelTunables ProtectKernelModules ProtectKernelLogs
        RestrictNamespaces RestrictRealtime
        RestrictSUIDSGID LockPersonality
        SystemCallArchitectures SystemCallFilter SystemCallErrorNumber
        MemoryMax TasksMax
    """,
    "Install": "WantedBy",
}


def complaints(text: str, directory: Path) -> str:
    """Return what is wrong with a unit.

    By our list of directives and, where it is installed, by systemd itself.
    """
    parser = configparser.ConfigParser(
        interpolation=None, comment_prefixes="#", delimiters="="
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # the documented way to keep upper case
    parser.read_string(text)
    unknown = [
        key
        for name in parser.sections()
        for key in parser[name]
        if key not in DIRECTIVES[name].split()
    ]
    return " ".join(unknown) + by_systemd(text, directory)


def by_systemd(text: str, directory: Path) -> str:
    """Return what systemd says about the unit.

    It exits with 0 even where it ignores a line.
    """
    program = shutil.which("systemd-analyze")
    if program is None:
        return ""
    unit = directory / UNIT.name
    unit.write_text(
        re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE)
    )
    lines = run(program, "verify", unit).stderr.splitlines()
    return "\n".join(line for line in lines if "busbar@" in line)


def test_systemd_understands_every_line_of_the_unit(tmp_path: Path) -> None:
    assert complaints(UNIT.read_text(), tmp_path) == ""


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("WatchdogSec=", "WatchDogSec="),
        ("LoadCredential=", "LoadCredentials="),
        ("After=", "Aftr="),
    ],
)
def test_a_misspelt_directive_of_the_unit_is_noticed(
    right: str, wrong: str, tmp_path: Path
) -> None:
    assert wrong.strip("=") in complaints(
        UNIT.read_text().replace(right, wrong), tmp_path
    )


@pytest.mark.parametrize(
    "line",
    ["Type=notify", "DynamicUser=yes", "NoNewPrivileges=yes", "ProtectSystem=strict"],
)
def test_the_unit_is_watched_and_confined(line: str) -> None:
    assert line in UNIT.read_text().splitlines()


def test_the_unit_starts_the_command_of_a_service_that_exists() -> None:
    (command,) = re.findall(
        r"^ExecStart=/opt/busbar/bin/(\S+)", UNIT.read_text(), re.MULTILINE
    )
    assert (ROOT / "services" / command.replace("%i", "scpi")).is_dir()
