"""What a file, a name or an error may not do: run code, leave its folder, reach a shell, or speak to the terminal."""

import ast
import io
import json
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.display.go_on import resume_command, retry_command, stop_command
from orchestrator.display.plain import plain, plain_json
from orchestrator.display.screen import JsonLines, PlainLines
from orchestrator.display.terminal import LiveScreen, SafeConsole
from orchestrator.folder.records import Event, SavedPlan
from orchestrator.folder.run_folder import RunFolder
from orchestrator.launch import command_to_go_on
from orchestrator.running.planned import LaunchOptions
from orchestrator.sweep.yaml_lines import parse
from tests.orchestrator.made_run import made_run
from tests.tiny import ROOT
from trainer.errors import BadInput

PACKAGES = ("trainer", "orchestrator", "dashboards")
EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\u202e"
OBEYED = "\x1b\x07\x9b\r\u202e"
"""What of it a terminal would act on."""

# ------------------------------------------------------------------------------------- no code out of files

MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "jsonpickle"}
CALLS = {
    "eval", "exec", "compile", "__import__",
    "os.system", "os.popen", "os.spawnl", "os.spawnv", "subprocess.getoutput", "subprocess.getstatusoutput",
    "torch.load", "torch.hub.load", "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load",
    "np.load", "numpy.load", "pd.read_pickle", "pandas.read_pickle",
}  # fmt: skip
KEYWORDS = {"trust_remote_code", "shell", "allow_pickle"}
"""May be given, and only as False."""
LOADERS = {"Loader", "UnsafeLoader", "FullLoader", "CLoader", "CUnsafeLoader", "CFullLoader"}


def dotted(node: ast.expr) -> str:
    match node:
        case ast.Name(name):
            return name
        case ast.Attribute(value, name):
            return f"{dotted(value)}.{name}"
        case _:
            return ""


