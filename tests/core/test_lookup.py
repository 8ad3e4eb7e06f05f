"""Modules of one's own offer what those of mvjax do, or it is said what they lack."""

import pytest

from mvjax.core import errors
from mvjax.core import lookup

METHOD = "from mvjax.core import method\nclass Method(method.Method):\n"


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("methods", "raise SystemExit(0)", "cannot be imported: SystemExit"),
        ("methods", "Method = 3", "without a class Method"),
        ("methods", "class Method:\n    init = loss = predict = print", "not derived"),
        ("methods", METHOD + "    pass", "lacks init, loss, predict"),
        ("methods", METHOD + "    init = loss = print", "lacks predict"),
        ("evaluators", "class Evaluator: pass", "lacks run"),
        ("evaluators", "class Evaluator:\n    finish = print", "lacks measure"),
        ("data.sources", "class Source(list): pass", "lacks a function spec"),
        (
            "data.sources",
            "class Source: pass\nspec = print",
            "lacks __len__, __getitem__",
        ),
    ],
)
def test_what_a_module_lacks_is_told(tmp_path, monkeypatch, kind, content, message):
    package = f"own{tmp_path.name.replace('-', '_')}"
    (tmp_path / package).mkdir()
    (tmp_path / package / "code.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(errors.UserError, match=message):
        lookup.find(kind, f"{package}.code")
