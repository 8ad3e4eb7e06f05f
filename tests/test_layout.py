"""The plan of the house: which package imports which, and what every file has."""

import ast
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FILES = sorted((ROOT / "mvjax").rglob("*.py"))
# What a package may import of mvjax, beside itself.
ALLOWED = {
    "core": set(),
    "losses": {"core"},
    "ops": {"core"},
    "transforms": {"core", "ops"},
    "convert": {"core"},
    "data": {"core"},
    "models": {"core", "ops", "convert"},
    "methods": {"core", "losses", "ops", "convert", "models"},
    "evaluators": {"core", "losses", "ops", "data"},
    "report": {"core", "data", "evaluators", "tracking", "train"},
    "tracking": {"core"},
    "train": {"core", "convert", "data", "evaluators", "tracking"},
    "cost": {"core", "data", "train"},
    "commands": {"core", "cost", "data", "evaluators", "report", "tracking", "train"},
    "cli": {"core", "data", "commands"},
    "__main__": {"cli", "core"},
    "__init__": set(),
}


def parse(path: pathlib.Path) -> ast.Module:
    return ast.parse(path.read_text())


def package(path: pathlib.Path) -> str:
    return path.relative_to(ROOT / "mvjax").parts[0].removesuffix(".py")


def imported(path: pathlib.Path) -> set[str]:
    """Packages of mvjax that a file imports, at any depth of nesting."""
    found = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "mvjax" and len(parts) > 1:
                found.add(parts[1])
    return found


def imported_modules(path: pathlib.Path) -> set[str]:
    """Modules of mvjax that a file imports when it is imported itself."""
    return {
        f"{node.module}.{alias.name}"
        for node in parse(path).body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path):
    mine = package(path)
    known = {p.stem if p.suffix else p.name for p in (ROOT / "mvjax").iterdir()}
    used = (imported(path) & known) - {mine}
    assert used <= ALLOWED[mine], f"{mine} must not import {used - ALLOWED[mine]}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_module_says_what_it_is(path):
    tree = parse(path)
    if tree.body:
        assert ast.get_docstring(tree), f"{path} has no module docstring"
    most = 400 if package(path) in ("core", "methods", "train") else 450
    assert len(path.read_text().splitlines()) <= most


def test_the_trainer_stays_small():
    assert len(list((ROOT / "mvjax/train").glob("*.py"))) <= 22


def test_no_module_imports_itself_through_others():
    names = {".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in FILES}
    ahead = {name: imported_modules(path) & set(names) for name, path in names.items()}
    while leaves := [name for name, needed in ahead.items() if not needed]:
        for name in leaves:
            del ahead[name]
        ahead = {name: needed - set(leaves) for name, needed in ahead.items()}
    assert not ahead, f"a circle among {sorted(ahead)}"


def test_the_trainer_names_no_method_and_no_model():
    names = [p.stem for p in (ROOT / "mvjax/methods").glob("*.py")]
    names += [p.stem for p in (ROOT / "mvjax/models").glob("*.py")]
    for path in (ROOT / "mvjax/train").glob("*.py"):
        text = path.read_text()
        for name in set(names) - {"__init__"}:
            assert not re.search(rf"\b{name}\b", text), f"{path.name} names {name}"


@pytest.mark.parametrize(
    ("code", "seconds", "absent"),
    [
        ("import mvjax", 0.3, ("jax", "numpy")),
        (
            "from mvjax import cli; cli.make_parser().format_help()",
            1.0,
            ("jax", "flax", "orbax", "grain"),
        ),
        (  # JAX must find the settings that a command makes for it.
            "from mvjax import cli; "
            "cli._prepare(cli.make_parser().parse_args(['show', '--config=c.py']))",
            1.0,
            ("jax", "flax", "orbax", "grain"),
        ),
    ],
)
def test_imports_are_lazy(code, seconds, absent):
    check = (
        f"import sys, time; t = time.perf_counter()\n{code}\n"
        f"assert not set({absent!r}) & set(sys.modules)\n"
        f"assert time.perf_counter() - t < {seconds * 5}"  # Five times: a busy machine.
    )
    subprocess.run([sys.executable, "-c", check], check=True, cwd=ROOT)


def test_the_top_level_holds_what_the_plan_says():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    tops = {name.split("/")[0] for name in tracked}
    visible = {name for name in tops if not name.startswith(".")}
    assert visible <= {
        "mvjax",
        "configs",
        "launch",
        "findings",
        "tests",
        "README.md",
        "pyproject.toml",
        "LICENSE",
    }


def test_the_plan_names_all_rooms_their_arrows_and_files_that_exist():
    plan = ast.get_docstring(parse(ROOT / "mvjax/__init__.py"))
    arrows, room = {}, "."
    for line in plan.splitlines():
        if match := re.match(r"    (\w+)(/|\.py) .*<-(.*)$", line):
            arrows[match[1]] = set(match[3].split())
            room = match[1] if match[2] == "/" else "."
            assert (ROOT / "mvjax" / (match[1] + match[2])).exists(), line
        elif match := re.match(r"      ([\w/.]+(?:\.py|/)) ", line):
            assert (ROOT / "mvjax" / room / match[1]).exists(), line
    assert arrows == {name: ALLOWED[name] for name in set(ALLOWED) - {"__init__"}}
    names = re.findall(r"[\w/]+\.py", plan.partition("The path of a run")[2])
    for name in (name for name in names if "NAME" not in name):
        assert (ROOT / "mvjax" / name).exists(), name
    folders = {
        p.name for p in (ROOT / "mvjax").iterdir() if (p / "__init__.py").exists()
    }
    assert folders <= set(arrows)
