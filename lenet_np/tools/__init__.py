"""Everything around a run: commands, run folders, pictures, studies, the benchmark."""
