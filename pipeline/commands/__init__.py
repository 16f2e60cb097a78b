"""What a user can ask for, one module per command, free of any terminal."""
