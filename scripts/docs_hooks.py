"""Hooks of the documentation site: pages that stand in the root, and links that lead out of ``docs/``.

The pages are written for GitHub. The site shows README, SECURITY, CONTRIBUTING and CHANGELOG as pages of its own; a
link to any other file of the repository becomes a link to that file on GitHub.
"""

import posixpath
import re
from typing import Any

from mkdocs.structure.files import File, Files

ROOT_PAGES = {
    "README.md": "index.md",
    "SECURITY.md": "security.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")
ROLE = re.compile(r":(?:func|class|mod|meth|attr|data|exc):(<code>)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the root."""
    for source, page in ROOT_PAGES.items():
        with open(source, encoding="utf-8") as file:
            files.append(File.generated(config, page, content=file.read()))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Point the links of a page at pages of the site, or at the repository."""
    originals = {shown: source for source, shown in ROOT_PAGES.items()}
    shown_at = page.file.src_uri
    here = posixpath.dirname(originals.get(shown_at, f"docs/{shown_at}"))

    def rewrite(match: re.Match[str]) -> str:
        opening, target, anchor, closing = match[1], match[2], match[3] or "", match[4]
        if "://" in target or target.startswith("mailto:"):
            return match[0]
        path = posixpath.normpath(posixpath.join(here, target))
        on_site = ROOT_PAGES.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else "")
        if on_site and files.get_file_from_path(on_site):
            return opening + posixpath.relpath(on_site, posixpath.dirname(shown_at) or ".") + anchor + closing
        return f"{opening}{config.extra['repository']}/blob/main/{path}{anchor}{closing}"

    return LINK.sub(rewrite, markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Show the names that docstrings mark with a role of reStructuredText as code only."""
    return ROLE.sub(r"\1", html)
