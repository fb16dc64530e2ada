"""`python -m training` runs the commands of training.cli."""

from training.cli import app

app()
