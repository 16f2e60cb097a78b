"""``skill``: print the skill file for agents."""

from importlib.resources import files


def command() -> None:
    """Print how an agent exports for its user (a skill file).

    Save it where agents look for skills: .claude/skills/synapse-export/SKILL.md.
    """
    print(files("pipeline.cli.about").joinpath("SKILL.md").read_text(encoding="utf-8"), end="")
