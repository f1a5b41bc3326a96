"""Settings of Sphinx; `make docs` builds the site in build/docs."""

import pathlib
import sys

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "extensions")]

from sphinx_gallery import sorting

import zoo

EXAMPLES = [
    "fine_tune.py",
    "few_images.py",
    "reject.py",
    "two_moons.py",
    "choose_n.py",
    "serve.py",
    "phone.py",
    "corrupt.py",
    "calibrate.py",
    "read_a_report.py",
    "flatness.py",
]

project = "smoothzoo"
author = "the smoothzoo authors"
copyright = "the smoothzoo authors, Apache-2.0"  # noqa: A001
version = release = zoo.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
    # Ours, in docs/extensions.
    "root_pages",
    "docstrings",
    "reference",
    "leaderboard",
    "links",
]
exclude_patterns = ["extensions", "gallery", "serving"]

# Pages.
myst_heading_anchors = 4
myst_links_external_new_tab = False
smartquotes_action = "D"  # Dashes; quotes stay as they are written.

# API reference.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_inherit_docstrings = False
autodoc_mock_imports = ["onnx", "onnxruntime", "tf2onnx", "keras_hub", "timm", "torch"]
autodoc_preserve_defaults = True
add_module_names = False
toc_object_entries_show_parents = "hide"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = [
    ("Input shape", "params_style"),
    ("Output shape", "params_style"),
    "Reference",
]

# Gallery.
sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "examples",
    "filename_pattern": r"\.py$",
    "within_subsection_order": sorting.FunctionSortKey(EXAMPLES.index, "in this order"),
    "run_stale_examples": True,
    "abort_on_example_error": False,
    "only_warn_on_example_error": False,
    "download_all_examples": False,
    "show_memory": False,
    "write_computation_times": False,
    "show_signature": False,
    "min_reported_time": 1e9,
    "image_srcset": ["2x"],
    "thumbnail_size": (400, 280),
}

# How it looks.
html_theme = "furo"
html_title = "smoothzoo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
