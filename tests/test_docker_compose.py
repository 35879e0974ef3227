"""What can be known of docker-compose.yml without an engine: its schema, and that it fits this repository."""

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docker-compose.yml").read_text()
FILE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
DOCKERFILES = {path.name: path.read_text() for path in (ROOT / "docker").glob("*Dockerfile")}
EXAMPLE = dict(
    line.split("=", 1) for line in (ROOT / ".env.example").read_text().splitlines() if re.match(r"[A-Z_]+=", line)
)


def version_of(package: str) -> str:
    """The exact, or else the lowest, version of a package that pyproject.toml allows."""
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    [line] = [line for line in dependencies if re.match(rf"{package}\b", line)]
    return re.findall(r"[=>]=([\d.]+)", line)[0]


def schema_check(file: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_file_follows_the_compose_specification() -> None:
    checked = schema_check(ROOT / "docker-compose.yml")
    assert checked.returncode == 0, checked.stdout


def test_the_specification_would_catch_a_misspelt_key(tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yml").write_text(TEXT.replace("shm_size", "shm_sise"))
    assert schema_check(tmp_path / "docker-compose.yml").returncode == 1


def test_whoever_is_waited_for_has_a_health_check() -> None:
    waits = [(name, other, how) for name, s in SERVICES.items() for other, how in s.get("depends_on", {}).items()]
    assert {other for _, other, _ in waits} == {"postgres", "mlflow", "ray-head", "prometheus"}
    for name, other, how in waits:
        assert how["condition"] == "service_healthy", (name, other)
        assert SERVICES[other]["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")


def test_each_variable_is_in_the_example_and_each_of_the_example_is_used() -> None:
    assert set(re.findall(r"\$\{(\w+)", TEXT)) == set(EXAMPLE)


def test_no_secret_is_written_down() -> None:
    secret = re.compile(r"PASSWORD|TOKEN$|SECRET|KEY")
    assert {name for name in EXAMPLE if secret.search(name)} == {"POSTGRES_PASSWORD", "RAY_AUTH_TOKEN"}
    assert EXAMPLE["POSTGRES_PASSWORD"] == EXAMPLE["RAY_AUTH_TOKEN"] == ""
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if secret.search(variable):
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), (name, variable)
            assert not re.search(r"://\w+:(?!\$\{)[^@/]+@", value), (name, variable)


def test_every_published_port_is_for_this_machine_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_mounted_and_copied_file_is_in_the_repository() -> None:
    mounted = [str(volume).split(":")[0] for s in SERVICES.values() for volume in s.get("volumes", [])]
    named = {name for name in mounted if re.fullmatch(r"\w+", name)}
    assert named == set(FILE["volumes"])
    files = {name for name in mounted if name.startswith("./")}
    for text in DOCKERFILES.values():
        for copied in re.findall(r"^COPY (.+) \S+$", text, flags=re.MULTILINE):
            files.update(copied.split())
    assert "./sweeps" in files
    assert "pyproject.toml" in files
    assert [name for name in sorted(files) if not (ROOT / name).exists()] == []


def test_what_is_copied_into_the_image_is_sent_to_its_build() -> None:
    sent = set(re.findall(r"^!(\S+)", (ROOT / "docker/Dockerfile.dockerignore").read_text(), flags=re.MULTILINE))
    copied = re.findall(r"^COPY (.+) \S+$", DOCKERFILES["Dockerfile"], flags=re.MULTILINE)
    assert {name for names in copied for name in names.split()} == sent


def test_versions_are_those_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ray, mlflow = version_of("ray"), version_of("mlflow")
    assert f"ARG RAY_VERSION={ray}\n" in DOCKERFILES["Dockerfile"]
    assert f"FROM ghcr.io/mlflow/mlflow:v{mlflow}\n" in DOCKERFILES["mlflow.Dockerfile"]
    assert SERVICES["mlflow"]["image"].endswith(f":{mlflow}")
    assert SERVICES["launcher"]["image"].endswith(f":{project['version']}")
    [torch] = [line for line in project["dependencies"] if line.startswith("torch")]
    assert f'"{torch}"' in DOCKERFILES["Dockerfile"]
    [python] = re.findall(r"^FROM python:([\d.]+)-", DOCKERFILES["Dockerfile"], flags=re.MULTILINE)
    assert project["requires-python"] == f">={python}"


def test_head_workers_and_launcher_are_one_image_with_one_token() -> None:
    nodes = [SERVICES[name] for name in ("ray-head", "worker", "worker-gpu", "launcher")]
    assert len({node["image"] for node in nodes}) == 1
    assert {node["environment"]["RAY_AUTH_TOKEN"] for node in nodes} == {"${RAY_AUTH_TOKEN:?fill it in in .env}"}
    for node in nodes:
        assert node["build"]["dockerfile"] == "docker/Dockerfile"
        assert node["shm_size"]
        assert int(node["stop_grace_period"].removesuffix("s")) > 30


def test_only_the_gpu_profile_asks_for_gpus() -> None:
    asking = {name for name, service in SERVICES.items() if "deploy" in service}
    assert asking == {"worker-gpu"}
    assert SERVICES["worker-gpu"]["profiles"] == ["gpu"]


def test_prometheus_asks_each_ray_node_at_the_port_where_it_exports() -> None:
    [job] = yaml.safe_load((ROOT / "dashboards/prometheus.yml").read_text())["scrape_configs"]
    [asked] = job["dns_sd_configs"]
    nodes = {name: service for name, service in SERVICES.items() if "RAY_AUTH_TOKEN" in service.get("environment", {})}
    assert set(asked["names"]) == set(nodes)
    option = f"--metrics-export-port={asked['port']}"
    for name, service in nodes.items():
        starts = (ROOT / "docker/launch.sh").read_text() if name == "launcher" else " ".join(service["command"])
        assert option in starts, name


def test_grafana_is_given_its_board_and_where_prometheus_is() -> None:
    mounts = dict(volume.split(":")[:2] for volume in SERVICES["grafana"]["volumes"])
    [source] = yaml.safe_load((ROOT / "dashboards/grafana/datasource.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    [provider] = yaml.safe_load((ROOT / "dashboards/grafana/boards.yml").read_text())["providers"]
    [board] = [to for file, to in mounts.items() if file.endswith("board.json")]
    assert board.startswith(provider["options"]["path"])
    assert SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == board
    text = (ROOT / "dashboards/grafana/board.json").read_text()
    assert set(re.findall(r'"uid": "(\w+)"', text)) == {source["uid"]}
    assert SERVICES["prometheus"]["profiles"] == SERVICES["grafana"]["profiles"] == ["metrics"]


def test_mlflow_answers_to_the_name_that_workers_call_it_by() -> None:
    [option] = [word for word in SERVICES["mlflow"]["command"] if word.startswith("--allowed-hosts=")]
    host = SERVICES["worker"]["environment"]["MLFLOW_TRACKING_URI"].removeprefix("http://")
    assert host in option.removeprefix("--allowed-hosts=").split(",")


def test_the_launcher_starts_a_module_and_a_sweep_that_exist() -> None:
    launcher = SERVICES["launcher"]
    script = launcher["entrypoint"][-1]
    assert launcher["entrypoint"] == ["sh", "docker/launch.sh"]
    [module] = re.findall(r"^exec python -m (\S+)", (ROOT / script).read_text(), flags=re.MULTILINE)
    assert importlib.util.find_spec(module) is not None
    assert all((ROOT / sweep).is_file() for sweep in launcher["command"])
    assert launcher["stop_signal"] == "SIGINT"
    ray_head = SERVICES["ray-head"]["command"]
    assert launcher["environment"]["RAY_ADDRESS"] == "ray-head:6379"
    assert "--port=6379" in ray_head


def test_the_dashboard_can_read_the_runs_and_do_nothing_else() -> None:
    service = SERVICES["dashboard"]
    [runs] = service["volumes"]
    assert (runs["target"], runs["read_only"], service["read_only"]) == ("/app/runs", True, True)
    assert runs["source"] == SERVICES["launcher"]["volumes"][0]["source"]
    assert "environment" not in service  # no secret, no cluster
    assert service["cap_drop"] == ["ALL"]
    assert int(service["mem_limit"].removesuffix("m")) >= 256


def test_the_dashboard_is_started_with_options_that_it_has_at_the_port_that_is_published() -> None:
    from typer.main import get_command

    from orchestrator import cli
    from orchestrator.commands.dashboard import PORT

    service = SERVICES["dashboard"]
    command: Any = get_command(cli.app)
    _, _, module, name, *rest = service["command"]
    given = command.commands[name].make_context(name, list(rest)).params
    assert (module, given["host"], given["port"], str(given["runs"])) == ("orchestrator", "0.0.0.0", PORT, "runs")
    assert service["ports"][0].endswith(f":{PORT}")
    assert f"127.0.0.1:{PORT}/healthz" in service["healthcheck"]["test"][-1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlflow", "ray-head", "worker", "worker-gpu"])
def test_every_option_of_a_command_is_one_that_the_program_has(name: str) -> None:
    program, subcommand, *options = SERVICES[name]["command"]
    code = {"mlflow": "from mlflow.cli import cli as program", "ray": "from ray.scripts.scripts import cli as program"}
    script = f"{code[program]}; print(*[o for p in program.commands[{subcommand!r}].params for o in p.opts])"
    known = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert [option for option in options if option.split("=")[0] not in known] == []
