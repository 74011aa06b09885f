"""The registers' pages in the admin; importing registers them."""

from exceptions.admin import imports, register, risks

__all__ = ["imports", "register", "risks"]
