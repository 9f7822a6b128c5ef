"""Coursework: an exercise file for students, and the marking of what they fill in.

`tasks` says what there is to do and what each part of it is worth; `template` writes the exercise,
`points` the table of points, `kit` what students need to check their work. `reference` holds the
solutions, which are the package itself, and `answers` what they give, with people's mistakes.

`submissions` finds what was handed in, `crowd` marks many and `mark` one, each task in a process
of its own (`process`; inside it `child`, and `work` for the student's code). `report` and
`formats` say what came out; `exports` writes folders for Gradescope and GitHub Classroom.

All but `reference`, `answers` and what is for instructors works without the rest of the package,
and so imports by relative names: the kit is made of these files.
"""
