"""Output for programs, as ``docs/json.md`` documents it."""
