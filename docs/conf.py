# SPDX-License-Identifier: Apache-2.0
"""Configuration of the site: ``sphinx-build -W docs docs/_build/html``."""

import sys
from pathlib import Path

from filterlens.version import __version__

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_sphinx"))

project = "filterlens"
author = "The filterlens authors"
copyright = "the filterlens authors, Apache-2.0; the method: Xie, Wang, Dong, Qi and Shan"
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
    "sphinx_design",
    "sphinx_copybutton",
    "mathml",
    "docstrings",
    "generated_pages",
]
exclude_patterns = ["_build", "_sphinx", "_templates", "reference/generated"]
nitpicky = False
default_role = "literal"  # docstrings write commands and settings in single backticks
smartquotes = False  # options begin with two hyphens
templates_path = ["_templates"]

myst_enable_extensions = ["colon_fence", "dollarmath", "deflist", "attrs_inline", "fieldlist"]
myst_heading_anchors = 3
suppress_warnings = [
    "myst.header",  # pages of results, which are generated, go from # to ###
    "ref.python",  # what a package offers from a module of its own has two addresses; either will do
]

autosummary_generate = True
autodoc_mock_imports = [
    "fastapi",
    "gradio",
    "spandrel",
    "starlette",
    "uvicorn",
]  # of the extras, which the site does not need
autosummary_mock_imports = [*autodoc_mock_imports, "filterlens.__main__"]  # the last would start the command line
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_use_unqualified_type_names = True

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "within_subsection_order": "FileNameSortKey",
    "image_srcset": ["2x"],
    "abort_on_example_error": True,
    "remove_config_comments": True,
    "show_memory": False,
    "write_computation_times": False,  # its page loads scripts from other machines
    "show_signature": False,
    "download_all_examples": False,
    "min_reported_time": 10_000,
    "plot_gallery": True,
}

html_theme = "furo"
html_title = "filterlens"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
