"""Registers that were kept as spreadsheets: read (`workbook`), understood (`mapping`, `rows`), recorded (`jobs`).

Everything up to the verdict on each row is pure: bytes and facts in, fates out. No formula is ever evaluated.
"""
