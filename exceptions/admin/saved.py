"""Views of the list that a person keeps: saved under a name, opened with a click, removed after a question."""

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import reverse

from config.errors import InvalidError
from evidence.admin.forms import form_page, person
from evidence.models import User
from exceptions import rules
from exceptions.admin.filters import PARAMETERS
from exceptions.models import SavedView

_LONGEST_VALUE = 120


@dataclass(frozen=True)
class View:
    """A link above the list."""

    title: str
    query: str
    #: Of a saved one: where it is removed.
    remove: str = ""
    is_open: bool = False


#: What everybody has, and what only those have who decide.
_COMMON = (
    ("Due", "state=due"),
    ("Overdue", "expires=overdue"),
    ("Within 7 days", "expires=week"),
    ("Mine", "mine=yes"),
)
_DECIDING = (("Waiting for me", "waiting=decisions"), ("Claims to ratify", "waiting=claims"))


def views(request: HttpRequest) -> list[View]:
    """What is offered above the list: the usual ones, then the person's own."""
    me = person(request)
    here = normal(request)
    usual = [*(_DECIDING if me.has_role(*rules.DECIDERS) else ()), *_COMMON]
    found = [View(title, query, is_open=query == here) for title, query in usual]
    for kept in SavedView.objects.filter(person=me.uid):
        remove = reverse("admin:exceptions_savedview_remove", args=[kept.pk])
        found.append(View(kept.name, kept.query, remove, is_open=kept.query == here))
    return found


def normal(request: HttpRequest) -> str:
    """The view that a request for the list asks for."""
    return _normal(request.GET.urlencode())


def _normal(query: str) -> str:
    """The known parameters of a query in one order, so that the same view is the same text."""
    given = {name: value for name, value in parse_qsl(query) if name in PARAMETERS and value}
    return urlencode(sorted(given.items()))


def save(*, person: User, name: str, query: str) -> SavedView:
    """Keep a view; one of the same name is replaced. Raises InvalidError ``view_invalid``."""
    given = parse_qsl(query, keep_blank_values=True, max_num_fields=2 * len(PARAMETERS))
    filled = [(key, value) for key, value in given if value and key != "p"]
    unknown = sorted({key for key, _ in filled} - PARAMETERS)
    if unknown or len(dict(filled)) < len(filled):
        raise InvalidError("These are no filters of this list. Open it again and choose some.", code="view_invalid")
    if not filled or any(len(value) > _LONGEST_VALUE for _, value in filled):
        raise InvalidError("Choose filters or search for something first, then save that.", code="view_invalid")
    kept = SavedView.objects.filter(person=person.uid)
    if not kept.filter(name=name).exists() and kept.count() >= SavedView.MOST:
        raise InvalidError(f"You keep {SavedView.MOST} views: remove one first.", code="view_invalid")
    text = urlencode(sorted(filled))
    found, _ = SavedView.objects.update_or_create(person=person.uid, name=name, defaults={"query": text})
    return found


class SaveForm(forms.Form):
    name = forms.CharField(max_length=60)
    query = forms.CharField(max_length=500)


def save_view(request: HttpRequest) -> HttpResponse:
    """Where the small form above the list is sent; leads back to the list as it was."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    form, target = SaveForm(request.POST), reverse("admin:exceptions_securityexception_changelist")
    if not form.is_valid():
        messages.error(request, "Give the view a name of at most 60 characters.")
        return HttpResponseRedirect(f"{target}?{_normal(request.POST.get('query', '')[:500])}")
    try:
        kept = save(person=person(request), **form.cleaned_data)
    except (InvalidError, ValueError) as error:  # ValueError: more fields than any view has
        messages.error(request, error.detail if isinstance(error, InvalidError) else "These are no filters.")
        return HttpResponseRedirect(target)
    messages.success(request, f"“{kept.name}” is kept above the list.")
    return HttpResponseRedirect(f"{target}?{kept.query}")


def remove_view(request: HttpRequest, pk: int) -> HttpResponse:
    """Asks first; nobody can remove, or see, what somebody else keeps."""
    kept = SavedView.objects.filter(person=person(request).uid, pk=pk).first()
    if kept is None:
        raise Http404("there is no such view")
    back = reverse("admin:exceptions_securityexception_changelist")
    if request.method == "POST":
        kept.delete()
        messages.success(request, f"“{kept.name}” is removed.")
        return HttpResponseRedirect(back)
    return form_page(
        request,
        forms.Form(),
        title=f"Remove the view “{kept.name}”",
        lead="Only the shortcut goes; the exceptions stay as they are.",
        submit="Remove",
        danger=True,
        cancel=f"{back}?{kept.query}",
    )
