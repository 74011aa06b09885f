"""Executive reports: figures as questions, drawn as a page, as PDF and as mail text from the same answers."""
