"""The registers' pages in the admin; importing registers them."""

from exceptions.admin import channels, imports, register, risks

__all__ = ["channels", "imports", "register", "risks"]
