"""The version of this package.

It is written here and not only in pyproject.toml, because a job brings this folder along and installs nothing.
"""

__version__ = "0.2.0"