def dangers(source: str) -> Iterator[str]:
    """What in it could run code that a file or a name carries."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names):
                yield from (name.name for name in names if name.name.split(".")[0] in MODULES)
            case ast.ImportFrom(module, names):
                if (module or "").split(".")[0] in MODULES:
                    yield str(module)
                yield from (f"{module}.{name.name}" for name in names if f"{module}.{name.name}" in CALLS)
            case ast.Call(function, _, keywords):
                if dotted(function) in CALLS:
                    yield dotted(function)
                for keyword in keywords:
                    is_false = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                    if keyword.arg in KEYWORDS and not is_false:
                        yield f"{keyword.arg}="
                    if keyword.arg == "weights_only" and is_false:
                        yield "weights_only=False"
            case ast.Attribute(ast.Name("yaml"), name) if name in LOADERS:
                yield f"yaml.{name}"
            case _:
                pass


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from cloudpickle import loads", "eval(text)", "import torch\ntorch.load(path)",
        "yaml.load(text, Loader=yaml.Loader)", "AutoModel.from_pretrained(x, trust_remote_code=flag)",
        "subprocess.run(line, shell=True)", "from os import system", "np.load(path, allow_pickle=True)",
    ],
)  # fmt: skip
def test_the_search_for_such_code_finds_it(source: str) -> None:
    assert list(dangers(source))


def test_nothing_in_the_packages_runs_what_a_file_or_a_name_carries() -> None:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert len(files) > 50
    found = [f"{path.relative_to(ROOT)}: {danger}" for path in files for danger in dangers(path.read_text("utf-8"))]
    assert found == []


def test_yaml_tags_make_nothing(tmp_path: Path) -> None:
    target = tmp_path / "made"
    document = parse(f"name: !!python/object/apply:os.system ['touch {target}']", name="x")
    assert [complaint.text for complaint in document.complaints] == [
        "the tag tag:yaml.org,2002:python/object/apply:os.system is not read; remove it"
    ]
    assert not target.exists()


# ------------------------------------------------------------------------------- no way out of the run folder


@pytest.mark.parametrize(
    "name", ["../x", "/etc/x", "a/b", ".hidden", "", "a\n", "a\x00b", "x" * 300, "..", "~", "a\\b"]
)
def test_no_name_of_a_sweep_leads_out_of_the_runs_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput):
        RunFolder.of_sweep(tmp_path, name)


def test_a_plan_with_names_that_lead_elsewhere_is_refused(tmp_path: Path) -> None:
    folder = made_run(tmp_path / "runs")
    plan = json.loads((folder.path / "plan.json").read_text())
    del plan["sha256"]
    for change in (
        {"sweep_id": "../../x"},
        {"packs": {"../../x": [trial for trials in plan["packs"].values() for trial in trials]}},
        {"removed": ["../../../x"]},
    ):
        with pytest.raises(ValueError, match="should match pattern"):
            SavedPlan.model_validate_json(json.dumps(plan | change))
        for path in (folder.path / "plan.json", folder.path / "spare" / "plan.json"):
            path.write_text(json.dumps(plan | change))
        for command in ("status", "resume", "stop"):
            ran = CliRunner().invoke(app, [command, str(folder.path)])
            assert ran.exit_code == 2, (command, ran.output)
            assert "Traceback" not in ran.output
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


# --------------------------------------------------------------------------------------------- no shell


@pytest.mark.parametrize("name", ["a; touch owned", "$(touch owned)", "`touch owned`", "a b", "a'b", "-rf", "größer"])
def test_a_command_to_copy_holds_a_name_as_one_word(name: str) -> None:
    folder = Path("runs") / name
    for line in (resume_command(folder), retry_command(folder), stop_command(folder)):
        assert str(folder) in shlex.split(line)
    options = LaunchOptions(Path(f"{name}.yaml"), overrides=[f"data.dataset={name}"], runs=folder)
    words = shlex.split(command_to_go_on(options))
    assert {f"{name}.yaml", f"data.dataset={name}", str(folder)} <= set(words)


# --------------------------------------------------------------------------------------------- no terminal


def test_what_a_terminal_would_obey_has_a_visible_stand_in() -> None:
    assert plain("a\tb\nc größer ␛ 日本") == "a\tb\nc größer ␛ 日本"
    shown = plain(EVIL)
    assert not set(OBEYED) & set(shown)
    assert shown.startswith("␛]0;owned␇␛[2J")
    value = {"text": EVIL, "other": "größer"}
    text = plain_json(json.dumps(value, ensure_ascii=False, indent=1))
    assert not set(OBEYED) & set(text)
    assert json.loads(text) == value


def test_no_screen_passes_on_what_an_error_carries() -> None:
    event = Event(
        time=datetime(2026, 11, 22, tzinfo=UTC), level="error", event="trial_failed", message=f"failed: {EVIL}"
    )
    lines, as_json, live = io.StringIO(), io.StringIO(), io.StringIO()
    console = SafeConsole(file=live, width=100, force_terminal=True, color_system=None, legacy_windows=False)
    for screen in (PlainLines(lines), JsonLines(as_json)):
        screen.event(event)
        screen.note("results", EVIL)
        screen.phase(EVIL)
    screen = LiveScreen(console)
    screen.event(event)
    screen.close()
    assert not set(OBEYED) & set(lines.getvalue())
    assert not set(OBEYED) & set(as_json.getvalue())
    for sequence in ("\x1b]", "\x1b[2J", "\x07", "\x9b", "\u202e"):
        assert sequence not in live.getvalue()
    assert "␛]0;owned" in live.getvalue()


@pytest.mark.parametrize("command", ["launch", "doctor", "status", "resume"])
def test_a_name_on_the_command_line_is_not_passed_on_either(tmp_path: Path, command: str) -> None:
    ran = CliRunner().invoke(app, [command, f"{tmp_path}/{EVIL}.yaml"])
    assert ran.exit_code == 2
    assert not set(OBEYED) & set(ran.output)


def test_a_sweep_whose_name_speaks_to_the_terminal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.yaml"
    text = (ROOT / "sweeps/quickstart.yaml").read_text("utf-8")
    path.write_text(text.replace("name: quickstart", 'name: "\\e]0;owned\\a"'), "utf-8")
    ran = CliRunner().invoke(app, ["launch", str(path), "--dry-run"])
    assert ran.exit_code == 2
    assert "control character" in ran.stderr
    assert not set(OBEYED) & set(ran.output)
