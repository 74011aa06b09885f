"""How much of a file is taken. All of it is checked while reading, so that no file needs more memory than these say."""

#: Of the file as it was sent.
MAX_BYTES = 16 * 1024 * 1024
MAX_ROWS = 60_000
MAX_COLUMNS = 100
MAX_SHEETS = 20
#: Characters of one cell; the longest text that a record takes is shorter.
MAX_CELL = 20_000
#: Of an XLSX, which is a ZIP archive: entries, and bytes that they unpack to.
MAX_ENTRIES = 1_000
MAX_UNPACKED = 96 * 1024 * 1024
#: An entry that unpacks to more than a mebibyte and this many times its size is no spreadsheet.
MAX_RATIO = 200
MAX_MERGED = 100_000
