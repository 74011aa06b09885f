"""The risk register as a file: written for other tools (`writing`), and read from them again.

`reading` makes rows of CSV, XLSX or JSON, `judging` says what becomes of each, `bringing` records all of them or none.
What is written here and read into an empty installation is the same register; read again it changes nothing.
"""
