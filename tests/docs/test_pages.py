# SPDX-License-Identifier: Apache-2.0
"""What the pages say is so: links lead somewhere, commands exist, code runs, settings are legal."""

import re
import shlex
import tomllib

import pytest
import typer
from PIL import Image

from filterlens import FAIG, Degradation, FilterSpace, ModelPair
from filterlens.cli.main import app
from filterlens.data.images import to_float
from filterlens.data.photographs import photograph, square
from filterlens.training.recipe import load_recipe
from tests.docs.pages import DOCS, EXAMPLES, ROOT, blocks, named, require_checkout, written_pages

PAGES = written_pages()
GALLERY = re.compile(r"(?:\.\./)?gallery/(?:index|(plot_\w+))\.rst")


def commands_of(page):
    """Return every call of filterlens on a page, continued lines joined, as words."""
    text = "\n".join(blocks(page, "sh")).replace("\\\n", " ")
    lines = [re.sub(r"\s#\s.*", "", line) for line in text.splitlines()]
    calls = [re.search(r"(?:^|&& |-m )(filterlens\b.*)", line) for line in lines]
    return [shlex.split(call[1]) for call in calls if call]


def test_there_are_pages():
    require_checkout()
    assert len(PAGES) > 20


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_to_files_and_headings_that_exist(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, heading = target.partition("#")
        if "://" in target:
            continue
        if example := GALLERY.fullmatch(path):
            assert example[1] is None or (EXAMPLES / f"{example[1]}.py").is_file(), target
            continue
        file = page.parent / path if path else page
        assert file.exists(), target
        if heading and not heading.startswith("settings-"):
            lines = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}
            assert heading in slugs, target


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_page_is_in_the_navigation(page):
    if page == DOCS / "index.md" or page.parent == ROOT:
        return
    trees = "\n".join(tree for index in PAGES for tree in blocks(index, "{toctree}"))
    assert re.search(
        rf"^(?:\S*/)?{page.stem if page.name != 'index.md' else page.parent.name + '/index'}$", trees, re.M
    )


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_and_options_on_the_page_exist(page):
    whole = typer.main.get_command(app)
    for _, *words in commands_of(page):
        command = whole
        while words and hasattr(command, "commands") and words[0] in command.commands:
            command = command.commands[words.pop(0)]
        context = typer.Context(command, info_name=command.name, resilient_parsing=True)
        parameters = command.get_params(context)  # also those of a settings class
        known = {option for parameter in parameters for option in parameter.opts + parameter.secondary_opts}
        assert command is not whole or all(word in known for word in words), words
        given = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert given <= known, (command.name, given - known)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "toml")], ids=named)
def test_recipes_on_the_page_are_legal(page, tmp_path):
    base = {"name": "x", "baseline": {"iterations": 1, "learning_rate": 1e-3}}
    for text in blocks(page, "toml"):
        settings = tomllib.loads(text)
        whole = base | {"target": base["baseline"]} | settings
        lines = [f"{key} = {toml(value)}" for key, value in whole.items()]
        (tmp_path / "recipe.toml").write_text("\n".join(lines), encoding="utf-8")
        load_recipe(tmp_path / "recipe.toml")


def toml(value):
    """Write a value inline."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)


@pytest.fixture(scope="module")
def things():
    """What the pages' short programs take for granted."""
    pair = ModelPair.pretrained("srresnet-x2")
    truth = to_float(square(photograph("coffee"), 64, 60, 180))
    images = [square(photograph("coffee"), 48, 60, 180)]
    found = FAIG(pair, quadrature=None).attribute(images, ["blur:2", "noise:0.1"])
    return {
        "pair": pair, "found": found, "images": truth, "low_resolution": Degradation.parse("blur:2").apply(truth, 2),
        "baseline_module": pair.network(pair.baseline), "target_module": pair.network(pair.target),
    }  # fmt: skip


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=named)
def test_python_on_the_page_runs(page, things, tmp_path, monkeypatch, capsys):
    (tmp_path / "photos").mkdir()
    pixels = square(photograph("coffee"), 64, 60, 180)
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(tmp_path / "photos" / "coffee.png")
    monkeypatch.chdir(tmp_path)
    for text in blocks(page, "python"):
        exec(compile(text, named(page), "exec"), dict(things))
    assert isinstance(things["pair"].space, FilterSpace)
