"""The documentation site: `make docs` builds it into docs/_build/html with warnings as errors.

The generator is Sphinx with MyST. It builds without a network, has a search that needs no server, pages of the Python
interface from docstrings, notebooks, and checked links; it has been kept since 2008. Material for MkDocs ends in May
2027, and its successor Zensical has no strict mode for pages from docstrings yet. The pages are plain Markdown, so that
they read as well on a code host, and could move.
"""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "tipx"
author = "the tipx authors"
release = version = installed_version("tipx")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx_copybutton", "mathml"]
exclude_patterns = ["_build", "README.md"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "off"  # a notebook shows what it printed when it was written; a test runs its cells
html_math_renderer = "mathml"
default_role = "code"  # what stands in `backquotes` in a docstring

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_use_unqualified_type_names = True

highlight_language = "none"  # a block is code only where it says so
html_theme = "furo"
html_title = "tipx"
html_show_sphinx = False
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["wide.css"]
pygments_style = "default"
pygments_dark_style = "github-dark"
copybutton_prompt_text = "$ "
