"""Conversations of our own: tables of small facts, and many ways to ask for each."""
