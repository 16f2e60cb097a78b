"""The domain: types and rules of an export that need no file, no network and no configuration."""
