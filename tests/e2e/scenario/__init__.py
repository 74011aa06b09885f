"""The demonstration: one release, one exception, one pack, one report, played from outside.

Nothing of the product is imported and no task is called: HTTP, the two command lines, presigned URLs and psql only.
Every step compares what it reads back; the first that does not hold ends the play with exit code 1.
"""
