"""Search spaces and the strategies that suggest points in them: protein, random, grid."""
