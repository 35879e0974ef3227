"""The documents say what is true: links, commands, options, names and columns exist, and snippets run.

Fields of sweep files are held to `sweeps/README.md` by `tests/orchestrator/test_sweeps.py`.
"""

import importlib
import importlib.util
import json
import re
import shlex
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pyarrow as pa
import pytest
import torch
import typer.main
import yaml

from orchestrator import cli
from orchestrator.display import streams
from orchestrator.folder.layout import Layout
from orchestrator.folder.records import SweepState
from orchestrator.folder.run_folder import RunFolder
from orchestrator.fronts import schema
from orchestrator.fronts.columns import FILES
from orchestrator.fronts.export import export_frontier
from orchestrator.paper.call import Asked, planned_call, run_call
from orchestrator.planning.cost import plan_cost
from orchestrator.planning.plan import plan
from orchestrator.planning.plan_text import plan_text
from orchestrator.running.result_text import _COLUMNS as TERMINAL_COLUMNS
from orchestrator.running.stopping import EXIT_CODES
from orchestrator.sweep.sweep_file import load_sweep
from orchestrator.sweep.sweep_schema import LOSSES, LossKind
from orchestrator.tracking import mlflow_ui_command
from tests.orchestrator.fake_sweep import fake_rows
from tests.orchestrator.rows import NOON
from trainer.config import ModelConfig
from trainer.errors import BadInput
from trainer.losses import LOSS_KINDS
from trainer.metrics import METRICS
from trainer.models import FAMILIES, describe_model

ROOT = Path(__file__).parents[1]
NOT_OURS = {".git", ".venv", "runs", "build", "dist", "node_modules"}
TOP = ("trainer", "orchestrator", "dashboards", "sweeps", "tests", "docs", "docker", "benchmarks")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TRACKED_BY_TRAINING = {"grad_norm"}
"""Final metrics that do not come from the held-out rows or the alive window, and so are no `Metric`."""


class Block(NamedTuple):
    """A fenced block of a document."""

    file: str
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}-{self.text.strip().splitlines()[0][:40]}"


def our_files() -> Iterator[Path]:
    """Every file of the repository that somebody wrote."""

    def below(folder: Path) -> Iterator[Path]:
        for path in sorted(folder.iterdir()):
            hidden = path.name.startswith(".") and path.name not in (".ci", ".env.example", ".gitignore", ".github")
            if path.name in NOT_OURS or path.name.endswith((".egg-info", "__pycache__")) or hidden:
                continue
            if path.is_dir():
                yield from below(path)
            else:
                yield path

    yield from below(ROOT)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


DOCUMENTS = {name_of(path): path.read_text("utf-8") for path in our_files() if path.suffix == ".md"}
README = DOCUMENTS["README.md"]
BLOCKS = [Block(file, *found) for file, text in DOCUMENTS.items() for found in FENCE.findall(text)]
PROSE = {file: FENCE.sub("", text) for file, text in DOCUMENTS.items()}
INLINE = sorted({(file, code) for file, text in PROSE.items() for code in re.findall(r"`([^`\n]+)`", text)})


