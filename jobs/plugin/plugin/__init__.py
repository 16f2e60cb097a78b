"""The export plugin."""
