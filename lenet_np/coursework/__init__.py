"""Coursework: an exercise file for students, and the marking of what they fill in.

`tasks` says what there is to do, `template` writes the exercise file, `reference` holds the
solutions, which are the package itself. `mark` runs each task of a student's file in a process of
its own (`process`, and `child` inside it), `report` says what came out.
"""
