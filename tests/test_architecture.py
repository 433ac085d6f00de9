"""How the modules lie: no circle, short chains, small files, and what works without torch."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import magicstyle_core

PACKAGE = Path(magicstyle_core.__file__).parent
FILES = sorted(path for path in PACKAGE.rglob("*.py"))
WITHOUT_TORCH = ["settings", "images", "regions", "metadata", "grid", "layers", "errors", "batch", "__main__"]


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def imports(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Every import, within functions too, but for those that only the type checker sees."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        yield from imports(node)


def imported(name: str) -> set[str]:
    """The modules of this package that a module imports; names that the package offers count as their homes."""
    homes = {name: home for home, names in magicstyle_core._HOMES.items() for name in names}
    found = set()
    for node in imports(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif node.module is not None:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                home = f"{node.module}.{homes.get(alias.name)}"
                found.add(next(place for place in (submodule, home, node.module) if place in (*MODULES, node.module)))
    return found & set(MODULES) - {name}


GRAPH = {name: imported(name) for name in MODULES}


def test_no_circle_among_modules() -> None:
    assert list(TopologicalSorter(GRAPH).static_order())  # a circle is a CycleError that names it


def longest(graph: Mapping[str, set[str]]) -> list[str]:
    """The longest chain of imports."""

    @cache
    def below(name: str) -> list[str]:
        return [name, *max((below(other) for other in graph[name] & set(graph)), key=len, default=[])]

    return max(map(below, graph), key=len)


def test_no_chain_of_imports_within_the_page_is_longer_than_5() -> None:
    chain = longest({name: others for name, others in GRAPH.items() if name.startswith("magicstyle_core.ui.")})
    assert len(chain) <= 5, " -> ".join(chain)


def test_a_lower_room_knows_no_higher_one() -> None:
    higher = {f"magicstyle_core.{name}" for name in ("serving", "ui", "app", "__main__")}
    core = {name for name in MODULES if name.count(".") == 1} - higher
    for name in core:
        assert GRAPH[name] <= core | {"magicstyle_core"}, name
    for name in MODULES:
        if name.startswith("magicstyle_core.serving"):
            assert not any(other.startswith("magicstyle_core.ui") for other in GRAPH[name]), name


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_is_longer_than_400_lines(path: Path) -> None:
    assert path.read_text().count("\n") <= 400


@pytest.mark.parametrize("name", ["attention", "method", "palette", "transport"])
def test_the_method_needs_torch_and_nothing_else(name: str) -> None:
    top = {
        name.split(".")[0]
        for node in imports(ast.parse((PACKAGE / f"{name}.py").read_text()))
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
        if name not in ("magicstyle_core.palette", "magicstyle_core.transport")
    }
    assert top - set(sys.stdlib_module_names) == {"torch"}


def test_only_the_page_knows_gradio() -> None:
    for name, path in MODULES.items():
        words = {node.module or "" for node in imports(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)}
        words |= {a.name for n in imports(ast.parse(path.read_text())) if isinstance(n, ast.Import) for a in n.names}
        if not name.startswith(("magicstyle_core.ui", "magicstyle_core.app")):
            assert not any(word.split(".")[0] == "gradio" for word in words), name


def test_settings_pictures_serving_and_the_page_work_without_torch_and_ray() -> None:
    serving = [name for name in MODULES if name.startswith("magicstyle_core.serving")]
    modules = [f"magicstyle_core.{name}" for name in (*WITHOUT_TORCH, "app")] + serving
    blocked = "import sys; sys.modules['torch'] = sys.modules['diffusers'] = sys.modules['ray'] = None; "
    code = blocked + "; ".join(f"import {name}" for name in modules)
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_test_that_contributing_names_exists() -> None:
    root = PACKAGE.parent
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (root / "CONTRIBUTING.md").read_text())
    assert len(named) > 13
    for file, name in named:
        assert f"def {name}(" in (root / file).read_text(), f"{file}::{name}"
