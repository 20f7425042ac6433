"""What the experiments in examples/ measure, each in a file of its own: nothing of the engine."""
