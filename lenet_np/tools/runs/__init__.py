"""What serves a run from outside: its arguments, its folder, and what it says on the screen."""
