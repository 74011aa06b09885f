"""The baseline: what a team would write first. A DRF `ModelSerializer` create of the same body into one table."""
