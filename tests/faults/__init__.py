"""What happens when something dies, fills up or goes away in the middle of work: real processes, really killed."""
