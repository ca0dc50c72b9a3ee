"""What is put into a rank's interpreter so that faults can strike inside it."""
