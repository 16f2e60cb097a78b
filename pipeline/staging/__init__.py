"""What an unfinished export keeps between its stages, below ``_staging/``."""
