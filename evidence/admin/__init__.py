"""The evidence app's pages in the admin; importing registers them."""

from django.contrib import admin
from django.contrib.auth.models import Group

from evidence.admin import people, pipelines, policies, records, releases

__all__ = ["people", "pipelines", "policies", "records", "releases"]

if admin.site.is_registered(Group):
    admin.site.unregister(Group)  # roles are the product's own
