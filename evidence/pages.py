"""``/`` leads each role to the page where its work begins."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

#: In this order: somebody with several roles starts at the first that fits.
START = [
    ("liaison", "/admin/"),
    ("captain", "/admin/evidence/release/"),
    ("auditor", "/admin/compliance/pack/"),
    ("executive", "/reports/"),
    ("admin", "/admin/setup/"),
    ("approver", "/admin/evidence/release/"),
    ("engineer", "/admin/evidence/release/"),
]


@login_required
def home(request: HttpRequest) -> HttpResponse:
    roles = getattr(request.user, "roles", [])
    return HttpResponseRedirect(next((url for role, url in START if role in roles), "/admin/"))
