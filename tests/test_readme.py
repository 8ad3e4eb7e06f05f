"""What the READMEs say of commands and files is true."""

from collections.abc import Iterator
import pathlib
import re
import shlex
import subprocess
import sys

import jax
import numpy as np
import pytest

from mvjax import cli
from mvjax.core import config as config_lib
from mvjax.core import tree
from mvjax.cost import suite_tables
from mvjax.train import loop
from mvjax.train import program as program_lib
from mvjax.train import run as run_lib

ROOT = pathlib.Path(__file__).parents[1]
SYSTEMS = sorted({file.parent for file in (ROOT / "configs").glob("*/*.py")})
READMES = [ROOT / "README.md", ROOT / "launch/README.md", ROOT / "configs/README.md"]
READMES += [system / "README.md" for system in SYSTEMS]
READMES += [ROOT / "configs/decur/cmx.md"]
every_readme = pytest.mark.parametrize(
    "readme", READMES, ids=lambda file: str(file.relative_to(ROOT))
)
PRINTED = """
import jax, numpy, orbax.checkpoint
{code}
assert jax.device_count() == 1, jax.devices()
numpy.savez({output!r}, **{{jax.tree_util.keystr(path, simple=True, separator="."): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(state)}})
"""


@pytest.mark.slow
def test_plain_orbax_opens_a_checkpoint_of_eight_devices(tmp_path, monkeypatch):
    config = config_lib.load(
        str(ROOT / "tests/toy/config.py"),
        ["epochs=1", "mesh.data=2", "mesh.fsdp=4", "method.width=8", "ema_decay=0.9"],
    )
    final = loop.train(
        program_lib.Program(run_lib.Run(config)), tmp_path / "w", progress=False
    )
    text = (ROOT / "launch/README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    (code,) = [block for block in blocks if "PyTreeCheckpointer" in block]
    path = str(tmp_path / "w" / "checkpoints" / "3" / "state")
    code = re.sub(r'"[^"]*/checkpoints/\d+/state"', repr(path), code)
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
    code = PRINTED.format(code=code, output=str(tmp_path / "found.npz"))
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    with np.load(tmp_path / "found.npz") as found:
        for part in ("params", "model_state", "ema"):
            leaves = tree.flatten(jax.device_get(getattr(final, part)))
            for name, leaf in leaves.items():
                key = f"{part}.{name.replace('/', '.')}"
                np.testing.assert_array_equal(found[key], leaf, err_msg=key)
        assert found["step"] == 3 and found["lr_scale"] == 1
        assert any(key.startswith("opt_state.main.") for key in found.files)


def expand(word: str, variables: dict[str, str]) -> list[str]:
    """The words that a shell makes of one that may hold variables."""
    known = re.sub(r"\$(\w+)", lambda match: variables.get(match[1], match[0]), word)
    return [word] if known == word else known.split()


def find_commands(text: str) -> Iterator[list[str]]:
    """The words of each command in a text's shell blocks, variables replaced."""
    for block in re.findall(r"```bash\n(.*?)```", text, re.S):
        variables = {}
        for line in block.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
            lexer.whitespace_split = True
            words = []
            for word in [*lexer, ";"]:
                if word.strip(";&|"):
                    words += expand(word, variables)
                    continue
                if words[:1] == ["for"]:  # `for fold in 0 1 2`: the first of them.
                    variables[words[1]] = words[3]
                elif words[:1] == ["do"]:
                    words = words[1:]
                for name, value in re.findall(r"^(\w+)=(.*)$", " ".join(words)):
                    variables[name] = value
                if words:
                    yield words
                words = []


def test_commands_are_found_as_a_shell_would_find_them():
    text = """```bash
own=dataset=npz,views=a+b ; pair="--x=1 --y=2"   # Not this.
for seed in 4 5; do
  mvjax chain one.py:$own \\
      --draw='a|b' $pair --config.seed=$seed
done
```"""
    commands = list(find_commands(text))
    assert commands[3] == [
        *("mvjax", "chain", "one.py:dataset=npz,views=a+b"),
        *("--draw=a|b", "--x=1", "--y=2", "--config.seed=4"),
    ]


def load_configs(arguments: list[str]) -> int:
    """Parses a command of mvjax and loads its configs; how many those were."""
    parser = cli.make_parser()
    args, rest = parser.parse_known_args(arguments)
    overrides = [text.partition(".") for text in cli._overrides(parser, rest)]
    given = getattr(args, "configs", None) or [getattr(args, "config", None)]
    stages = set()
    for spec in filter(None, given):
        name, separator, path = spec.partition("=")
        if not separator or ".py" in name:
            name, path = pathlib.Path(spec.partition(":")[0]).stem, spec
        stages.add(name)
        mine = [text for prefix, _, text in overrides if prefix in ("config", name)]
        config_lib.load(str(ROOT / path), mine)
    suite = getattr(args, "suite", None) or ".json"
    if not suite.endswith(".json"):
        given = config_lib.load_suite(str(ROOT / suite))
        assert {*filter(None, args.only.split(","))} <= set(given), arguments
        mine = [text for _, _, text in overrides]
        for path, own in given.values():
            config_lib.load(str(ROOT / path), [*own, *mine])
        stages.add("suite")
    assert {prefix for prefix, _, _ in overrides} <= {*stages, "config"}, arguments
    return len(stages)


@every_readme
def test_every_command_is_one_that_mvjax_takes(readme, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for view in "xy":  # What `mlruns=FOLDER` looks for.
        (tmp_path / f"FOLDER/artifacts/sh_encoder_{view}").mkdir(parents=True)
        (tmp_path / f"FOLDER/artifacts/sh_encoder_{view}/state_dict.pth").touch()
    loaded = 0
    text = readme.read_text().replace("gs://", "")  # Needs an extra.
    for words in find_commands(text):
        if words[0] in ("bash", "sbatch", "python"):
            (script,) = [
                word for word in words if word.startswith(("launch", "tests"))
            ][:1]
            assert (ROOT / script).is_file(), words
            starts = [i for i, word in enumerate(words) if word in ("train", "chain")]
            words = ["mvjax", *words[starts[0] :]] if starts else []
        if words[:1] == ["mvjax"] and "..." not in words:
            loaded += load_configs(words[1:])
    assert loaded


@every_readme
def test_links_lead_to_files(readme):
    links = re.findall(r"\]\(([^)#]*)[^)]*\)", readme.read_text())
    for link in filter(None, links):
        assert (readme.parent / link).is_file(), link
    for name in re.findall(
        r"`((?:tests|launch|mvjax|configs)/[\w/.]+)`", readme.read_text()
    ):
        assert (ROOT / name.replace("NAME", "edim")).exists() or "NAME" in name, name


def test_the_readme_is_short_and_leads_to_every_system():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 250
    for system in SYSTEMS:
        assert f"(configs/{system.name}/README.md)" in text


def test_the_table_of_the_suite_is_made_of_its_numbers():
    page = (ROOT / "configs/README.md").read_text()
    record = suite_tables.read(ROOT / "configs/suite.json")
    again = "mvjax bench --suite=configs/suite.json --markdown=configs/README.md"
    assert again in page
    assert page == suite_tables.replaced(page, record), again
