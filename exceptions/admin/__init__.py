"""The registers' pages in the admin; importing registers them."""

from exceptions.admin import channels, desk, imports, register, risks

__all__ = ["channels", "desk", "imports", "register", "risks"]
