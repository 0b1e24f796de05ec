"""The parts of the audit: reading rows, and the rules they are held against."""
