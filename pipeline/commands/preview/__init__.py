"""Show samples of an export with the annotations that its files hold."""

from pipeline.commands.preview.preview import FORMATS, Preview, preview_config, preview_export

__all__ = ["FORMATS", "Preview", "preview_config", "preview_export"]