def section(text: str, heading: str) -> str:
    """From a heading to the next one of its depth or above."""
    depth = heading.split()[0]
    _, found, rest = text.partition(f"\n{heading}\n")
    assert found, f"no heading {heading!r}"
    return re.split(rf"^#{{1,{len(depth)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def table_rows(text: str) -> list[list[str]]:
    """Cells of every table row, headings left out."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|--")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


# ---------------------------------------------------------------------------------------------------------- links


def slug(heading: str) -> str:
    """The anchor that a heading gets on the pages of a forge."""
    return re.sub(r"[^\w\- ]", "", heading.lower().replace("`", "")).strip().replace(" ", "-")


def anchors(document: Path) -> set[str]:
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", document.read_text("utf-8"), re.MULTILINE)}


@pytest.mark.parametrize("file", DOCUMENTS)
def test_every_relative_link_leads_somewhere(file: str) -> None:
    broken: list[str] = []
    for target in re.findall(r"\]\(([^)\s]+)\)", PROSE[file]):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (ROOT / file).parent / path if path else ROOT / file
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert broken == []


def test_every_file_and_name_in_the_documents_exists() -> None:
    missing = [
        (file, code)
        for file, code in INLINE
        if re.fullmatch(rf"({'|'.join(TOP)})/[\w./-]*", code) and not (ROOT / code).exists()
    ]
    for file, code in INLINE:
        if re.fullmatch(r"(trainer|orchestrator|dashboards)(\.\w+)+", code):
            module, _, name = code.rpartition(".")
            found = importlib.util.find_spec(module) and (
                hasattr(importlib.import_module(module), name) or importlib.util.find_spec(code)
            )
            missing += [] if found else [(file, code)]
    assert missing == []


def test_the_index_of_decisions_lists_each_of_them_once() -> None:
    here = sorted(path.name for path in (ROOT / "docs/decisions").glob("[0-9]*.md"))
    assert re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", DOCUMENTS["docs/decisions/README.md"]) == here
    numbers = [name[:4] for name in here]
    assert numbers == [f"{number:04d}" for number in range(1, len(here) + 1)]
    for name in here:
        text = DOCUMENTS[f"docs/decisions/{name}"]
        assert text.startswith(f"# {name[:4]}: ")
        assert all(f"**{part}" in text for part in ("Context", "Choice", "Consequence")) or name.startswith("0002")


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    place = re.compile(r"(?<![\w.$}])/(?:home/(?!app\b)|Users/|root/|work/)[\w.]|[A-Z]:\\\\?Users")
    found = [
        f"{name_of(path)}: {match[0]}"
        for path in our_files()
        if b"\0" not in (raw := path.read_bytes()[:4096])
        for match in place.finditer(path.read_text("utf-8", errors="replace") if raw else "")
    ]
    assert found == []


def test_the_changelog_has_a_place_for_what_is_not_released() -> None:
    first_words = re.findall(r"^- (\w+)", section(DOCUMENTS["CHANGELOG.md"], "## Unreleased"), re.MULTILINE)
    assert first_words
    orders = {"Add", "Allow", "Change", "Drop", "Fix", "Keep", "Let", "Make", "Move", "Remove", "Rename", "Show", "Use"}
    assert [word for word in first_words if word.removesuffix("s") in orders] == []


# ------------------------------------------------------------------------------------------------------- commands


def shell_lines(text: str) -> Iterator[list[str]]:
    """The commands of a shell block in words, comments gone and continued lines joined."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            words = words[1:]
        if words:
            yield words


def written_commands() -> list[tuple[str, list[str]]]:
    """Every command in the documents and in the comments of sweep files and of docker-compose.yml."""
    found = [(block.file, words) for block in BLOCKS if block.language == "sh" for words in shell_lines(block.text)]
    starts = ("python -m ", "make ", "docker compose ", "pip install ")
    found += [(file, shlex.split(code)) for file, code in INLINE if code.startswith(starts)]
    texts = dict(DOCUMENTS)
    others = [*ROOT.glob("sweeps/*.yaml"), ROOT / "docker-compose.yml"]
    texts |= {name_of(path): path.read_text("utf-8") for path in others}
    for file, text in texts.items():
        indented = re.findall(rf"^(?:#   | {{4}})\s*((?:{'|'.join(starts)}).*)$", FENCE.sub("", text), re.MULTILINE)
        found += [(file, shlex.split(re.split(r"\s{3,}|  #", line)[0])) for line in indented]
    return found


COMMANDS = written_commands()


def modules_run() -> list[tuple[str, str, list[str]]]:
    """(file, module, arguments) of each `python -m`, whatever folder python is in."""
    return [
        (file, words[2], words[3:]) for file, words in COMMANDS if words[0].endswith("python") and words[1:2] == ["-m"]
    ]


def parsed(module: str, arguments: Sequence[str]) -> dict[str, Any]:
    """What our own command line makes of these arguments; an option that it does not have raises."""
    commands = ours()
    name, *rest = ("launch", *arguments) if module == "orchestrator.launch" else arguments
    return commands[name].make_context(name, rest).params


def ours() -> dict[str, Any]:
    """Our commands by name; `python -m orchestrator.launch` is the first of them."""
    group: Any = typer.main.get_command(cli.app)
    return group.commands


def test_every_module_that_is_run_exists() -> None:
    modules = {module for _, module, _ in modules_run()}
    assert {"orchestrator.launch", "orchestrator", "pytest", "mlflow"} <= modules
    assert [module for module in sorted(modules) if importlib.util.find_spec(module) is None] == []


@pytest.mark.parametrize(
    ("module", "arguments"),
    [pytest.param(module, rest, id=f"{file}: {shlex.join(rest)}") for file, module, rest in modules_run()
     if module in ("orchestrator", "orchestrator.launch")],
)  # fmt: skip
def test_every_command_of_ours_is_understood(module: str, arguments: list[str], tmp_path: Path) -> None:
    given = parsed(module, arguments)
    if given.get("sweep") is None:
        return
    path = ROOT / given["sweep"]
    if str(given["sweep"]) in ("SWEEP.yaml", "mine.yaml"):
        (path := tmp_path / "mine.yaml").write_text(own_sweep())
    load_sweep(path, given["overrides"] or [])


def test_every_option_in_the_prose_is_one_of_ours() -> None:
    parameters = [parameter for command in ours().values() for parameter in command.params]
    options = {name for parameter in parameters for name in [*parameter.opts, *parameter.secondary_opts]} | {"--help"}
    written = [(file, *shlex.split(code)) for file, code in INLINE if code.startswith("--")]
    assert {"--dry-run", "--local", "--set", "--retry-failed", "--no-tracking", "--runs"} <= {
        code for _, code, *_ in written
    }
    assert [(file, code) for file, code, *_ in written if code not in options] == []


def test_every_value_that_the_prose_sets_can_be_set_in_a_shipped_sweep() -> None:
    written = {(file, word) for file, code in INLINE if code.startswith("--set ") for word in shlex.split(code)[1:]}
    assert len(written) > 2
    refused = {
        (file, word)
        for file, word in written - {("sweeps/README.md", "a.b=c")}
        if not any(is_taken(path, word) for path in (ROOT / "sweeps").glob("*.yaml"))
    }
    assert refused == set()


def is_taken(path: Path, override: str) -> bool:
    try:
        load_sweep(path, [override])
    except BadInput:
        return False
    return True


def makefile() -> tuple[set[str], set[str]]:
    """Targets, and commands with variables filled in and pip's quiet options left out."""
    text = (ROOT / "Makefile").read_text("utf-8")
    variables = dict(re.findall(r"^(\w+)\s*[?:]?=\s*(.*)$", text, re.MULTILINE))
    for _ in range(3):
        text = re.sub(r"\$\((\w+)\)", lambda match: variables.get(match[1], match[0]), text)
    text = text.replace(" --disable-pip-version-check -q", "")
    targets = set(re.findall(r"^([\w-]+):", text, re.MULTILINE))
    return targets, {line.strip() for line in text.splitlines() if line.startswith("\t")}


def test_every_make_target_exists() -> None:
    targets, _ = makefile()
    wanted = {(file, word) for file, words in COMMANDS if words[0] == "make" for word in words[1:] if "=" not in word}
    assert {"sweep", "test", "check", "fix"} <= {word for _, word in wanted}
    assert [(file, word) for file, word in sorted(wanted) if word not in targets] == []


def test_the_plain_lines_of_the_first_screen_are_what_make_does() -> None:
    _, commands = makefile()
    plain = [block.text for block in BLOCKS if block.file == "README.md" and block.language == "sh"][1]
    lines = [line for line in plain.splitlines() if line]
    assert len(lines) == 6
    assert [line for line in lines if line not in commands] == []
    assert README.index(plain) < README.index("\n## ")


def test_pip_is_told_extras_and_versions_that_the_package_has() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for _, words in COMMANDS:
        if words[0].endswith("pip"):
            for word in words[2:]:
                extras = re.search(r"^\.\[(.*)\]$", word)
                assert extras is None or set(extras[1].split(",")) <= set(project["optional-dependencies"])
                if word.startswith("torch"):
                    assert word in project["dependencies"]
                name = re.match(r"\w+", word)
                if name and name[0] in ("polars", "duckdb"):
                    assert any(line.startswith(name[0]) for line in project["optional-dependencies"]["test"])


def test_every_service_that_compose_is_told_to_run_exists() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    runs = [
        words[words.index("run") + 1 :]
        for _, words in COMMANDS
        if words[:2] == ["docker", "compose"] and "run" in words
    ]
    assert runs
    for words in runs:
        service, sweep = [word for word in words if not word.startswith("-")]
        assert service in services
        assert (ROOT / sweep).is_file()


def test_the_mlflow_command_is_the_one_that_is_printed() -> None:
    [command] = [words for file, words in COMMANDS if file == "README.md" and "mlflow" in words]
    printed = shlex.split(mlflow_ui_command("sqlite:///runs/mlflow.db"))
    assert command[1:] == printed[1:]


# ------------------------------------------------------------------------------------------------- what there is


def names_in(text: str, column: int = 0) -> list[str]:
    return [name for row in table_rows(text) for name in re.findall(r"`([\w.]+)`", row[column])]


def test_every_kind_of_loss_is_known_everywhere_and_in_the_readme() -> None:
    style = json.loads((ROOT / "dashboards/style.json").read_text("utf-8"))
    assert set(style["losses"]) == {*LOSS_KINDS, schema.EXTERNAL}
    assert set(LOSS_KINDS) == set(LOSSES) == set(get_args(LossKind))
    assert names_in(section(README, "### Losses"))[1:] == list(LOSS_KINDS)


def test_every_model_family_is_in_the_readme_with_whether_it_can_be_centred() -> None:
    rows = [row for row in table_rows(section(README, "## Your own model and data")) if len(row) == 3]
    written = {row[0].strip("`"): not row[2].startswith("not") for row in rows[1:]}
    assert written == {name: family.can_center for name, family in FAMILIES.items()}


def test_every_exit_code_is_in_the_readme() -> None:
    first = [row[0] for row in table_rows(section(README, "## Run it again, stop it"))[1:]]
    codes = {int(code) for cell in first for code in cell.split(",")}
    known = {streams.OUR_FAULT, streams.BAD_INPUT, streams.ENVIRONMENT, *EXIT_CODES.values()}
    assert codes == {0, 3} | known


def test_the_readme_explains_each_heading_of_the_terminal_table() -> None:
    written = [row[0] for row in table_rows(section(README, "### In the terminal"))[1:]]
    assert written == [heading for _, heading, _ in TERMINAL_COLUMNS]


def test_the_readme_draws_the_run_folder_as_it_is() -> None:
    drawn = section(README, "## The run folder")
    layout = importlib.import_module(Layout.__module__).__doc__ or ""
    names = re.findall(r"[\w<>/]+\.(?:jsonl?|yaml|txt|parquet|png|svg|safetensors)", layout)
    assert len(names) > 10
    assert [name for name in names if name not in drawn] == []


def test_every_sweep_file_is_in_the_readme_and_plans_offline() -> None:
    for path in sorted((ROOT / "sweeps").glob("*.yaml")):
        assert name_of(path) in README + DOCUMENTS["docs/paper.md"]
        sweep = load_sweep(path)
        facts = describe_model(sweep.model)
        found = plan(sweep, facts)
        assert plan_text(found, plan_cost(found.packs, facts), sweep).endswith("nothing was started")


def own_sweep() -> str:
    [text] = [block.text for block in BLOCKS if block.file == "README.md" and block.language == "yaml"]
    return text


def test_the_sweep_file_in_the_readme_plans(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(own_sweep())
    sweep = load_sweep(tmp_path / "mine.yaml")
    found = plan(sweep, describe_model(ModelConfig(name="builtin")))
    assert {trial.config.loss.kind for trial in found.trials} == {"local", "e2e", "e2e_downstream"}


# ------------------------------------------------------------------------------------------------------- columns

TYPES = {
    "string": "text",
    "double": "float64",
    "list<element: double>": "list of float64",
    "list<element: string>": "list of text",
}


def row_of(column: schema.Column) -> list[str]:
    """A column's row in docs/frontier-parquet.md."""
    is_time = pa.types.is_timestamp(column.type)
    type_ = "UTC timestamp" if is_time else TYPES.get(str(column.type), str(column.type))
    type_ = "list of warnings" if column.name == "warnings" else type_
    null = "can be missing" if column.nullable else ""
    return [f"`{column.name}`", type_, column.unit, column.better, null, column.description.replace("|", "\\|")]


def test_every_column_is_documented_as_the_schema_has_it() -> None:
    written = [row for row in table_rows(DOCUMENTS["docs/frontier-parquet.md"]) if row[0] != "column"]
    expected = [row_of(column) for column in [*schema.SETTING_COLUMNS, *schema.METRIC_COLUMNS]]
    expected += [row_of(column) for pair in schema.DEFAULT_OBJECTIVES for column in schema.front_columns(pair)]
    expected += [row_of(column) for column in schema.RUN_COLUMNS]
    expected += [row_of(column) for wanted in FILES.values() for column in wanted]
    missing = ["| " + " | ".join(row) + " |" for row in expected if row not in written]
    assert missing == [], "write these rows:\n" + "\n".join(missing)
    assert written == expected


def test_every_metric_is_a_column_and_good_in_the_same_direction() -> None:
    columns = {column.name: column for column in schema.METRIC_COLUMNS}
    assert set(columns) == {metric.column for metric in METRICS} | TRACKED_BY_TRAINING
    for metric in METRICS:
        assert columns[metric.column].better in ("", metric.better)


def test_columns_that_the_readme_names_exist() -> None:
    names = set(names_in(section(README, "### In pandas, Polars or DuckDB")))
    assert names
    assert names - {"column"} <= {column.name for column in schema.columns()}


# ------------------------------------------------------------------------------------------------------ snippets


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a `runs` folder in it: one sweep of invented numbers, each SAE a small random one."""
    here = tmp_path_factory.mktemp("docs")
    folder = RunFolder(here / "runs" / "quickstart-0123abcd")
    for row in fake_rows(layers=2, coeffs=3, seeds=1):
        folder.write_row(row)
        assert row.facts is not None
        d_model, d_sae = row.facts.d_model, row.facts.d_sae
        shapes = {"w_enc": (d_sae, d_model), "b_enc": (d_sae,), "dictionary": (d_sae, d_model), "b_dec": (d_model,)}
        folder.write_sae(row.trial_id, {name: torch.randn(shape) for name, shape in shapes.items()}, row.config)
    export_frontier(folder, sweep_id="quickstart-0123abcd", state=SweepState.COMPLETE, now=NOON, snapshot=True)
    paper = planned_call(Asked(folder, only=("saes",), local=True))
    run_call(paper, heard=lambda *_: None, ended=lambda _: None, phase=lambda _: None)
    return here


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "python"], ids=str)
def test_a_snippet_runs_and_does_what_it_says(block: Block, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs)
    monkeypatch.setenv("SAE_FRONTIER_CACHE", str(runs / "cache"))
    names: dict[str, Any] = {}
    exec(compile(block.text, block.file, "exec"), names)
    if "front" in names:
        assert 0 < len(names["front"]) <= 2 * 3 * 3
    if "results" in names:
        assert len(names["results"]) == 2
        assert all(result.metrics["l0"] > 0 for result in names["results"].values())
    if "output" in names:
        assert names["output"].shape == names["activations"].shape
    if "facts" in names:
        assert names["facts"]["state"] == "complete"
    if "chosen" in names:
        assert set(names["chosen"]["group"].str[:2]) == {"L0", "L1"}
    assert {"front", "results", "output", "facts", "chosen"} & set(names)


def test_the_readme_reads_the_table_with_each_library_and_trains_a_pack() -> None:
    code = [block.text for block in BLOCKS if block.file == "README.md" and block.language == "python"]
    for name in ("import pandas", "import polars", "import duckdb", "from trainer.pack import"):
        assert any(name in text for text in code)
