"""Small programs made at random, each with one thing wrong, and how right their causes are."""
