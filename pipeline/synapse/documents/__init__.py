"""Read annotation documents of every dialect into samples."""
