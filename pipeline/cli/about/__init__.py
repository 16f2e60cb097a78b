"""Commands about the program itself. ``skills/`` of the repository leads to ``SKILL.md``."""
