"""What all commands share: the screen, the parser, the machine."""
