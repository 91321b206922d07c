"""The site: `make docs` builds it into build/docs, and any warning is an error.

Pages are Markdown (MyST), which GitHub shows too; those of names, commands, examples and records
are made here, before Sphinx looks for pages. Formulas become MathML, so that a page needs neither
the network nor a script to show them."""

import logging
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import commands  # beside this file
import gallery
import measured
import reference
from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.addnodes import pending_xref
from sphinx.util.logging import getLogger

import fasthoag

project = "fasthoag"
author = "the authors of fasthoag"
copyright = f"2026, {author}"
version = release = fasthoag.__version__

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary"]
exclude_patterns = ["figures"]
default_role = "py:obj"  # `Name` in a docstring is a link where there is such a name

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

highlight_language = "none"  # of blocks that do not say theirs: commands and figures
autosummary_generate = False  # reference.py writes the pages
autodoc_typehints = "none"  # docstrings say them in words
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_validation_checks: set[str] = set()

html_theme = "furo"
html_title = f"fasthoag {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_search_summary = False  # it would be fetched, which files do not allow
html_math_renderer = "mathml"


# ---- formulas without a script ----


def mathml_of(node, is_block):
    try:
        return tex2mathml(node.astext(), as_block=is_block)
    except MathError as error:
        getLogger(__name__).warning(str(error), location=node)
        return ""


def visit_inline(self, node):
    self.body.append(mathml_of(node, False))
    raise nodes.SkipNode


def visit_block(self, node):
    self.body.append(f'<div class="formula">{mathml_of(node, True)}</div>')
    raise nodes.SkipNode


def skip_members_of_others(app, what, name, one, skip, options):
    return True if reference.is_of_others(one) else None


def is_theirs(node, page):
    """Whether a name is that of another library: behind its genitive, or in the first column of a
    page for those who come from there."""
    before = node.previous_sibling()
    if isinstance(before, nodes.Text) and re.search(r"scikit-learn\Ws\s$", before.astext()):
        return True
    cell = next((one for one in parents_of(node) if isinstance(one, nodes.entry)), None)
    return (
        page.startswith(("migration/", "tuned_cv"))
        and cell is not None
        and cell.parent.index(cell) == 0
    )


def parents_of(node):
    while node.parent is not None:
        node = node.parent
        yield node


def link_names(app, doctree):
    """A public name in a page leads to its own: ``fasthoag.KFold`` and ``KFold``, called or not. Of
    words such as ``hoag``, which is a method too, only those that are called; names of
    scikit-learn's classes are left alone where these are meant."""
    for node in list(doctree.findall(nodes.literal)):
        name, call, _ = node.astext().partition("(")
        found = f"fasthoag.{name}" if name[:1].isupper() or (call and "." not in name) else name
        is_link = isinstance(node.parent, nodes.reference | pending_xref)
        if found in NAMES and not is_link and not is_theirs(node, app.env.docname):
            settings = {"refdomain": "py", "reftype": "obj", "reftarget": found}
            link = pending_xref("", refexplicit=True, refdoc=app.env.docname, **settings)
            node.replace_self(link)
            link += node


def is_no_empty_section(record):
    """A section of the index that takes what it finds may find nothing; Sphinx has no name by which
    this warning is switched off."""
    return "glob pattern" not in record.msg


logging.getLogger("sphinx.sphinx.directives.other").addFilter(is_no_empty_section)


def link_inside(app, name, source):
    """Pages of the project's root, and examples, are pages of the site too; GitHub has them
    elsewhere."""
    outside = r"\]\((?:\.\./)+(CONTRIBUTING|CHANGELOG)\.md"
    text = re.sub(outside, lambda link: f"](/{link[1].lower()}.md", source[0])
    source[0] = re.sub(r"\]\((?:\.\./)+examples/(\w+)\.py", r"](/examples/\1.rst", text)


NAMES = reference.public_names()
reference.write(HERE / "api", reference.pages())
reference.write(HERE / "examples", gallery.pages())
reference.write_changed(HERE / "records.rst", measured.page())
reference.write_changed(HERE / "options.rst", commands.page())


def setup(app):
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    app.connect("autodoc-skip-member", skip_members_of_others)
    app.connect("source-read", link_inside)
    app.connect("doctree-read", link_names)
