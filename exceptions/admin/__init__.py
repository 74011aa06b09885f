"""The registers' pages in the admin; importing registers them."""

from exceptions.admin import desk, imports, register, risks

__all__ = ["desk", "imports", "register", "risks"]
