"""What a rank's interpreter records for an autopsy: its life, collectives and exceptions."""
